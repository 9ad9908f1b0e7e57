"""What a command that fails says and returns: one exit code for each kind of error, and what to do at a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_wan import exceptions as errors
from airflow_wan.redaction import shareable

if TYPE_CHECKING:
    from collections.abc import Mapping

UNEXPECTED = 1
"""The exit code of an error that no other code is for."""

EXIT_CODES: Mapping[type[errors.WanError], int] = {
    errors.WanConnectionError: 3,
    errors.AuthenticationFailed: 3,
    errors.InvalidVideoRequest: 4,
    errors.RequestRejected: 4,
    errors.CostLimitExceeded: 5,
    errors.BalanceExhausted: 5,
    errors.DestinationError: 6,
    errors.LedgerUnreadable: 7,
    errors.RequestChanged: 7,
    errors.PurchaseUncertain: 8,
    errors.SubmitAmbiguous: 8,
    errors.GatewayUnavailable: 9,
    errors.RateLimited: 9,
    errors.SubmitNotSent: 9,
    errors.VideoTaskFailed: 10,
    errors.VideoTaskLost: 11,
    errors.VideoWaitTimeout: 12,
    errors.VideoDownloadFailed: 13,
    errors.VideoRejected: 14,
}
"""The exit code of each kind of error. 2 is a command line that cannot be understood; 128 + the number of a signal, a
command that it has stopped."""

_ADVICE: Mapping[type[errors.WanError], str] = {
    errors.AuthenticationFailed: (
        "Check the key: it must belong to this host and region (DashScope keys are regional), and an APIYI token needs "
        "the group 'Wan&HappyHorse' with pay-as-you-go billing."
    ),
    errors.BalanceExhausted: "Top up the account at the gateway, then run the command again.",
    errors.RateLimited: "Nothing was accepted; run the command again later.",
    errors.SubmitAmbiguous: (
        "The video may be in the making, and may be billed. Run the same command again: it sends no second create "
        "request, but looks for the Wan task in the gateway's list if there is one, or says what to do."
    ),
    errors.VideoTaskLost: "Check that this key submitted the task; a gateway keeps a task for 24 h only.",
    errors.VideoWaitTimeout: "The same command continues the wait, until 24 h after the submit.",
    errors.VideoDownloadFailed: (
        "The video is paid for: the same command downloads it again, until 24 h after the submit."
    ),
    errors.VideoRejected: (
        "The video is paid for: the same command downloads it again, and never generates a new one. With --acceptance "
        "warn, it brings the video home although it differs from the request."
    ),
}
"""What to do at a prompt, for errors whose own advice speaks of Airflow."""

_FACTS = ("code", "request_id", "wan_task_id", "http_status", "kept_at")

_BILLED_WORDS = {True: "billed", False: "not billed", None: "perhaps billed"}


class Stopped(Exception):  # noqa: N818 - named for what happened, as the errors of the package are
    """A signal has stopped the command.

    :param message: what was bought so far, and what goes on.
    :param advice: how to get it.
    :param wan_task_id: the Wan task that goes on, if there is one and its id is known.
    :param billed: whether it costs money: True, False, or None for "perhaps".
    :param signal: the number of the signal.
    """

    def __init__(
        self, message: str, *, advice: str = "", wan_task_id: str | None = None, billed: bool | None, signal: int
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.wan_task_id = wan_task_id
        self.billed = billed
        self.signal = signal


def exit_code(error: errors.WanError | Stopped) -> int:
    """Return the exit code of a command that an error has ended."""
    if isinstance(error, Stopped):
        return 128 + error.signal
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), UNEXPECTED)


def advice_on(error: errors.WanError | Stopped) -> str:
    """Return what to do about an error."""
    if isinstance(error, errors.WanError) and error.advice == type(error).advice:
        return _ADVICE.get(type(error), error.advice)
    return error.advice


def in_words(error: errors.WanError | Stopped) -> str:
    """Return what to tell a person about an error."""
    if isinstance(error, Stopped):
        return "\n".join(filter(None, (error.message, error.advice)))
    ids = {"wan task": error.wan_task_id, "request id": error.request_id, "HTTP status": error.http_status}
    known = ", ".join(f"{name} {value}" for name, value in ids.items() if value is not None)
    words = (error.summary, advice_on(error), f"({known})" if known else "")
    return f"{type(error).__name__} ({_BILLED_WORDS[error.billed]}): {' '.join(filter(None, words))}"


def as_json(error: errors.WanError | Stopped) -> dict[str, Any]:
    """Return what to tell a script about an error."""
    told = {
        "kind": type(error).__name__,
        "message": error.message,
        "advice": advice_on(error),
        "billed": error.billed,
        "exit_code": exit_code(error),
        **{
            name: getattr(error, name, None) for name in ("code", "request_id", "wan_task_id", "http_status", "kept_at")
        },
    }
    return {"error": shareable(told)}
