from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.api.tasks import TaskStatus, WanTask
from airflow_wan.exceptions import (
    AuthenticationFailed,
    BalanceExhausted,
    GatewayUnavailable,
    RateLimited,
    VideoTaskFailed,
    VideoTaskLost,
    VideoWaitTimeout,
    WanConnectionError,
    WanError,
)
from airflow_wan.net.host_answers import LONGEST_OBEYED_S
from airflow_wan.waiting.watch import (
    DEFAULT_POLL_INTERVAL_S,
    DEFAULT_TIMEOUT_S,
    LONGEST_BACKOFF_S,
    LONGEST_REFUSED_S,
    MAX_UNCONNECTED,
    Decision,
    Verdict,
    VideoWatch,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

TASK_ID = "f8ca39a0"
START = 1_775_113_902.0
URL = "https://files.example/x.mp4?Signature=TOPSECRET"
MOST_JITTER = 1.1


def watch(*, timeout: float = DEFAULT_TIMEOUT_S, poll_interval: float = 10.0) -> VideoWatch:
    return VideoWatch(TASK_ID, started=START, deadline=START + timeout, poll_interval=poll_interval)


def task(status: TaskStatus, *, progress: int | None = None, url: str | None = None, word: str = "word") -> WanTask:
    return WanTask(TASK_ID, status, word, progress=progress, video_url=url, code="C", message="why", request_id="r-1")


QUEUED = task(TaskStatus.QUEUED)
RUNNING = task(TaskStatus.RUNNING, progress=30)
DONE = task(TaskStatus.SUCCEEDED, progress=100, url=URL)
DONE_WITHOUT_FILE = task(TaskStatus.SUCCEEDED, progress=100)
FAILED = task(TaskStatus.FAILED)
CANCELED = task(TaskStatus.CANCELED)
LOST = task(TaskStatus.UNKNOWN, word="UNKNOWN")
ODD = task(TaskStatus.UNRECOGNISED, word="REVIEWING")
OUTAGE = GatewayUnavailable("502", http_status=502)
REFUSAL = AuthenticationFailed("no", code="InvalidApiKey")


def see(watched: VideoWatch, seen: WanTask | WanError, after: float = 1.0) -> Decision:
    """Give a watch the result of a poll, so many seconds after its start."""
    now = START + after
    return watched.see_error(seen, now) if isinstance(seen, WanError) else watched.see_task(seen, now)


def see_all(watched: VideoWatch, sights: Iterable[WanTask | WanError], after: float = 1.0) -> list[Decision]:
    return [see(watched, seen, after) for seen in sights]


# How a wait ends -----------------------------------------------------------------------------------------------------


def test_a_finished_task_with_a_file_ends_the_wait() -> None:
    decision = see(watch(), DONE, after=92.4)

    assert (decision.verdict, decision.delay, decision.error) == (Verdict.SUCCEEDED, 0, None)
    assert "92 s" in decision.notes[0]


@pytest.mark.parametrize(("seen", "word"), [(FAILED, "failed"), (CANCELED, "canceled")])
def test_a_failed_or_canceled_task_ends_the_wait_with_the_gateways_reason(seen: WanTask, word: str) -> None:
    decision = see(watch(), seen)

    assert decision.verdict is Verdict.FAILED
    assert isinstance(decision.error, VideoTaskFailed)
    assert word in decision.error.message
    assert "why" in decision.error.message
    assert (decision.error.code, decision.error.request_id, decision.error.wan_task_id) == ("C", "r-1", TASK_ID)


def test_a_finished_task_without_a_file_is_waited_for() -> None:
    watched = watch()

    assert see(watched, DONE_WITHOUT_FILE).verdict is Verdict.WAIT
    assert see(watched, DONE).verdict is Verdict.SUCCEEDED


def test_an_unknown_status_word_is_waited_for_and_logged_once() -> None:
    first, second = see_all(watch(), [ODD, ODD])

    assert first.verdict is second.verdict is Verdict.WAIT
    assert "'REVIEWING'" in first.notes[0]
    assert second.notes == ()


REFUSALS = {
    "401": REFUSAL,
    "403, no balance": AuthenticationFailed("token's balance used up", http_status=403),
    "lost": VideoTaskLost("gone"),
    "UNKNOWN": LOST,
}


@pytest.mark.parametrize("seen", REFUSALS.values(), ids=REFUSALS)
def test_no_refusal_ends_the_wait_for_a_paid_video_before_its_deadline(seen: WanTask | WanError) -> None:
    watched = watch()
    after, refusals = 0.0, 0
    while (decision := see(watched, seen, after)).verdict is Verdict.WAIT:
        refusals += 1
        assert f"refusal {refusals} in a row" in decision.notes[0]
        after += decision.delay

    assert after == pytest.approx(DEFAULT_TIMEOUT_S)
    assert refusals < 40  # asked about more seldom than every 5 minutes on average
    assert isinstance(decision.error, VideoWaitTimeout)
    assert f"refused to tell, {refusals + 1} time(s) in a row" in decision.error.message
    assert (seen.message if isinstance(seen, WanError) else "'UNKNOWN'") in decision.error.message  # type: ignore[operator]
    assert decision.error.wan_task_id == TASK_ID
    assert see(watch(), seen).delay > 0


def test_a_video_that_comes_after_many_refusals_is_not_given_up() -> None:
    assert see_all(watch(), [*[REFUSAL, LOST] * 20, DONE])[-1].verdict is Verdict.SUCCEEDED


def test_a_refusal_that_has_passed_is_not_told_at_the_deadline() -> None:
    watched = watch(timeout=100)
    see_all(watched, [REFUSAL, RUNNING])

    assert "refused" not in str(see(watched, OUTAGE, after=101).error)


def test_a_process_without_the_connection_hands_the_wait_back() -> None:
    undefined = WanConnectionError("is not defined")

    *before, last = see_all(watch(), [undefined] * MAX_UNCONNECTED)

    assert {decision.verdict for decision in before} == {Verdict.WAIT}
    assert (last.verdict, last.error) == (Verdict.FAILED, undefined)
    assert undefined.retry_can_help


@pytest.mark.parametrize("relief", [RUNNING, OUTAGE, REFUSAL, RateLimited("slow"), DONE_WITHOUT_FILE], ids=str)
def test_a_connection_that_works_in_between_begins_the_count_again(relief: WanTask | WanError) -> None:
    undefined = WanConnectionError("is not defined")

    decisions = see_all(watch(), [undefined, undefined, relief, undefined, undefined])

    assert {decision.verdict for decision in decisions} == {Verdict.WAIT}


@pytest.mark.parametrize("error", [OUTAGE, RateLimited("slow"), BalanceExhausted("empty"), WanError("what?")])
def test_no_other_error_ends_a_wait_before_its_deadline(error: WanError) -> None:
    decisions = [see(watch(), error, after) for after in range(0, int(DEFAULT_TIMEOUT_S), 100)]

    assert {decision.verdict for decision in decisions} == {Verdict.WAIT}


@pytest.mark.parametrize("seen", [QUEUED, RUNNING, ODD, OUTAGE, REFUSAL, DONE_WITHOUT_FILE], ids=str)
@pytest.mark.parametrize("late", [0.0, 5.0])
def test_the_deadline_ends_the_wait_whatever_is_seen(seen: WanTask | WanError, late: float) -> None:
    watched = watch(timeout=100)
    see(watched, RUNNING, after=50)

    decision = see(watched, seen, after=100 + late)

    assert decision.verdict is Verdict.FAILED
    assert isinstance(decision.error, VideoWaitTimeout)
    assert "100 s" in decision.error.message
    assert decision.error.wan_task_id == TASK_ID


def test_the_timeout_shows_the_last_state_seen() -> None:
    watched = watch(timeout=100)
    see(watched, RUNNING, after=50)

    assert "last seen: running 30 %" in str(see(watched, OUTAGE, after=101).error)
    assert "last seen: nothing" in str(see(watch(timeout=100), OUTAGE, after=101).error)


@pytest.mark.parametrize(("seen", "verdict"), [(DONE, Verdict.SUCCEEDED), (FAILED, Verdict.FAILED)])
def test_a_task_that_ended_counts_even_after_the_deadline(seen: WanTask, verdict: Verdict) -> None:
    decision = see(watch(timeout=100), seen, after=500)

    assert decision.verdict is verdict
    assert not isinstance(decision.error, VideoWaitTimeout)


# What is logged ------------------------------------------------------------------------------------------------------


def test_each_change_of_state_is_logged_once() -> None:
    sights = [
        *(QUEUED, QUEUED, task(TaskStatus.RUNNING), task(TaskStatus.RUNNING, progress=10)),
        *(task(TaskStatus.RUNNING, progress=10), RUNNING, RUNNING, DONE_WITHOUT_FILE, DONE),
    ]

    notes = [decision.notes for decision in see_all(watch(), sights)]

    assert notes[:-2] == [("queued",), (), ("running",), ("running 10 %",), (), ("running 30 %",), ()]
    (without_file,), (done,) = notes[-2:]
    assert "succeeded" in without_file
    assert "done" in done


def test_a_line_is_logged_when_polls_begin_to_fail_and_when_they_succeed_again() -> None:
    watched = watch()

    see(watched, RUNNING)
    notes = [see(watched, OUTAGE, after=10.0 * number).notes for number in range(1, 5)]
    (recovery,) = see(watched, RUNNING, after=70).notes

    assert "502" in notes[0][0]
    assert notes[1:] == [(), (), ()]
    assert "4 failed" in recovery
    assert "70 s" in recovery
    assert see(watched, OUTAGE, after=80).notes != ()


def test_the_recovery_is_logged_before_the_result() -> None:
    recovery, done = see_all(watch(), [OUTAGE, DONE])[-1].notes

    assert "answers again" in recovery
    assert "done" in done


def test_no_note_shows_the_signed_url() -> None:
    sights = [QUEUED, OUTAGE, GatewayUnavailable(f"no answer from {URL}"), LOST, ODD, DONE]

    decisions = see_all(watch(), sights)

    assert "TOPSECRET" not in repr(decisions)


# When to poll again --------------------------------------------------------------------------------------------------


def test_a_poll_that_tells_something_leaves_the_next_one_to_the_schedule() -> None:
    assert see(watch(), RUNNING, after=300).delay == 0


def test_pauses_grow_from_the_recommended_interval_unless_the_user_fixes_one() -> None:
    delay = see(watch(poll_interval=None), OUTAGE).delay

    assert 2 * DEFAULT_POLL_INTERVAL_S <= delay <= 2 * DEFAULT_POLL_INTERVAL_S * MOST_JITTER


def test_a_success_in_the_list_ends_the_wait_and_is_told_once() -> None:
    watched = watch()
    see(watched, OUTAGE)

    decision = watched.see_success_in_list(START + 60)

    assert decision.verdict is Verdict.SUCCEEDED
    assert [note.partition(",")[0] for note in decision.notes] == [
        "the gateway answers again after 1 failed poll(s)",
        "done after 60 s",
    ]
    assert watched.seen == {"succeeded": START + 60}


def test_no_answer_at_all_ends_the_wait_at_its_deadline_only() -> None:
    watched = watch()

    assert watched.see_no_answer(watched.deadline - 1).verdict is Verdict.WAIT
    assert isinstance(watched.see_no_answer(watched.deadline).error, VideoWaitTimeout)


def test_the_interval_doubles_while_polls_fail() -> None:
    delays = [decision.delay for decision in see_all(watch(), [OUTAGE] * 40)]

    for delay, expected in zip(delays, [20, 40, 80, *[LONGEST_BACKOFF_S] * 37], strict=True):
        assert expected <= delay <= expected * MOST_JITTER


def test_the_backoff_starts_afresh_after_an_answer() -> None:
    delay = see_all(watch(), [*[OUTAGE] * 5, RUNNING, OUTAGE])[-1].delay

    assert 20 <= delay <= 20 * MOST_JITTER


@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        (45.0, 45.0),
        (300.0, 300.0),
        (0.0, 10.0),
        (3.0, 10.0),
        (5000.0, LONGEST_OBEYED_S),
        (float("inf"), LONGEST_OBEYED_S),
    ],
)
@pytest.mark.parametrize("kind", [RateLimited, GatewayUnavailable])
def test_retry_after_is_obeyed_between_the_interval_and_its_limit(
    kind: type[RateLimited | GatewayUnavailable], asked: float, delay: float
) -> None:
    got = see(watch(), kind("slow", retry_after=asked)).delay

    assert delay <= got <= delay * MOST_JITTER


