"""What the schedule promises, in simulations of thousands of tasks, beside a fixed interval of 10 s for the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from wait_simulation import WAN27, WAN30, Job, jobs, minutes, published, simulate, two_humped

from airflow_wan.waiting.durations import VideoKind
from airflow_wan.waiting.schedule import LONGEST_UNREAD_S, ReadSchedule

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from wait_simulation import Outcome

SEEDS = range(6)


@dataclass(frozen=True, slots=True)
class Mean:
    """Means over simulations."""

    reads: float
    lag_s: float
    p95_lag_s: float


def mean_of(outcomes: Iterable[Outcome]) -> Mean:
    of = list(outcomes)
    return Mean(
        sum(one.reads_a_video for one in of) / len(of),
        sum(one.mean_lag_s for one in of) / len(of),
        sum(one.p95_lag_s for one in of) / len(of),
    )


@pytest.mark.parametrize("per_s", [5.0, 0.1], ids=["all at once", "one every 10 s"])
def test_a_hundred_waits_take_four_reads_a_video_at_five_seconds_lag(per_s: float) -> None:
    ours = mean_of(simulate(jobs(100, published, seed=seed, per_s=per_s)) for seed in SEEDS)

    assert ours.reads <= 4
    assert ours.lag_s <= 5
    assert ours.p95_lag_s <= 11


@pytest.mark.parametrize(
    ("takes", "kind"),
    [(published, WAN27), (two_humped, WAN27), (minutes, WAN30)],
    ids=["published", "humps", "minutes"],
)
def test_it_takes_a_third_of_the_reads_of_a_fixed_interval_at_no_more_lag(
    takes: Callable[[random.Random], float], kind: VideoKind
) -> None:
    tasks = [jobs(100, takes, seed=seed) for seed in SEEDS]

    ours = mean_of(simulate(some, kind=kind) for some in tasks)
    fixed = mean_of(simulate(some, kind=kind, poll_interval=10) for some in tasks)

    assert ours.reads <= fixed.reads / 3
    assert ours.lag_s <= fixed.lag_s


@pytest.mark.parametrize("others_every", [0, 4, 1], ids=["alone", "one in five of another", "half of another"])
def test_tasks_in_a_queue_are_hardly_asked_and_noticed_as_soon(others_every: int) -> None:
    tasks = jobs(200, published, seed=1, slots=5, others_every=others_every, gap_s=2)

    ours = simulate(tasks)

    # A fixed interval of 10 s takes more than 200 reads a video: a wait lasts 40 minutes on average, and at most 80.
    assert ours.reads_a_video <= (7 if others_every == 1 else 5.8)
    assert ours.mean_lag_s <= 5.6
    assert ours.p95_lag_s <= 13


@pytest.mark.parametrize("ahead_s", [-7200.0, -300.0, 300.0, 28_800.0])
def test_a_gateway_whose_clock_is_wrong_changes_little(ahead_s: float) -> None:
    alike = simulate(jobs(200, published, seed=1, per_s=0.1), ahead_s=ahead_s)
    queued = simulate(jobs(100, published, seed=1, slots=5), ahead_s=ahead_s)

    assert alike.reads_a_video <= 4.5
    assert alike.mean_lag_s <= 6
    assert queued.reads_a_video <= 7
    assert queued.mean_lag_s <= 9


def test_a_queue_is_followed_at_a_gateway_that_tells_no_times() -> None:
    ours = simulate(jobs(200, published, seed=1, slots=5), tells_times=False)

    assert ours.reads_a_video <= 5
    assert ours.mean_lag_s <= 8


def test_a_thousand_waits_that_end_together_are_noticed_within_half_a_minute_by_single_reads() -> None:
    ours = simulate(jobs(1000, published, seed=1, per_s=1e9), reads_per_s=16)

    assert ours.reads_a_video <= 1.6
    assert ours.mean_lag_s <= 31
    assert ours.p95_lag_s <= 62


def test_a_wait_alone_in_its_process_is_read_soon_and_then_seldom() -> None:
    outcomes = [simulate(jobs(1, published, seed=seed)) for seed in range(200)]
    alone = mean_of(outcomes)

    # One of the reads is the early one.
    assert alone.reads <= 4.7
    assert alone.lag_s <= 5


def test_an_unknown_model_is_learnt_from_its_first_videos() -> None:
    schedule, unknown = ReadSchedule(), VideoKind("a-model-of-2030")
    simulate(jobs(50, minutes, seed=1), schedule, kind=unknown)
    later = [Job(job.submitted + 3000, job.started + 3000, job.ended + 3000) for job in jobs(100, minutes, seed=2)]

    ours = simulate(later, schedule, kind=unknown)

    # A fixed interval of 10 s takes 72 reads at 5 s lag.
    assert ours.reads_a_video <= 24
    assert ours.mean_lag_s <= 8


@pytest.mark.parametrize("ended_after_s", [0.0, 0.5, 2.0])
def test_videos_that_fail_or_end_at_once_are_soon_noticed_at_once(ended_after_s: float) -> None:
    tasks = [Job(float(at), float(at), at + ended_after_s) for at in range(0, 3000, 30)]

    ours = simulate(tasks)

    assert ours.lags_s[0] <= 8
    assert sum(ours.lags_s[-20:]) / 20 <= 5
    assert ours.reads_a_video <= 1.5


def test_no_wait_is_left_unread_for_longer_than_promised() -> None:
    ours = simulate(jobs(200, published, seed=3, slots=5), reads_per_s=1.0)

    # Two hundred reads at one a second come first at most.
    assert ours.longest_unread_s <= LONGEST_UNREAD_S + 200


def test_a_queue_that_stands_still_does_not_eat_the_reads() -> None:
    stuck = [Job(number / 5, 10_000.0, 10_100.0) for number in range(200)]

    ours = simulate(stuck)

    assert ours.reads_a_video <= 10_000 / LONGEST_UNREAD_S + 4
