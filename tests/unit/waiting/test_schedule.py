from __future__ import annotations

import gc
import math
import weakref
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_wan.api.tasks import ListedTask, TaskStatus, WanTask
from airflow_wan.waiting.durations import Durations, VideoKind
from airflow_wan.waiting.schedule import (
    EARLY_READS,
    FIRST_READ_S,
    LONGEST_HOLD_S,
    LONGEST_READ_S,
    LONGEST_UNREAD_S,
    SHORTEST_INTERVAL_S,
    PlaceInQueue,
    ReadSchedule,
)

T0 = 1_775_000_000.0
WAN27 = VideoKind("wan2.7-t2v", "720P", 5)


def task(status: TaskStatus, **times: float) -> WanTask:
    """A task; its times in seconds since T0."""
    moments: dict[str, Any] = {name: datetime.fromtimestamp(T0 + at, UTC) for name, at in times.items()}
    return WanTask("t", status, status.value, **moments)


QUEUED, RUNNING, DONE = task(TaskStatus.QUEUED), task(TaskStatus.RUNNING), task(TaskStatus.SUCCEEDED)


@pytest.fixture
def schedule() -> ReadSchedule:
    return ReadSchedule()


def next_read(schedule: ReadSchedule, at: float) -> tuple[Any, float]:
    """Which wait is read next, and when at the earliest, in seconds since T0."""
    offer = schedule.next_read(T0 + at)
    assert offer is not None
    return offer[0], offer[1] - T0


def due_of_only(schedule: ReadSchedule, at: float) -> float:
    """When the only wait is read next, in seconds since T0, asking again as often as the schedule wants."""
    for _ in range(100):
        _, due = next_read(schedule, at)
        if due <= at:
            return due
        at = due
    raise AssertionError("always later")


def read(schedule: ReadSchedule, wait_id: object, at: float, answer: WanTask | ListedTask) -> None:
    schedule.reading(wait_id, T0 + at)
    schedule.saw(wait_id, answer, T0 + at)


# One wait ------------------------------------------------------------------------------------------------------------


def test_without_waits_there_is_nothing_to_read(schedule: ReadSchedule) -> None:
    assert schedule.next_read(T0) is None
    assert schedule.place_in_queue("t") is None
    assert len(schedule) == 0


def test_the_first_waits_of_a_kind_are_read_soon_and_the_others_when_they_may_have_ended(
    schedule: ReadSchedule,
) -> None:
    for number in range(EARLY_READS + 5):
        schedule.join(number, WAN27, started=T0, now=T0)

    dues = []
    for _ in range(len(schedule)):
        wait_id, due = next_read(schedule, 0)
        dues.append(due)
        schedule.leave(wait_id)

    assert dues[:EARLY_READS] == [FIRST_READ_S] * EARLY_READS
    assert all(75 < due < 95 for due in dues[EARLY_READS:])


def test_a_task_that_runs_is_not_read_before_it_may_have_ended_and_then_more_often(schedule: ReadSchedule) -> None:
    schedule.join("t", WAN27, started=T0, now=T0)
    at, intervals = due_of_only(schedule, 0), []
    for _ in range(6):
        read(schedule, "t", at, task(TaskStatus.RUNNING, submitted_at=0, started_at=0.1))
        due = due_of_only(schedule, at)
        intervals.append(due - at)
        at = due

    assert intervals[0] > 65
    assert all(SHORTEST_INTERVAL_S <= interval < 20 for interval in intervals[1:])


def test_an_age_counts_from_when_the_task_left_the_queue(schedule: ReadSchedule) -> None:
    schedule.join("t", WAN27, started=T0, now=T0)

    read(schedule, "t", 250, task(TaskStatus.RUNNING, submitted_at=0, started_at=200))

    assert 275 < due_of_only(schedule, 250) < 295


def test_a_wait_that_joins_late_is_read_soon(schedule: ReadSchedule) -> None:
    schedule.join("t", WAN27, started=T0 - 500, now=T0)

    assert due_of_only(schedule, 0) <= FIRST_READ_S