def test_the_interval_doubles_while_polls_are_refused() -> None:
    delays = [decision.delay for decision in see_all(watch(), [REFUSAL, LOST] * 10)]

    for delay, expected in zip(delays, [20, 40, 80, 160, 320, *[LONGEST_REFUSED_S] * 15], strict=True):
        assert expected <= delay <= expected * MOST_JITTER


def test_delays_vary_so_that_tasks_submitted_together_are_not_polled_together() -> None:
    assert len({see(watch(), OUTAGE).delay for _ in range(20)}) > 1


@pytest.mark.parametrize("seen", [OUTAGE, REFUSAL, RateLimited("slow", retry_after=500)], ids=str)
def test_no_delay_reaches_beyond_the_deadline(seen: WanTask | WanError) -> None:
    decision = see(watch(timeout=100), seen, after=97)

    assert decision.verdict is Verdict.WAIT
    assert decision.delay == pytest.approx(3)


def test_the_deadline_does_not_depend_on_when_the_watch_was_made() -> None:
    """A trigger may move to another triggerer."""
    moved = VideoWatch(TASK_ID, started=START, deadline=START + 100, poll_interval=10)

    assert see(moved, RUNNING, after=99).verdict is Verdict.WAIT
    assert see(moved, RUNNING, after=100).verdict is Verdict.FAILED


