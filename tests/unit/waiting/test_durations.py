from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.waiting.durations import LONGEST_S, MOST_KINDS, Durations, RunTimes, VideoKind

WAN27 = VideoKind("wan2.7-t2v", "720P", 5)
ages = st.floats(0, 2 * LONGEST_S)


def worth_s(times: RunTimes, seen_s: float, age_s: float) -> float:
    """What a read is worth, added up in small steps: the integral of the odds that the task has ended."""
    steps = 2000
    width = (age_s - seen_s) / steps
    ended = (times.share_ended(seen_s + (step + 0.5) * width, seen_s=seen_s) for step in range(steps))
    return sum(share / (1 - share) * width for share in ended)


def test_at_first_a_kind_is_expected_to_take_what_was_published() -> None:
    times = Durations().of(WAN27)

    assert times.median_s == pytest.approx(105, abs=3)
    assert times.quantile_s(0.05) == pytest.approx(83, abs=8)
    assert 150 < times.quantile_s(0.95) < 253 < times.quantile_s(0.995)


@pytest.mark.parametrize(
    ("model", "shortest_s", "longest_s"),
    [
        ("wan2.7-i2v", 70, 95),
        ("wan2.7-r2v-2026-06-12", 120, 140),
        ("wan2.7-videoedit", 95, 115),
        ("happyhorse-1.1-t2v", 105, 115),
        ("wan3.0-video-prime", 650, 800),
        ("a-model-of-2030", 60, 300),
        (None, 60, 300),
    ],
)
def test_each_model_has_what_its_page_says(model: str | None, shortest_s: float, longest_s: float) -> None:
    assert shortest_s <= Durations().of(VideoKind(model)).median_s <= longest_s


def test_longer_and_larger_videos_are_expected_to_take_longer() -> None:
    durations = Durations()
    kinds = [VideoKind("wan2.7-t2v", resolution, seconds) for resolution in ("720P", "1080P") for seconds in (5, 15)]

    medians = [durations.of(kind).median_s for kind in kinds]

    assert medians[0] < min(medians[1:3])
    assert max(medians[1:3]) < medians[3]


def test_what_is_seen_outweighs_what_was_published() -> None:
    draw = random.Random(1)
    times = Durations().of(WAN27)

    for _ in range(50):
        times.learn(draw.gauss(300, 15))

    assert times.median_s == pytest.approx(300, abs=15)
    assert times.quantile_s(0.2) > 250


def test_tasks_that_still_run_count_before_any_has_ended() -> None:
    times = Durations().of(WAN27)
    before = times.share_ended(150)

    for _ in range(50):
        times.still_running(0, 150)

    assert times.share_ended(150) < before / 5


def test_what_was_seen_long_ago_counts_less() -> None:
    times = Durations().of(WAN27)

    for _ in range(1000):
        times.learn(100)
    for _ in range(300):
        times.learn(400)

    assert times.median_s > 300


def test_a_single_outlier_changes_little() -> None:
    times = Durations().of(WAN27)
    for _ in range(20):
        times.learn(105)
    before = times.median_s

    times.learn(0.01)
    times.learn(LONGEST_S)

    assert times.median_s == pytest.approx(before, rel=0.05)


@pytest.mark.parametrize("rubbish", [math.nan, math.inf, -math.inf, -1.0, 1e300, LONGEST_S * 1.01])
def test_absurd_durations_teach_nothing(rubbish: float) -> None:
    times = Durations().of(WAN27)
    shares = [times.share_ended(age) for age in range(0, 1000, 10)]

    times.learn(rubbish)
    times.still_running(0, rubbish)
    times.still_running(rubbish, 100)

    assert [times.share_ended(age) for age in range(0, 1000, 10)] == shares


def test_kinds_that_differ_in_spelling_only_are_one() -> None:
    durations = Durations()

    assert durations.of(VideoKind("m", "720p", 5.0)) is durations.of(VideoKind("m", "720P", 5))
    assert durations.of(VideoKind("m", "", math.nan)) is durations.of(VideoKind("m"))


def test_kinds_are_bounded_and_the_ones_in_use_stay() -> None:
    durations = Durations()
    durations.of(WAN27).learn(100)

    for number in range(10 * MOST_KINDS):
        durations.of(VideoKind(f"model-{number}"))
        durations.of(WAN27)

    assert durations.of(WAN27).videos == 1
    assert len(durations._kinds) == MOST_KINDS


@given(seen=ages, cost=st.floats(0.01, 100), runs=st.lists(st.floats(0, LONGEST_S), max_size=30))
def test_the_age_at_which_a_read_is_worth_its_cost_comes_later_and_grows_with_the_cost(
    seen: float, cost: float, runs: list[float]
) -> None:
    times = RunTimes(WAN27)
    for ran in runs:
        times.learn(ran)

    age, dearer = times.age_worth(seen, cost), times.age_worth(seen, 2 * cost)

    assert seen < age < dearer < math.inf


@pytest.mark.parametrize(("seen", "cost"), [*itertools.product((0, 42, 90, 150, 1000), (0.2, 1.5, 10))])
def test_at_that_age_the_read_is_worth_its_cost(seen: float, cost: float) -> None:
    times = RunTimes(WAN27)

    assert worth_s(times, seen, times.age_worth(seen, cost)) == pytest.approx(cost, rel=0.02)


@given(share=st.floats(0.001, 0.99), seen=st.floats(0, 3000))
def test_a_quantile_is_the_age_at_which_that_share_has_ended(share: float, seen: float) -> None:
    times = RunTimes(WAN27)

    age = times.quantile_s(share, seen_s=seen)

    assert times.share_ended(age, seen_s=seen) == pytest.approx(share, abs=0.001) or age >= LONGEST_S