def test_what_one_schedule_has_seen_another_may_know() -> None:
    durations = Durations()
    dues = []
    for _ in range(2):
        schedule = ReadSchedule(durations)
        schedule.join("t", WAN27, started=T0, now=T0)
        read(schedule, "t", 150, RUNNING)
        dues.append(due_of_only(schedule, 150))
        for _ in range(50):
            durations.of(WAN27).learn(400)

    assert dues[0] < 170
    assert dues[1] > 195


@pytest.mark.parametrize("interval", [0.05, 1.0, 10.0, 600.0, 7200.0])
def test_an_interval_that_the_user_fixed_is_kept(schedule: ReadSchedule, interval: float) -> None:
    schedule.join("t", WAN27, started=T0, now=T0, poll_interval=interval)

    for number in range(1, 20):
        due = due_of_only(schedule, (number - 1) * interval)
        assert due == pytest.approx(number * interval, abs=1e-4)
        read(schedule, "t", due, RUNNING if number % 3 else QUEUED)


def test_a_fixed_interval_does_not_begin_again_when_the_wait_joins_another_process(schedule: ReadSchedule) -> None:
    schedule.join("t", WAN27, started=T0 - 500, now=T0, poll_interval=600)
    schedule.join("u", WAN27, started=T0 - 5000, now=T0, poll_interval=600)

    assert next_read(schedule, 0) == ("u", 0)
    read(schedule, "u", 0, RUNNING)
    assert due_of_only(schedule, 0) == pytest.approx(100)


@pytest.mark.parametrize("interval", [0.0, -1.0, math.nan, math.inf])
def test_an_interval_that_is_none_leaves_it_to_the_schedule(schedule: ReadSchedule, interval: float) -> None:
    schedule.join("t", WAN27, started=T0, now=T0, poll_interval=interval)

    assert due_of_only(schedule, 0) == FIRST_READ_S


def test_a_task_that_has_ended_but_gives_no_file_is_read_again_less_and_less_often(schedule: ReadSchedule) -> None:
    schedule.join("t", WAN27, started=T0, now=T0)
    at, intervals = 100.0, []
    for _ in range(12):
        read(schedule, "t", at, DONE)
        due = due_of_only(schedule, at)
        intervals.append(due - at)
        at = due

    assert intervals[0] == 5
    assert intervals == sorted(intervals)
    assert intervals[-1] == 60


def test_a_task_that_has_ended_neither_queues_nor_runs_again(schedule: ReadSchedule) -> None:
    for number, answer in enumerate((QUEUED, DONE, QUEUED, RUNNING, DONE)):
        schedule.join("other", WAN27, started=T0, now=T0)
        schedule.join("t", WAN27, started=T0, now=T0) if number == 0 else None
        read(schedule, "t", 100 + number, answer)

    assert schedule._queues[WAN27.model].running == 0
    assert schedule.place_in_queue("t") is None


# Under way, held, gone -----------------------------------------------------------------------------------------------


def test_a_wait_that_is_being_read_is_not_offered_until_its_answer_is_told(schedule: ReadSchedule) -> None:
    for number in range(3):
        schedule.join(number, WAN27, started=T0 - 100, now=T0)
    offered = set()
    for _ in range(3):
        wait_id, due = next_read(schedule, 10)
        assert due <= 10
        schedule.reading(wait_id, T0 + 10)
        offered.add(wait_id)

    assert offered == {0, 1, 2}
    assert next_read(schedule, 10)[1] > 10
    schedule.saw(1, RUNNING, T0 + 11)
    assert next_read(schedule, 12)[0] == 1


def test_a_read_of_which_nothing_is_told_is_lost_in_the_end(schedule: ReadSchedule) -> None:
    schedule.join("t", WAN27, started=T0, now=T0)
    schedule.reading("t", T0 + 10)

    assert due_of_only(schedule, 10) == 10 + LONGEST_READ_S


