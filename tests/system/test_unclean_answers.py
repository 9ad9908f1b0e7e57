"""A gateway sends half an emoji or NUL in each of its texts: the triggerer goes on, and so do the other tasks.

Airflow cannot serialise half an emoji (a lone surrogate), and PostgreSQL cannot keep NUL. All runs go on at the same
time, and one healthy run waits in the same triggerer.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from airflow_processes import wait_for
from dag_runs import END_S, SLOW_S, TRIGGERERS
from hostile_gateway import Answer, HostileGateway, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from journeys import Journey, Stage

UNCLEAN = "half \ud83d and nul \0."
UNCLEAN_HEADER = UNCLEAN.encode("utf-8", "surrogatepass").replace(b"\0", b"").decode("latin-1")


def fail(request_id: str = "r-1", **texts: str) -> Callable[[dict[str, Any]], None]:
    """Return a change of DashScope's last poll, which the triggerer reads: the task failed because of its prompt."""
    failure = {"task_status": "FAILED", "code": "DataInspectionFailed", "message": "The prompt is refused."} | texts

    def change(payload: dict[str, Any]) -> None:
        if payload.pop("usage", None):
            payload["output"] = {"task_id": payload["output"]["task_id"], **failure}
            payload["request_id"] = request_id

    return change


def fail_at_apiyi(message: str) -> Callable[[dict[str, Any]], None]:
    """Return the same change for APIYI."""

    def change(payload: dict[str, Any]) -> None:
        if payload.pop("result_url", None):
            payload.update(status="failed", fail_reason=message, error={"message": message})

    return change


def add_output(**texts: str) -> Callable[[dict[str, Any]], None]:
    """Return a change of a DashScope answer: further texts of the task."""
    return lambda payload: payload["output"].update(texts)


def add_usage(payload: dict[str, Any]) -> None:
    """Add unclean names and texts to what was billed."""
    if "usage" in payload:
        payload["usage"].update({UNCLEAN: UNCLEAN, "nested": [{UNCLEAN: [UNCLEAN]}]})


def spoil_state_until_done(payload: dict[str, Any]) -> None:
    """Replace the word for each state but the final one."""
    if "video_url" not in payload["output"]:
        payload["output"]["task_status"] = UNCLEAN


@dataclass(frozen=True)
class Lie:
    """One unclean text, and the outcome that it must have.

    :param name: a name for the test.
    :param change: changes the JSON of the answer in place.
    :param state: the final state of the run.
    :param of_create: whether the answers to creates are changed; otherwise those to polls are.
    :param header: whether the request id in the headers is unclean, too.
    """

    name: str
    change: Callable[[dict[str, Any]], None]
    state: str
    gateway: str = "dashscope"
    of_create: bool = False
    header: bool = False

    def spoil(self, request: Request, answer: Answer) -> None:
        """Change an answer, if it is one of those to be changed."""
        is_poll = request.method == "GET" and "/tasks/" in request.path
        if request.is_create if self.of_create else is_poll:
            self.change(answer.payload)
            if self.header:
                answer.headers |= {"X-Request-Id": UNCLEAN_HEADER, "X-Shellapi-Request-Id": UNCLEAN_HEADER}


LIES = [
    Lie("the reason of a failure", fail(message=UNCLEAN), "failed"),
    Lie("half an emoji at the end of a reason", fail(message="refused \ud83d"), "failed"),
    Lie("nul in a reason", fail(message="refused \0"), "failed"),
    Lie("the code of a failure", fail(code=f"DataInspectionFailed.{UNCLEAN}"), "failed"),
    Lie("the reason at APIYI", fail_at_apiyi(f"[DataInspectionFailed] {UNCLEAN}"), "failed", gateway="apiyi"),
    Lie("the request id of a failure", fail(request_id=UNCLEAN), "failed"),
    Lie("the request id of polls", lambda payload: payload.update(request_id=UNCLEAN), "success", header=True),
    Lie(
        "the request id of the create",
        lambda payload: payload.update(request_id=UNCLEAN),
        "success",
        of_create=True,
        header=True,
    ),
    Lie("the state of the create", add_output(task_status=UNCLEAN), "success", of_create=True),
    Lie("the state of polls", spoil_state_until_done, "success"),
    Lie("the prompts", add_output(orig_prompt=UNCLEAN, actual_prompt=UNCLEAN), "success"),
    Lie("the usage", add_usage, "success"),
    Lie("the times", add_output(submit_time="0001-01-01 00:00:00", end_time=UNCLEAN), "success"),
]


@dataclass(frozen=True)
class Attack:
    """All runs of this module.

    :param neighbour: a run with a healthy gateway that waits in the triggerer from before the first lie.
    :param lies: the gateway and the run of each lie, by its name.
    :param triggerer: the process ids of the triggerer when the neighbour began to wait.
    """

    neighbour: Journey
    lies: dict[str, tuple[HostileGateway, Journey]]
    triggerer: list[int]


def process_ids(stage: Stage) -> list[int]:
    """Return the ids of the triggerer's processes that are alive."""
    family = stage.airflow.component("triggerer").family()
    return [process.pid for process in family if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def attack(stage: Stage) -> Iterator[Attack]:
    """Start the neighbour, then a run for each lie, and wait until all runs with a lie have ended."""
    neighbour = stage.start("neighbour of unclean answers", on=stage.slow)
    neighbour.wait_for_log(": queued", by=TRIGGERERS)
    triggerer = process_ids(stage)

    def is_over() -> bool:
        return process_ids(stage) != triggerer or all(journey.has_ended() for _, journey in lies.values())

    with ExitStack() as running:
        lies = {}
        for lie in LIES:
            gateway = running.enter_context(HostileGateway(stage.quick.url, spoil=lie.spoil))
            lies[lie.name] = gateway, stage.start(lie.name, gateway=lie.gateway, through=gateway)
        wait_for("the end of all runs or of the triggerer", is_over, END_S)
        yield Attack(neighbour, lies, triggerer)
    if process_ids(stage) != triggerer:  # the tests of other modules need one
        stage.airflow.component("triggerer").kill()
        stage.airflow.component("triggerer").start()


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_an_unclean_text_ends_no_more_than_its_own_task(lie: Lie, attack: Attack) -> None:
    gateway, journey = attack.lies[lie.name]

    assert journey.state() == lie.state, journey.log()
    assert len(gateway.creates()) == 1
    assert journey.instance()["try_number"] == 1
    if lie.state == "success":
        assert journey.has_whole_video()
        assert journey.files() == ["video.mp4", "video.mp4.json"]
    else:
        assert "A failed task is not billed" in journey.log()


def test_the_triggerer_survives_and_delivers_the_video_of_the_neighbour(stage: Stage, attack: Attack) -> None:
    assert process_ids(stage) == attack.triggerer
    stage.slow.advance(2 * SLOW_S)

    assert attack.neighbour.wait_for_end() == "success", attack.neighbour.log()

    assert process_ids(stage) == attack.triggerer
    assert attack.neighbour.log(TRIGGERERS).count(" starting") == 1, "its trigger was not started again"
    assert attack.neighbour.instance()["try_number"] == 1
    assert attack.neighbour.billed() == len(attack.neighbour.creates()) == 1
    assert attack.neighbour.has_whole_video()