SIGHTS = st.one_of(
    st.sampled_from([QUEUED, RUNNING, DONE_WITHOUT_FILE, LOST, ODD, OUTAGE, REFUSAL, DONE, FAILED, CANCELED]),
    st.builds(
        lambda kind, asked: kind("slow", retry_after=asked),
        st.sampled_from([RateLimited, GatewayUnavailable]),
        st.one_of(st.none(), st.floats(0, allow_nan=False)),
    ),
)
STEPS = st.floats(-100, 5000)


@given(
    sights=st.lists(st.tuples(SIGHTS, STEPS), max_size=40),
    timeout=st.floats(0, 20_000),
    poll_interval=st.floats(0.01, 1000),
)
def test_a_wait_always_waits_within_its_deadline_or_ends_with_a_reason(
    sights: list[tuple[WanTask | WanError, float]], timeout: float, poll_interval: float
) -> None:
    watched = watch(timeout=timeout, poll_interval=poll_interval)
    now = START
    for seen, step in sights:
        now += step  # clocks are sometimes set back
        decision = watched.see_error(seen, now) if isinstance(seen, WanError) else watched.see_task(seen, now)

        if decision.verdict is Verdict.WAIT:
            assert now < watched.deadline
            assert decision.delay >= 0
            assert now + decision.delay <= watched.deadline + 1e-3
            assert decision.error is None
        else:
            assert decision.delay == 0
            assert (decision.error is None) is (decision.verdict is Verdict.SUCCEEDED)
            assert isinstance(decision.error, VideoWaitTimeout) is (
                decision.error is not None and seen not in (FAILED, CANCELED)
            )
            return


@given(st.lists(st.sampled_from([QUEUED, RUNNING, ODD, OUTAGE, REFUSAL, LOST, DONE_WITHOUT_FILE]), max_size=60))
def test_nothing_but_the_end_of_the_task_ends_a_wait_before_its_deadline(sights: list[WanTask | WanError]) -> None:
    assert {decision.verdict for decision in see_all(watch(), sights)} <= {Verdict.WAIT}
