"""The operator, try after try, against a gateway that lies: one wish is one create, whatever is answered to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import AirflowException
from hostile import test_create, test_list_and_cancel, test_poll
from hostile.answers import WAN_TASK_ID, Answer, raw, say
from hostile.server import Kind
from hostile.witness import problems, watching

from airflow_wan.exceptions import WanError
from airflow_wan.operators.wan import WanTextToVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hostile.server import HostileServer

CREATED = say({"output": {"task_id": WAN_TASK_ID, "task_status": "PENDING"}, "request_id": "r-1"})
QUEUED = say({"output": {"task_id": WAN_TASK_ID, "task_status": "PENDING"}, "task_id": WAN_TASK_ID, "request_id": "r"})
GONE = say({"output": {"task_id": WAN_TASK_ID, "task_status": "UNKNOWN"}, "request_id": "r"})
TRIES = 2

# None of these proves that nothing was bought.
DOUBTFUL = [
    (answer, gateway)
    for answer, gateway in test_create.EVERY
    if set(answer.expect) <= {test_create.ACCEPTED, test_create.DOUBT} and "drip" not in answer.name
]
# None of these says that our task has failed, after which another may be bought.
UNENDED = [
    (answer, bool(number % 2))
    for number, answer in enumerate((*test_poll.STATES, *test_poll.SHAPES))
    if not {test_poll.FAILED, test_poll.SUCCEEDED} & set(answer.expect)
]


def tries(runner: Any, path: Path, server: HostileServer, **arguments: Any) -> list[str]:
    """Run some tries of one task instance, and return what was wrong with any of them."""
    found: list[str] = []
    for _ in range(TRIES):
        task = WanTextToVideoOperator(
            task_id="animate",
            prompt="a kite",
            duration=2,
            output_path=str(path / "film.mp4"),
            poll_interval=0.02,
            timeout=0.08,
            queue_timeout=0.08,
            **arguments,
        )
        with watching(server) as seen:
            seen.result = runner.run(task)
        found += problems(seen, ours=(WanError, AirflowException))
        if seen.error is None:
            found.append("it succeeded")
    return found


@pytest.mark.parametrize(("answer", "gateway"), DOUBTFUL, ids=str)
def test_a_create_in_doubt_is_not_sent_again(
    answer: Answer, gateway: str, server: HostileServer, connect: Callable[..., None], runner: Any, tmp_path: Path
) -> None:
    connect(server.base_url, gateway)
    server.on(Kind.CREATE, answer.act)
    server.on(Kind.POLL, QUEUED)
    server.on(Kind.LIST, say({"total_page": 1, "data": [], "request_id": "r"}))

    found = tries(runner, tmp_path, server, deferrable=False)

    assert server.count(method="POST") == server.count(Kind.CREATE) == 1
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("answer", "deferrable"), UNENDED, ids=str)
def test_a_lie_about_a_bought_task_buys_no_other(
    answer: Answer,
    deferrable: bool,
    server: HostileServer,
    connect: Callable[..., None],
    runner: Any,
    tmp_path: Path,
) -> None:
    connect(server.base_url)
    server.on(Kind.CREATE, CREATED)
    server.on(Kind.POLL, answer.act)
    server.on(Kind.VIDEO, raw())

    found = tries(runner, tmp_path, server, deferrable=deferrable, cancel_on_kill=False)

    assert server.count(method="POST") == server.count(Kind.CREATE) == 1
    assert not found, "\n".join(found)


@pytest.mark.parametrize("answer", [one for one in test_list_and_cancel.LISTS if "drip" not in one.name], ids=str)
def test_a_lie_in_the_list_buys_no_second_video(
    answer: Answer, server: HostileServer, connect: Callable[..., None], runner: Any, tmp_path: Path
) -> None:
    connect(server.base_url)
    server.on(Kind.CREATE, raw())
    server.on(Kind.LIST, answer.act)
    server.on(Kind.POLL, GONE)

    found = tries(runner, tmp_path, server, deferrable=False)

    assert server.count(method="POST") == server.count(Kind.CREATE) == 1
    assert not found, "\n".join(found)
