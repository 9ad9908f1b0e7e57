"""How many calls of an account are let through, and what a 429 does to the rate."""

from __future__ import annotations

import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.api.gateways import GatewayName
from airflow_wan.net.host_answers import LONGEST_OBEYED_S
from airflow_wan.waiting.limits import DEFAULT_LIMITS, RECOVERY_S, CallRate, Limits


def calls_until(pace: CallRate, end: float, now: float = 0.0) -> list[float]:
    """Return when calls are made by someone who always has one to make."""
    made = []
    while (now := max(now, pace.ready_at())) < end:
        pace.take(now)
        made.append(now)
    return made


@given(per_second=st.floats(0.1, 50), idle=st.lists(st.floats(0, 5), max_size=30))
def test_no_second_has_more_than_its_calls_and_one(per_second: float, idle: list[float]) -> None:
    pace, now, made = CallRate(per_second), 0.0, []
    for seconds in idle:
        made += calls_until(pace, now + 1, now)
        now = (made[-1] if made else now) + seconds

    for number, begin in enumerate(made):
        within = bisect.bisect_left(made, begin + 1 - 1e-6) - number
        assert within <= per_second + 2


def test_all_calls_are_used() -> None:
    assert len(calls_until(CallRate(16), 10)) == pytest.approx(160, abs=2)


def test_a_429_pauses_all_calls_for_a_second_and_as_long_as_the_gateway_says() -> None:
    pace = CallRate(16)

    pace.slow_down(100, None)
    assert pace.ready_at() == 101
    pace.slow_down(100.5, 30)
    assert pace.ready_at() == 130.5
    pace.slow_down(101, 1e9)
    assert pace.ready_at() == 101 + LONGEST_OBEYED_S
    pace.slow_down(102, float("nan"))
    assert pace.ready_at() == 101 + LONGEST_OBEYED_S


def test_the_rate_is_halved_and_recovers_gradually() -> None:
    pace = CallRate(16)
    pace.slow_down(0, None)

    shares = [pace.share(now) for now in (0, 1, 1 + RECOVERY_S / 4, 1 + RECOVERY_S)]

    assert shares == [0.5, 0.5, 0.75, 1.0]
    assert len(calls_until(pace, 6)) == pytest.approx(5 * 16 * 0.55, abs=5)


def test_answers_that_come_together_tell_the_same_once() -> None:
    pace = CallRate(16)

    assert [pace.slow_down(now, None) for now in (0, 0.1, 0.2)] == [True, False, False]
    assert pace.share(0.2) == 0.5
    assert pace.slow_down(2, None) is False  # it is slow already
    assert pace.slow_down(200, None) is True


def test_a_gateway_that_only_throttles_is_still_asked() -> None:
    pace, now = CallRate(16), 0.0
    for _ in range(100):
        now = pace.ready_at() if pace.ready_at() > 0 else 0.0
        pace.take(now)
        pace.slow_down(now, None)

    assert calls_until(pace, now + 60, now)


def test_one_of_several_processes_takes_its_part() -> None:
    assert Limits(16, 4).shared(0.25) == Limits(4, 1)


def test_the_defaults_keep_a_margin_to_what_the_gateways_allow() -> None:
    dashscope, apiyi = DEFAULT_LIMITS[GatewayName.DASHSCOPE], DEFAULT_LIMITS[GatewayName.APIYI]

    assert dashscope.reads_per_second + 1 < 20
    assert dashscope.lists_per_second + 1 < 20
    assert apiyi.reads_per_second < dashscope.reads_per_second
