"""The loops that repeat a call: after errors that may pass, while a host is too busy, or until a result is there."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

import tenacity

from airflow_wan.net.host_answers import LONGEST_OBEYED_S

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

T = TypeVar("T")


def retrying(
    on: type[Exception] | tuple[type[Exception], ...],
    *,
    unless: Callable[[BaseException], bool] = lambda _: False,
    attempts: int | None = None,
    give_up: Callable[[], bool] = lambda: False,
    first_pause_s: float = 1.0,
    longest_pause_s: float = 30.0,
    longest_retry_after_s: float = 120.0,
) -> tenacity.Retrying:
    """Return a loop to call a function with: ``retrying(on=RateLimited, attempts=5)(client.create, request)``.

    The loop raises the last error unchanged. Each pause is twice as long as the one before; an error with a
    ``retry_after`` sets the pause instead. Up to 1 s is added to every pause, so that tasks that failed together do not
    retry together.

    :param on: the errors after which the function is called again.
    :param unless: tells of such an error whether it ends the loop all the same.
    :param attempts: maximum number of calls; None for no limit.
    :param give_up: called after each failed call; True ends the loop.
    :param first_pause_s: pause after the first failed call, in seconds.
    :param longest_pause_s: longest pause that the loop chooses itself, in seconds.
    :param longest_retry_after_s: longest pause that a host may ask for, in seconds. If a host needs more time than
        that, Airflow's own retries serve better.
    """
    backoff = tenacity.wait_exponential(multiplier=first_pause_s, max=longest_pause_s)
    jitter = tenacity.wait_random(0, 1)

    def pause_s(state: tenacity.RetryCallState) -> float:
        asked_s = getattr(_error(state), "retry_after", None)
        return jitter(state) + (backoff(state) if asked_s is None else min(float(asked_s), longest_retry_after_s))

    def log_retry(state: tenacity.RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        limit = f" of {attempts}" if attempts else ""
        log.warning("%s Attempt %d%s follows in %.1f s.", _error(state), state.attempt_number + 1, limit, seconds)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, on) and not unless(error)),
        stop=lambda state: give_up() or (attempts is not None and state.attempt_number >= attempts),
        wait=pause_s,
        before_sleep=log_retry,
        reraise=True,
    )


def outlasting(
    busy: Callable[[BaseException], bool],
    *,
    until: float,
    tell: Callable[[BaseException, float], None],
    first_pause_s: float = 1.0,
    longest_pause_s: float = 60.0,
) -> tenacity.Retrying:
    """Return a loop that repeats a call as long as a host says that it is too busy, until a moment.

    The loop raises the last error unchanged. A pause is a random part of a time that doubles with each call, so that
    many callers share what the host admits, however many they are. An error with a ``retry_after`` sets the pause
    instead, and up to 1 s is added to it; if the moment comes before the host wants to be asked again, the loop ends at
    once.

    :param busy: tells of an error whether the function is called again.
    :param until: when no further call is made, as a reading of `time.monotonic`.
    :param tell: called before each pause, with the error and the length of the pause in seconds.
    :param first_pause_s: the longest first pause, in seconds.
    :param longest_pause_s: the longest of all pauses that the loop chooses itself, in seconds.
    """
    full_jitter = tenacity.wait_random_exponential(multiplier=first_pause_s, max=longest_pause_s)
    little = tenacity.wait_random(0, 1)

    def asked_s(state: tenacity.RetryCallState) -> float | None:
        asked = getattr(_error(state), "retry_after", None)
        return None if asked is None else min(float(asked), LONGEST_OBEYED_S)

    def pause_s(state: tenacity.RetryCallState) -> float:
        asked = asked_s(state)
        chosen = full_jitter(state) if asked is None else asked + little(state)
        return max(0.0, min(chosen, until - time.monotonic()))

    def tell_error(state: tenacity.RetryCallState) -> None:
        if (error := _error(state)) is not None:
            tell(error, state.upcoming_sleep)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(busy),
        stop=lambda state: time.monotonic() + (asked_s(state) or 0.0) >= until,
        wait=pause_s,
        before_sleep=tell_error,
        reraise=True,
    )


def repeat_until(
    done: Callable[[T], bool],
    function: Callable[[], T],
    *,
    despite: type[Exception],
    pause_s: float | Callable[[], float],
    longest_s: float,
) -> T:
    """Call a function until its result is the one that is waited for, or the time is over.

    When the time is over, the last result is returned, or the last error raised.

    :param done: tells whether a result is the one that is waited for.
    :param function: the function to call.
    :param despite: the errors after which the function is called again, too.
    :param pause_s: pause between two calls, in seconds, or what tells it after each call.
    :param longest_s: seconds after which no further call is made.
    """
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda result: not done(result)) | tenacity.retry_if_exception_type(despite),
        stop=tenacity.stop_after_delay(longest_s),
        wait=lambda _: pause_s() if callable(pause_s) else pause_s,
        retry_error_callback=_last_result,
    )
    return attempts(function)


def _last_result(state: tenacity.RetryCallState) -> Any:
    return state.outcome.result() if state.outcome else None


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
