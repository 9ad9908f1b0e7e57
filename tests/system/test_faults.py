"""A gateway with a fault, in a real Airflow with `retries=3`: what is bought, what is delivered, what the log says.

All runs go on at the same time. Each has a gateway of its own, because a fault hits the next request of anybody.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from dag_runs import Emulator

from airflow_wan.emulator.testing import FAST, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journeys import Journey, Stage

READ_TIMEOUT_S = 5.0
SETTINGS = replace(FAST, pending_s=0.5, running_s=1.0)

NOT_RESENT = "may be billed; the request is not sent again automatically."
UNCERTAIN = "and never received an answer: the video may be in the making, and may be billed."
NO_LIST = "has no list of tasks that an API key may search"
LIST_DOES_NOT_TELL = "does not settle it"
RESCUED = "is the one that an earlier try submitted without learning its id"
TOP_UP = "Top up the account at the gateway, then clear the task."
UNKNOWN_WORD = "in a state this package does not know ('DREAMING'), still waiting"
TROUBLE, TROUBLE_OVER = "polling failed, trying again until the deadline", "the gateway answers again"


@dataclass(frozen=True)
class Fault:
    """One fault, and the outcome that it must have.

    :param state: the final state of the run.
    :param bought: the number of billed creates at the end.
    :param says: sentences of the log.
    :param settings: further settings of the fault.
    :param accepted: the number of accepted creates where it is not `bought`: a failed task is not billed.
    """

    on: str
    kind: str
    gateway: str
    state: str
    bought: int
    says: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict, hash=False)
    accepted: int | None = None

    def __str__(self) -> str:
        settings = " ".join(f"{name} {value}" for name, value in self.settings.items())
        return f"{self.on} {self.kind}{f' {settings}' if settings else ''}, {self.gateway}"


FAULTS = [
    # The create was accepted and its answer was lost: only DashScope has a list in which the task can be found.
    Fault("create", "drop_connection", "apiyi", "failed", 1, (NOT_RESENT, UNCERTAIN, NO_LIST)),
    Fault("create", "drop_connection", "dashscope", "success", 1, (NOT_RESENT, RESCUED)),
    Fault("create", "bad_gateway", "apiyi", "failed", 1, (NOT_RESENT, UNCERTAIN, NO_LIST)),
    Fault("create", "gateway_timeout", "dashscope", "success", 1, (NOT_RESENT, RESCUED)),
    Fault("create", "html", "dashscope", "success", 1, (NOT_RESENT, RESCUED)),
    Fault("create", "delay", "dashscope", "success", 1, (NOT_RESENT, RESCUED), {"delay_s": 3 * READ_TIMEOUT_S}),
    # The create was not accepted, but only some answers prove that.
    Fault("create", "server_error", "apiyi", "failed", 0, (NOT_RESENT, UNCERTAIN, NO_LIST)),
    Fault("create", "server_error", "dashscope", "failed", 0, (NOT_RESENT, UNCERTAIN, LIST_DOES_NOT_TELL)),
    Fault("create", "throttled", "apiyi", "success", 1, ("Submitted as wan task",), {"times": 2, "retry_after": 1}),
    Fault(
        "create",
        "insufficient_balance",
        "apiyi",
        "failed",
        0,
        (TOP_UP,),
    ),
    # A failed task is not billed, so the next try may buy again, unless the task would fail in the same way.
    Fault("create", "task_failed", "apiyi", "success", 1, (), {"code": "InternalError"}, accepted=2),
    Fault("create", "task_failed", "dashscope", "failed", 0, ("A failed task is not billed",), accepted=1),
    # The worker sends the first poll before it defers; the triggerer sends the others.
    Fault("poll", "server_error", "apiyi", "success", 1, (TROUBLE, TROUBLE_OVER), {"times": 3}),
    Fault("poll", "drop_connection", "dashscope", "success", 1, (TROUBLE, TROUBLE_OVER), {"times": 3}),
    Fault("poll", "malformed_json", "apiyi", "success", 1, (TROUBLE, TROUBLE_OVER), {"times": 3}),
    Fault("poll", "unknown_status", "dashscope", "success", 1, (UNKNOWN_WORD,), {"word": "DREAMING"}),
    Fault("poll", "unauthorized", "apiyi", "success", 1, ("refusal 2 in a row, asking again",), {"times": 3}),
    Fault("download", "truncated", "apiyi", "success", 1, ("The connection to the file host failed",)),
    Fault("download", "reset", "dashscope", "success", 1, ("The connection to the file host failed",)),
    Fault("download", "wrong_length", "apiyi", "success", 1, ("The connection to the file host failed",)),
    Fault("download", "empty", "apiyi", "success", 1, ("The file host sent an empty file.",)),
    Fault("download", "html", "dashscope", "success", 1, ("a web page came in place of the file",)),
    Fault("download", "expired", "apiyi", "success", 1, ("answered HTTP 403",)),
]


@pytest.fixture(scope="module")
def journeys(stage: Stage) -> Iterator[dict[str, Journey]]:
    """Start a run for each fault."""
    with ExitStack() as running:
        started = {}
        for fault in FAULTS:
            emulator = Emulator(running.enter_context(RunningEmulator(SETTINGS)).base_url)
            running.callback(emulator.http.close)
            emulator.add_fault(fault.on, fault.kind, **fault.settings)
            started[str(fault)] = stage.start(
                str(fault), gateway=fault.gateway, on=emulator, read_timeout=READ_TIMEOUT_S
            )
        yield started


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_after_a_fault_no_video_is_bought_twice_and_no_known_video_is_lost(
    fault: Fault, journeys: dict[str, Journey]
) -> None:
    journey = journeys[str(fault)]

    assert journey.wait_for_end() == fault.state, journey.log()

    assert journey.billed() == fault.bought
    assert len(journey.creates()) == (fault.bought if fault.accepted is None else fault.accepted)
    log = journey.log()
    for sentence in fault.says:
        assert sentence in log, log
    if fault.state == "success":
        assert journey.has_whole_video()
        assert journey.files() == ["video.mp4", "video.mp4.json"]
    else:
        assert journey.files() == []
