"""A worker killed with SIGKILL at each step of the journey: how often the video is bought, and whether it arrives.

All journeys run at the same time; each is held at its step, killed there, and left to Airflow's retries.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from journeys import Journey, Stage, running_emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

UNCERTAIN = "and never received an answer: the video may be in the making, and may be billed."
NO_LIST = "has no list of tasks that an API key may search"
LIST_DOES_NOT_TELL = "does not settle it"
ID_IN_LOG = "Submitted as wan task"
REATTACHED = "An earlier try bought this video as wan task"
RESCUED = "is the one that an earlier try submitted without learning its id"
SUBMITTED_AGAIN = "submitting again, as on_ambiguous_submit='resubmit' says. It may be billed twice."


@dataclass(frozen=True)
class Kill:
    """One kill, and what has to come of it.

    :param step: where the task is held.
    :param victim: ``task``, its own process, whose end the worker sees; or ``worker``, both, as when a machine dies.
    :param bought: billed creates at the end; the video must arrive unless the run has to fail.
    :param says: sentences of the task's log.
    """

    step: str
    gateway: str
    victim: str
    state: str
    bought: int
    says: tuple[str, ...]
    dag_id: str = "system_video"
    task: str = "video"

    def __str__(self) -> str:
        way = self.dag_id.removeprefix("system_")
        return f"{self.victim} killed {self.step}, {self.gateway}, {way}"


HELD_POST = "during the POST"
SUBMIT_OF_PAIR = ("system_pair", "submit")
KILLS = [
    Kill("before the POST", "apiyi", "task", "failed", 0, (UNCERTAIN, NO_LIST)),
    Kill("before the POST", "dashscope", "worker", "failed", 0, (UNCERTAIN, LIST_DOES_NOT_TELL)),
    Kill("before the POST", "apiyi", "task", "success", 1, (SUBMITTED_AGAIN,), "system_video_resubmit"),
    Kill(HELD_POST, "apiyi", "task", "failed", 1, (UNCERTAIN, NO_LIST)),
    Kill(HELD_POST, "dashscope", "worker", "success", 1, (RESCUED,)),
    Kill("between answer and ledger", "apiyi", "worker", "failed", 1, (ID_IN_LOG, UNCERTAIN, NO_LIST)),
    Kill("between answer and ledger", "dashscope", "task", "success", 1, (RESCUED,)),
    Kill("before the deferral", "apiyi", "task", "success", 1, (REATTACHED,)),
    Kill("before the deferral", "dashscope", "worker", "success", 1, (REATTACHED,)),
    Kill("during the download", "apiyi", "worker", "success", 1, (REATTACHED,)),
    Kill("before publishing", "dashscope", "task", "success", 1, (REATTACHED,)),
    Kill("after publishing", "apiyi", "task", "success", 1, (REATTACHED,)),
    Kill("after publishing", "dashscope", "worker", "success", 1, (REATTACHED,)),
    Kill("before the download", "apiyi", "worker", "success", 1, (REATTACHED,), "system_video_sync"),
    Kill(
        "between answer and ledger", "dashscope", "task", "success", 1, (RESCUED,), dag_id="system_pair", task="submit"
    ),
    Kill("after the submit", "apiyi", "worker", "success", 1, (REATTACHED,), dag_id="system_pair", task="submit"),
    Kill("during the download", "apiyi", "task", "success", 1, ("The video is at",), dag_id="system_pair"),
]


@pytest.fixture(scope="module")
def journeys(stage: Stage) -> Iterator[dict[Kill, Journey]]:
    with ExitStack() as running:
        started = {}
        for number, kill in enumerate(KILLS):
            if kill.step == HELD_POST:
                # A gateway of its own: a fault strikes whoever comes next.
                emulator = running.enter_context(
                    running_emulator(stage.folder / f"holding-{number}.log", "--pending-s", "1", "--running-s", "2")
                )
                emulator.add_fault("create", "hold", accepted=True)
                started[kill] = stage.start(str(kill), gateway=kill.gateway, on=emulator)
            else:
                started[kill] = stage.start(
                    str(kill), gateway=kill.gateway, dag_id=kill.dag_id, pause_at=kill.step, pause_task=kill.task
                )
        for kill, journey in started.items():
            if kill.step == HELD_POST:
                journey.kill_once_accepted(kill.victim)
            else:
                journey.kill_at_pause(kill.victim)
        yield started


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_a_killed_worker_buys_at_most_once_and_loses_no_video_it_knows_of(
    kill: Kill, journeys: dict[Kill, Journey]
) -> None:
    journey = journeys[kill]

    assert journey.wait_for_end() == kill.state, journey.log()

    assert journey.billed() == len(journey.creates()) == kill.bought
    log = journey.log()
    for sentence in kill.says:
        assert sentence in log, log
    if kill.state == "failed":
        assert journey.files() == []
        assert journey.instance(kill.task)["try_number"] == 2, "what a retry cannot mend is not retried"
    else:
        assert journey.has_whole_video()
        assert journey.files() == ["video.mp4", "video.mp4.json"]
        assert journey.xcom() == str(journey.output_path)
        assert journey.xcom("wan_video")["wan_task_id"] == journey.creates()[0]["task_id"]
