"""A worker is killed with SIGKILL at each step: how often the video is bought, and whether it is delivered.

All runs go on at the same time. Each is held at its step and killed there; then Airflow retries it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from dag_runs import running_emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journeys import Journey, Stage

UNCERTAIN = "and never received an answer: the video may be in the making, and may be billed."
NO_LIST = "has no list of tasks that an API key may search"
LIST_DOES_NOT_TELL = "does not settle it"
ID_IN_LOG = "Submitted as wan task"
REATTACHED = "An earlier try bought this video as wan task"
RESCUED = "is the one that an earlier try submitted without learning its id"
SUBMITTED_AGAIN = "submitting again, as on_ambiguous_submit='resubmit' says. It may be billed twice."


@dataclass(frozen=True)
class Kill:
    """One kill, and the outcome that it must have.

    :param step: the step at which the task is held.
    :param victim: ``task`` kills the task's own process, and its worker sees that; ``worker`` kills both, as when a
        machine goes down.
    :param state: the final state of the run. If it is ``success``, the video must be delivered.
    :param bought: the number of billed creates at the end.
    :param says: sentences of the task's log.
    :param task: the task that is killed.
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
        dag = self.dag_id.removeprefix("system_")
        return f"{self.victim} killed {self.step}, {self.gateway}, {dag}"


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
    """Start a run for each kill, and kill it."""
    with ExitStack() as running:
        started = {}
        for number, kill in enumerate(KILLS):
            if kill.step == HELD_POST:
                # It has a gateway of its own, because a fault hits the next request of anybody.
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
def test_after_a_kill_no_video_is_bought_twice_and_no_known_video_is_lost(
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
        assert journey.instance(kill.task)["try_number"] == 2, "a failure that a retry cannot repair is not retried"
    else:
        assert journey.has_whole_video()
        assert journey.files() == ["video.mp4", "video.mp4.json"]
        assert journey.xcom() == str(journey.output_path)
        assert journey.xcom("wan_video")["wan_task_id"] == journey.creates()[0]["task_id"]
