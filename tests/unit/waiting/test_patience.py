"""When a wait is given up: not while the gateway keeps the task in its queue, and never later than the limits say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.api.tasks import TaskStatus, WanTask
from airflow_wan.exceptions import GatewayUnavailable, VideoWaitTimeout
from airflow_wan.waiting.durations import VideoKind
from airflow_wan.waiting.patience import Patience
from airflow_wan.waiting.schedule import PlaceInQueue
from airflow_wan.waiting.watch import Verdict, VideoWatch

START = 1_775_113_902.0
TIMEOUT, QUEUE_TIMEOUT = 1000.0, 50_000.0
LATEST = TIMEOUT + QUEUE_TIMEOUT


def patience(*, latest: float = LATEST, sees_all: bool = True) -> Patience:
    return Patience(START, START + TIMEOUT, START + QUEUE_TIMEOUT, START + latest, sees_all)


def task(status: TaskStatus, began: float | None = None) -> WanTask:
    """A task that the gateway took out of its queue so many seconds after the start of the wait."""
    started_at = None if began is None else datetime.fromtimestamp(START + began, tz=UTC)
    return WanTask("an-id", status, status.value, started_at=started_at)


def gives_up_after(limits: Patience, *seen: tuple[TaskStatus | None, float], began: float | None = None) -> float:
    """Seconds from the start of the wait to its end, after reads at these seconds; None: a read that told nothing."""
    for status, after in seen:
        if status is None:
            limits.look(START + after)
        else:
            limits.see(task(status, began if status is not TaskStatus.QUEUED else None), START + after)
    return limits.gives_up_at - START


QUEUED, RUNNING = TaskStatus.QUEUED, TaskStatus.RUNNING


def test_nothing_was_seen_yet() -> None:
    assert gives_up_after(patience()) == TIMEOUT


def test_a_queued_task_is_waited_for_as_long_as_it_may_be_queued() -> None:
    assert gives_up_after(patience(), (QUEUED, 0)) == QUEUE_TIMEOUT
    assert gives_up_after(patience(), (QUEUED, 0), (None, 40_000), (QUEUED, 49_000)) == QUEUE_TIMEOUT


def test_its_time_counts_from_when_the_gateway_says_that_it_left_the_queue() -> None:
    assert gives_up_after(patience(), (QUEUED, 0), (RUNNING, 9000), began=8000) == 8000 + TIMEOUT
    assert gives_up_after(patience(), (RUNNING, 9000), began=8000) == 8000 + TIMEOUT


def test_or_else_from_when_it_was_first_seen_out_of_it() -> None:
    assert gives_up_after(patience(), (QUEUED, 0), (RUNNING, 9000), (RUNNING, 9500)) == 9000 + TIMEOUT


def test_a_task_that_never_queued_has_its_time_from_the_start() -> None:
    assert gives_up_after(patience(), (RUNNING, 10), (RUNNING, 900)) == TIMEOUT


def test_a_process_that_takes_over_after_a_long_queue_gives_the_time_anew() -> None:
    assert gives_up_after(patience(), (RUNNING, 9000), (RUNNING, 9500)) == 9000 + TIMEOUT
    assert gives_up_after(patience(), (None, 9000), (None, 9500)) == 9000 + TIMEOUT


def test_one_read_of_many_that_others_made_does_not() -> None:
    assert gives_up_after(patience(sees_all=False), (RUNNING, 9000)) == TIMEOUT
    assert gives_up_after(patience(sees_all=False), (RUNNING, 9000), began=8500) == 8500 + TIMEOUT
    assert gives_up_after(patience(sees_all=False), (QUEUED, 9000)) == QUEUE_TIMEOUT


def test_a_refusal_to_tell_is_not_taken_for_the_end_of_the_queue() -> None:
    assert gives_up_after(patience(), (QUEUED, 0), (TaskStatus.UNKNOWN, 9000)) == QUEUE_TIMEOUT


def test_a_task_that_is_queued_again_is_queued() -> None:
    assert gives_up_after(patience(), (QUEUED, 0), (RUNNING, 5000), (QUEUED, 5100)) == QUEUE_TIMEOUT


@pytest.mark.parametrize("began", [-1e6, 1e6])
def test_a_gateway_whose_clock_is_wrong_gives_no_more_and_no_less_time(began: float) -> None:
    assert gives_up_after(patience(), (QUEUED, 0), (RUNNING, 9000), began=began) in (TIMEOUT, 9000 + TIMEOUT)


@given(
    seen=st.lists(st.tuples(st.sampled_from([None, *TaskStatus]), st.floats(0, 1e6)), max_size=20),
    began=st.none() | st.floats(-1e6, 1e6),
    latest=st.floats(1, LATEST),
    sees_all=st.booleans(),
)
def test_whatever_the_gateway_says_no_wait_outlasts_the_last_limit(
    seen: list[tuple[TaskStatus | None, float]], began: float | None, latest: float, sees_all: bool
) -> None:
    after = gives_up_after(
        patience(latest=latest, sees_all=sees_all), *sorted(seen, key=lambda one: one[1]), began=began
    )
    assert min(TIMEOUT, latest) - 1e-3 <= after <= latest + 1e-3


def watch(latest: float | None = LATEST) -> VideoWatch:
    return VideoWatch(
        "an-id",
        START,
        START + TIMEOUT,
        15.0,
        queue_deadline=START + QUEUE_TIMEOUT,
        latest=None if latest is None else START + latest,
        kind=VideoKind("wan2.7-i2v"),
    )


def why(wait: VideoWatch, *seen: tuple[TaskStatus, float]) -> str:
    for status, after in seen:
        decision = wait.see_task(task(status), START + after)
    assert decision.verdict is Verdict.FAILED
    assert isinstance(decision.error, VideoWaitTimeout)
    return str(decision.error)


def test_the_error_names_the_limit() -> None:
    assert "within 50000 s (queue_timeout), and it is still queued" in why(watch(), (QUEUED, 0), (QUEUED, 50_000))
    assert "within 1000 s (timeout)" in why(watch(), (RUNNING, 0), (RUNNING, 1000))
    assert "within 1000 s of leaving the queue (timeout)" in why(watch(), (QUEUED, 0), (RUNNING, 9), (RUNNING, 1009))
    assert "within 600 s in all" in why(watch(latest=600), (QUEUED, 0), (QUEUED, 600))


def test_a_queued_task_is_waited_for_while_the_gateway_is_away() -> None:
    wait = watch()
    wait.see_task(task(QUEUED), START)
    away = GatewayUnavailable("502")
    assert wait.see_error(away, START + 49_999).verdict is Verdict.WAIT
    assert wait.see_error(away, START + 50_000).verdict is Verdict.FAILED


def test_a_wait_that_an_older_version_began_ends_at_its_one_deadline() -> None:
    wait = VideoWatch("an-id", START, START + TIMEOUT, 15.0)
    assert wait.see_task(task(QUEUED), START + TIMEOUT - 1).verdict is Verdict.WAIT
    assert wait.see_task(task(QUEUED), START + TIMEOUT).verdict is Verdict.FAILED


def place(ahead: int, minutes: float) -> PlaceInQueue:
    return PlaceInQueue(ahead=ahead, running=5, starts_at=START + 60 * minutes)


def test_the_place_in_the_queue_is_told_when_it_has_changed_much() -> None:
    wait, told = watch(), []
    for ahead in range(37, -1, -1):
        told += wait.see_task(task(QUEUED), START, place(ahead, ahead / 3)).notes

    heads = [
        f"queued; of the tasks of wan2.7-i2v that this process waits for, about {n} are" for n in (37, 18, 8, 3, 1, 0)
    ]
    assert [note.partition(" before")[0] for note in told] == heads
    assert told[0].endswith("it is expected to start in about 12 min")
    assert told[-1].endswith("it is expected to start within a minute")


def test_a_place_that_is_not_known_is_not_told() -> None:
    wait = watch()
    assert wait.see_task(task(QUEUED), START).notes == ("queued",)
    assert wait.see_task(task(QUEUED), START, place(3, 1)).notes[0].startswith("queued; of the tasks")
    assert wait.see_task(task(RUNNING), START).notes == ("running",)
