"""The one retry loop of this package: calls again after errors that may pass, with growing pauses."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import tenacity

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


def retrying(
    on: type[Exception] | tuple[type[Exception], ...],
    *,
    attempts: int | None = None,
    give_up: Callable[[], bool] = lambda: False,
    first_pause_s: float = 1.0,
    longest_pause_s: float = 30.0,
    longest_retry_after_s: float = 120.0,
) -> tenacity.Retrying:
    """Return a loop to call a function with: ``retrying(on=RateLimited, attempts=5)(client.create, request)``.

    The last error is raised as it is. Each pause is twice the one before, plus up to 1 s so that tasks that failed
    together do not return together; an error with a ``retry_after`` sets the pause itself.

    :param on: the errors after which the function is called again.
    :param attempts: how many calls are made at most; None for no limit.
    :param give_up: asked after each failed call; True ends the loop.
    :param first_pause_s: pause after the first failed call, s.
    :param longest_pause_s: longest pause that the loop chooses itself, s.
    :param longest_retry_after_s: longest pause that a host may ask for, s. Longer troubles are for Airflow's retries.
    """
    backoff = tenacity.wait_exponential(multiplier=first_pause_s, max=longest_pause_s) + tenacity.wait_random(0, 1)

    def pause(state: tenacity.RetryCallState) -> float:
        asked_s = getattr(_error(state), "retry_after", None)
        return backoff(state) if asked_s is None else min(float(asked_s), longest_retry_after_s)

    def report(state: tenacity.RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        limit = f" of {attempts}" if attempts else ""
        log.warning("%s Attempt %d%s follows in %.1f s.", _error(state), state.attempt_number + 1, limit, seconds)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(on),
        stop=lambda state: give_up() or (attempts is not None and state.attempt_number >= attempts),
        wait=pause,
        before_sleep=report,
        reraise=True,
    )


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
