from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.exceptions import GatewayUnavailable, RateLimited, SubmitNotSent
from airflow_wan.net.retrying import repeat_until, retrying

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between the calls, in seconds; nothing sleeps."""
    made: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=made.append))
    return made


def fails(*errors: Exception) -> Callable[[], str]:
    """A function that raises these errors, one a call, and then returns."""
    left = list(errors)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


def test_a_call_is_repeated_until_it_succeeds(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    call = fails(SubmitNotSent("No route."), SubmitNotSent("No route."))

    assert retrying(SubmitNotSent, attempts=3)(call) == "done"
    assert len(pauses) == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "No route." in caplog.text
    assert "Attempt 3 of 3 follows in" in caplog.text


def test_the_last_error_is_raised_as_it_is(pauses: list[float]) -> None:
    last = SubmitNotSent("The second.")

    with pytest.raises(SubmitNotSent) as raised:
        retrying(SubmitNotSent, attempts=2)(fails(SubmitNotSent("The first."), last))

    assert raised.value is last
    assert len(pauses) == 1


def test_other_errors_are_not_repeated(pauses: list[float]) -> None:
    with pytest.raises(ValueError, match="other"):
        retrying((SubmitNotSent, RateLimited))(fails(ValueError("other")))

    assert pauses == []


def test_the_caller_can_end_the_loop(pauses: list[float]) -> None:
    answers = iter([False, True])

    with pytest.raises(SubmitNotSent):
        retrying(SubmitNotSent, give_up=lambda: next(answers))(fails(*[SubmitNotSent("No route.")] * 5))

    assert len(pauses) == 1


def test_pauses_double_up_to_the_longest(pauses: list[float]) -> None:
    retrying(SubmitNotSent, first_pause_s=2.0, longest_pause_s=10.0)(fails(*[SubmitNotSent("No route.")] * 4))

    assert [least <= pause <= least + 1 for least, pause in zip([2, 4, 8, 10], pauses, strict=True)] == [True] * 4


@pytest.mark.parametrize(("asked_s", "pause_s"), [(0.0, 0), (20.0, 20), (1e9, 120), (float("inf"), 120)])
def test_a_host_may_ask_for_a_pause_within_a_bound(asked_s: float, pause_s: float, pauses: list[float]) -> None:
    retrying(RateLimited)(fails(RateLimited("Slow down.", retry_after=asked_s)))

    (pause,) = pauses
    assert pause_s <= pause <= pause_s + 1


def test_a_call_is_repeated_until_its_result_is_there_despite_errors(pauses: list[float]) -> None:
    results: list[Any] = [1, GatewayUnavailable("away"), 2, 3, 4]

    def call() -> int:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return int(result)

    assert repeat_until(lambda result: result >= 3, call, despite=GatewayUnavailable, pause_s=7, longest_s=60) == 3
    assert pauses == [7, 7, 7]


def test_after_its_time_a_repeated_call_gives_its_last_result_or_error(pauses: list[float]) -> None:
    def fail() -> int:
        raise GatewayUnavailable("away")

    assert repeat_until(lambda _: False, lambda: 1, despite=GatewayUnavailable, pause_s=7, longest_s=0) == 1
    with pytest.raises(GatewayUnavailable):
        repeat_until(lambda _: False, fail, despite=GatewayUnavailable, pause_s=7, longest_s=0)
    assert pauses == []