@pytest.mark.parametrize("interval", [None, 5.0])
def test_a_held_wait_is_not_offered_before_whatever_a_list_tells(
    schedule: ReadSchedule, interval: float | None
) -> None:
    schedule.join("t", WAN27, started=T0, now=T0, poll_interval=interval)
    schedule.reading("t", T0 + 100)
    schedule.hold("t", T0 + 400)
    schedule.saw("t", ListedTask("t", T0, None, None, TaskStatus.RUNNING, T0), T0 + 120)

    assert due_of_only(schedule, 120) == 400


@pytest.mark.parametrize("until", [math.nan, -math.inf, math.inf, T0 - 1e6, T0 + 1e12])
def test_an_absurd_hold_is_bounded(schedule: ReadSchedule, until: float) -> None:
    schedule.join("t", WAN27, started=T0, now=T0)
    schedule.next_read(T0 + 100)

    schedule.hold("t", until)

    assert due_of_only(schedule, 100) <= 100 + LONGEST_HOLD_S


def test_a_wait_that_left_is_forgotten(schedule: ReadSchedule) -> None:
    class Name:
        pass

    name = Name()
    gone = weakref.ref(name)
    for _ in range(3):
        schedule.join(name, WAN27, started=T0, now=T0)
    schedule.saw(name, RUNNING, T0 + 5)
    schedule.leave(name)
    schedule.leave(name)
    schedule.saw(name, DONE, T0 + 6)
    schedule.hold(name, T0 + 10)
    schedule.reading(name, T0)

    assert len(schedule) == 0
    assert schedule.next_read(T0 + 1e6) is None
    del name
    gc.collect()
    assert gone() is None


def test_waits_that_come_and_go_leave_nothing_behind(schedule: ReadSchedule) -> None:
    for number in range(1000):
        schedule.join("stays", VideoKind("a"), started=T0, now=T0 + number)
        schedule.join(number, VideoKind(f"model-{number}"), started=T0 + number, now=T0 + number)
        schedule.saw(number, QUEUED if number % 2 else RUNNING, T0 + number)
        schedule.leave(number)

    assert len(schedule._heap) < 200
    assert len(schedule._queues) == 1


# The queue -----------------------------------------------------------------------------------------------------------


def in_line(schedule: ReadSchedule, count: int, running: int) -> None:
    """Let waits join one a second, of which the first ones are seen to run, and the next one in the queue."""
    for number in range(count):
        schedule.join(number, WAN27, started=T0 + number, now=T0 + number)
    for number in range(running):
        read(schedule, number, count, task(TaskStatus.RUNNING, submitted_at=number, started_at=number))
    read(schedule, running, count, QUEUED)


def test_a_place_in_the_queue_is_told_as_far_as_it_is_known(schedule: ReadSchedule) -> None:
    in_line(schedule, 30, running=5)

    places = [schedule.place_in_queue(number) for number in range(30)]

    assert places[:5] == [None] * 5
    assert all(isinstance(place, PlaceInQueue) for place in places[5:])
    assert [place.ahead for place in places[5:] if place] == list(range(25))
    assert {place.running for place in places[5:] if place} == {5}
    starts = [place.starts_at - T0 for place in places[5:] if place]
    assert starts == sorted(starts)
    # Five at a time, of 105 s each: 21 s a start.
    assert starts[0] == pytest.approx(30 + 21, abs=3)
    assert starts[24] == pytest.approx(30 + 25 * 21, abs=60)


def test_tasks_behind_one_in_the_queue_are_not_asked(schedule: ReadSchedule) -> None:
    in_line(schedule, 30, running=5)

    asked, at = set(), 30.0
    while at < 130:
        wait_id, due = next_read(schedule, at)
        if due <= at:
            asked.add(wait_id)
            read(schedule, wait_id, at, task(TaskStatus.RUNNING, submitted_at=wait_id, started_at=wait_id))
        at = max(at + 0.1, due)

    assert asked <= {0, 1, 2, 3, 4, 5}


def test_when_a_task_ends_the_first_in_the_queue_is_believed_to_run(schedule: ReadSchedule) -> None:
    in_line(schedule, 30, running=5)

    read(schedule, 0, 100, task(TaskStatus.SUCCEEDED, submitted_at=0, started_at=0, ended_at=95))

    assert schedule.place_in_queue(5) is None
    place = schedule.place_in_queue(6)
    assert place is not None
    assert (place.ahead, place.running) == (0, 5)


def test_a_task_that_is_found_in_the_queue_after_all_goes_back_to_its_place(schedule: ReadSchedule) -> None:
    in_line(schedule, 30, running=5)
    read(schedule, 0, 100, task(TaskStatus.SUCCEEDED, submitted_at=0, started_at=0, ended_at=95))

    read(schedule, 5, 120, QUEUED)

    place = schedule.place_in_queue(5)
    assert place is not None
    assert (place.ahead, place.running) == (0, 4)


def test_tasks_before_one_that_runs_have_left_the_queue(schedule: ReadSchedule) -> None:
    in_line(schedule, 30, running=5)

    read(schedule, 12, 400, task(TaskStatus.RUNNING, submitted_at=12, started_at=380))

    assert [schedule.place_in_queue(number) for number in range(13)] == [None] * 13
    assert schedule.place_in_queue(13) is not None


def test_models_have_queues_of_their_own(schedule: ReadSchedule) -> None:
    in_line(schedule, 10, running=5)

    schedule.join("other", VideoKind("wan2.7-i2v"), started=T0 + 10, now=T0 + 10)

    assert schedule.place_in_queue("other") is None


def test_a_task_deep_in_a_queue_is_asked_now_and_then_all_the_same(schedule: ReadSchedule) -> None:
    in_line(schedule, 500, running=5)
    for number in range(499):
        schedule.leave(number) if number < 5 or number > 400 else None

    at, last = 500.0, {}
    while at < 500 + 3 * LONGEST_UNREAD_S:
        wait_id, due = next_read(schedule, at)
        if due <= at:
            last[wait_id] = at
            read(schedule, wait_id, at, QUEUED)
            at += 0.1
        at = max(at, due)

    assert min(last.values()) > at - 1.1 * LONGEST_UNREAD_S
    assert len(last) == len(schedule)


# Clocks and hostile answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", [-86_400.0, -3600.0, -60.0, 60.0, 3600.0])
def test_a_clock_that_is_set_neither_stops_the_reads_nor_loosens_them(step_s: float) -> None:
    schedule = ReadSchedule()
    schedule.join("t", WAN27, started=T0, now=T0)
    schedule.join("fixed", WAN27, started=T0, now=T0, poll_interval=10)
    reads = {"t": 0, "fixed": 0}
    for tenth in range(3000):
        now = T0 + tenth / 10 + (step_s if tenth > 500 else 0)
        offer = schedule.next_read(now)
        assert offer is not None
        if offer[1] <= now:
            reads[offer[0]] += 1
            schedule.reading(offer[0], now)
            schedule.saw(offer[0], RUNNING, now)

    assert 27 <= reads["fixed"] <= 31
    assert 5 <= reads["t"] <= 35


def test_times_of_the_callers_clock_are_told_after_it_was_set_back(schedule: ReadSchedule) -> None:
    schedule.join("t", WAN27, started=T0, now=T0)
    schedule.next_read(T0 - 3600)

    schedule.hold("t", T0 - 3500)

    assert due_of_only(schedule, -3600) == pytest.approx(-3500)


moments = st.none() | st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001 - hypothesis wants bounds without a zone
near = st.floats(-1e5, 1e5).map(lambda s: datetime.fromtimestamp(T0, UTC) + timedelta(seconds=s))
statuses = st.sampled_from(list(TaskStatus))
single = st.builds(
    lambda status, *times: WanTask("t", status, status.value, None, None, None, None, None, *times),
    statuses,
    *[moments | near] * 3,
)
numbers = st.floats() | st.none()
row = st.builds(
    lambda created, status, start, end: ListedTask("t", created, None, None, status, start, end),
    st.floats(),
    statuses | st.none(),
    numbers,
    numbers,
)


class AnySchedule(RuleBasedStateMachine):
    """Whatever is told to a schedule, in whatever order: it offers its own waits, none before its time."""

    @initialize()
    def begin(self) -> None:
        self.schedule = ReadSchedule()
        self.now = T0
        self.held: dict[int, float] = {}

    waits = st.integers(0, 7)

    @rule(
        wait=waits,
        model=st.sampled_from(["wan2.7-t2v", "wan3.0-video", None]),
        started=st.floats() | st.floats(T0 - 1e4, T0 + 1e4),
        interval=st.none() | st.floats(-10, 1e6) | st.sampled_from([math.nan, math.inf]),
    )
    def join(self, wait: int, model: str | None, started: float, interval: float | None) -> None:
        kind = VideoKind(model, None, started)
        self.schedule.join(wait, kind, started=started, now=self.now, poll_interval=interval)
        self.held[wait] = -math.inf

    @rule(wait=waits, answer=single | row)
    def see(self, wait: int, answer: WanTask | ListedTask) -> None:
        self.schedule.saw(wait, answer, self.now)

    @rule(wait=waits, until=st.floats() | st.floats(T0 - 1e4, T0 + 1e5))
    def hold(self, wait: int, until: float) -> None:
        self.schedule.hold(wait, until)
        if wait in self.held:
            self.held[wait] = -math.inf if math.isnan(until) else min(until, self.now + LONGEST_HOLD_S)

    @rule(wait=waits)
    def leave(self, wait: int) -> None:
        self.schedule.leave(wait)
        self.held.pop(wait, None)

    @rule(seconds=st.floats(0, 1e4))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds
        self.schedule.next_read(self.now)

    @precondition(lambda self: self.held)
    @rule(answer=single | row)
    def read(self, answer: WanTask | ListedTask) -> None:
        for _ in range(1000):
            offer = self.schedule.next_read(self.now)
            assert offer is not None
            wait, due = offer
            if due <= self.now:
                break
            self.now = max(due, math.nextafter(self.now, math.inf))
        else:
            raise AssertionError("never due")
        assert self.now >= self.held[wait] - 1e-3
        self.schedule.reading(wait, self.now)
        self.schedule.saw(wait, answer, self.now)

    @invariant()
    def it_offers_its_own_waits_within_a_bound(self) -> None:
        offer = self.schedule.next_read(self.now)
        assert (offer is None) == (not self.held)
        assert len(self.schedule) == len(self.held)
        if offer is not None:
            assert offer[0] in self.held
            assert math.isfinite(offer[1])
        for wait in self.held:
            place = self.schedule.place_in_queue(wait)
            assert place is None or (place.ahead >= 0 and place.running >= 0 and math.isfinite(place.starts_at))

    @invariant()
    def its_books_balance(self) -> None:
        for queue in self.schedule._queues.values():
            ours = [wait for wait in self.schedule._waits.values() if wait.queue is queue]
            assert queue.waits == len(ours)
            assert queue.running == sum(wait.began is not None and wait.ended is None for wait in ours)
            assert queue.line == sorted(queue.line, key=lambda wait: wait.place)


TestAnySchedule = AnySchedule.TestCase
TestAnySchedule.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(max_examples=25, deadline=None)
@given(
    answers=st.lists(single | row, min_size=1, max_size=8),
    intervals=st.lists(st.none() | st.floats(0.01, 500), min_size=1, max_size=30),
)
def test_no_wait_starves_whatever_the_others_do(
    answers: list[WanTask | ListedTask], intervals: list[float | None]
) -> None:
    schedule = ReadSchedule()
    for number, interval in enumerate(intervals):
        schedule.join(number, WAN27, started=T0, now=T0, poll_interval=interval)
    now, last = T0, dict.fromkeys(range(len(intervals)), T0)
    # Each second one wait is read, or held back for 20 s: all that are due come before a wait at most.
    longest_s = LONGEST_UNREAD_S + 3 * len(intervals) + 20

    for turn in range(600):
        wait, due = schedule.next_read(now) or (None, now)
        if due > now:
            now = due
        elif turn % 7 == 3:
            schedule.hold(wait, now + 20)
        else:
            last[wait] = now
            schedule.reading(wait, now)
            schedule.saw(wait, answers[(turn + wait) % len(answers)], now)
        now += 1.0
        assert max(now - at for at in last.values()) <= longest_s
