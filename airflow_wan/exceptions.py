"""Every error of this package, and the only module to import them from.

What a task, a hook or the client may raise::

    WanError
    ├── WanConnectionError       the Airflow connection is missing or cannot be used; nothing was sent
    ├── InvalidVideoRequest      the request breaks a rule of the API; nothing was sent
    ├── CostLimitExceeded        the video would cost more than max_cost, or its cost is not known; nothing was sent
    │   └── BudgetExceeded       the DAG run or the month would cost more than its budget; nothing was sent
    ├── DestinationError         the destination cannot be written to or read
    ├── LedgerUnreadable         Airflow could not say what this task bought before; nothing was sent
    ├── PurchaseUncertain        an earlier try may have bought the video; it is unknown
    ├── RequestChanged           the request is not the one that an earlier try bought
    ├── SubmitNotSent            the create request never reached the gateway: it is safe to send it again
    ├── SubmitAmbiguous          the create request may have been accepted: it is not sent again automatically
    ├── RateLimited              the gateway throttled the request; nothing was accepted
    ├── GatewayUnavailable       the gateway, or a store, cannot be read for now
    ├── AuthenticationFailed     wrong key, region, workspace or token group
    ├── BalanceExhausted         the account has no money left
    ├── RequestRejected          the gateway refused the parameters, the media or the content
    ├── VideoTaskFailed          the Wan task ended failed or canceled
    ├── VideoTaskLost            the gateway does not know the Wan task
    ├── VideoWaitTimeout         our deadline passed; the Wan task may still finish, and be billed
    ├── VideoDownloadFailed      the video was generated and is billed, but its file did not arrive
    └── VideoRejected            the file arrived and is billed, but is not what was ordered

What the package raises and catches itself, so that no task ends with it::

    WanError
    ├── TransferFailed           a file cannot be fetched from its host
    │   └── TransferInterrupted  an attempt to fetch it failed for now
    ├── NotAVideoError           a file is not a complete mp4
    ├── NotMediaError            a file is not an image, sound or video as it should be
    ├── MediaUnreadable          a file cannot be inspected from here, which says nothing about the file
    └── PosterError              no poster frame can be made
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_wan.redaction import redact_beginning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "AuthenticationFailed",
    "BalanceExhausted",
    "BudgetExceeded",
    "CostLimitExceeded",
    "DestinationError",
    "GatewayUnavailable",
    "InvalidVideoRequest",
    "LedgerUnreadable",
    "MediaUnreadable",
    "NotAVideoError",
    "NotMediaError",
    "PosterError",
    "PurchaseUncertain",
    "RateLimited",
    "RequestChanged",
    "RequestRejected",
    "SubmitAmbiguous",
    "SubmitNotSent",
    "TransferFailed",
    "TransferInterrupted",
    "VideoDownloadFailed",
    "VideoRejected",
    "VideoTaskFailed",
    "VideoTaskLost",
    "VideoWaitTimeout",
    "WanConnectionError",
    "WanError",
    "error_from_dict",
    "error_to_dict",
]

MAX_MESSAGE_CHARS = 1_000
"""Longest message, in characters. A longer one, such as a proxy's HTML page, is cut: it goes to logs and databases."""

MAX_CODE_CHARS = 100
"""Longest error code, in characters. The longest code in Alibaba's catalogue has 31."""

MAX_ID_CHARS = 200
"""Longest id of a Wan task, in characters. The gateways' ids have 36."""


class WanError(Exception):
    """Base class of all errors of this package.

    All texts are made clean: they may come from a gateway, a store or a file system, and go to logs and databases.

    :param message: what happened, in the gateway's words if it gave any. Keys and signatures of URLs are removed.
    :param code: the gateway's error code (``InvalidParameter``, ``Throttling.RateQuota`` …), if known.
    :param request_id: the gateway's id of the request, which its support needs, if known.
    :param wan_task_id: the id of the Wan task, if known.
    :param http_status: the HTTP status code of the answer, if there was an answer.
    :param retry_after: how long the gateway asked to wait, in seconds, if it did.
    """

    advice: str = ""
    """One sentence on what to do next."""

    retry_can_help: bool = True
    """Whether the same Airflow task may succeed later. If not, operators raise an error that is of this class and an
    ``AirflowFailException`` at once."""

    billed: bool | None = False
    """Whether the failed step costs money: True, False, or None for "perhaps"."""

    longest_message: ClassVar[int] = MAX_MESSAGE_CHARS
    """Longest message of this class, in characters."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        request_id: str | None = None,
        wan_task_id: str | None = None,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = redact_beginning(message, self.longest_message)
        self.code = redact_beginning(code, MAX_CODE_CHARS) if code else None
        self.request_id = redact_beginning(request_id, MAX_CODE_CHARS) if request_id else None
        self.wan_task_id = redact_beginning(wan_task_id, MAX_ID_CHARS) if wan_task_id else None
        self.http_status = http_status
        self.retry_after = retry_after
        super().__init__(self.message)

    @property
    def summary(self) -> str:
        """What happened, with the gateway's code, and without what to do."""
        return f"[{self.code}] {self.message}" if self.code else self.message

    def __str__(self) -> str:
        """Return one line with code, message, advice, and the ids that a gateway's support asks for."""
        facts = {
            "wan task": self.wan_task_id,
            "request id": self.request_id,
            "HTTP status": self.http_status,
        }
        known = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
        return " ".join(part for part in (self.summary, self.advice, f"({known})" if known else "") if part)


# --------------------------------------------------------------------------------------------------------------------
# Before anything is sent


class WanConnectionError(WanError):
    """The Airflow connection is missing or cannot be used; the message says how to set it."""


class InvalidVideoRequest(WanError):
    """The request breaks a rule of the API; nothing was sent and nothing was spent.

    :param problems: one sentence for each problem, with the field, its value, and what is allowed.
    """

    advice = "Nothing was sent."
    retry_can_help = False
    longest_message = 20_000  # no text of a gateway: every problem is shown

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("The video request is not valid: " + " ".join(problems))


class CostLimitExceeded(WanError):
    """The video would cost more than the task may spend, or its cost is not known."""

    advice = "Nothing was sent."
    retry_can_help = False


class BudgetExceeded(CostLimitExceeded):
    """With this video, a DAG run or a month would cost more than its budget.

    All amounts are in USD.

    :param scope: ``dag_run`` or ``month``: which budget it is.
    :param budget_usd: the budget, ``[wan] max_cost_per_dag_run`` or ``max_cost_per_month``.
    :param spent_usd: what the videos cost that were bought within it: settled where that is known, otherwise estimated.
    :param reserved_usd: what is reserved for videos that other tasks are about to buy.
    :param wanted_usd: the estimated cost of this video.
    :param retry_can_help: whether only reservations stand in the way, of tasks that may yet give them back.
    """

    def __init__(
        self,
        message: str,
        *,
        scope: str,
        budget_usd: float,
        spent_usd: float,
        reserved_usd: float,
        wanted_usd: float,
        retry_can_help: bool = False,
        **known: Any,
    ) -> None:
        self.scope = scope
        self.budget_usd = budget_usd
        self.spent_usd = spent_usd
        self.reserved_usd = reserved_usd
        self.wanted_usd = wanted_usd
        super().__init__(message, **known)
        self.retry_can_help = retry_can_help


class DestinationError(WanError):
    """The destination cannot be written to, or what is there cannot be read."""


class LedgerUnreadable(WanError):
    """The ledger could not be read or written, or is another try's by now. It may hold a purchase: nothing is sent.

    The same holds for the reservations of a budget.
    """


class PurchaseUncertain(WanError):
    """An earlier try may have bought the video, and nothing tells whether it did."""

    billed = None
    retry_can_help = False
    longest_message = 5_000  # it names the tasks that may be the one


class RequestChanged(WanError):
    """The request is not the one that an earlier try bought."""

    billed = True
    retry_can_help = False


# --------------------------------------------------------------------------------------------------------------------
# The gateway's answer, or that there was none


class SubmitNotSent(WanError):
    """The create request never reached the gateway: the name lookup, the connection or TLS failed."""

    advice = "Nothing was accepted or billed; it is safe to send it again."


class SubmitAmbiguous(WanError):
    """The gateway may have accepted the create request, and may bill it: no clear answer arrived."""

    advice = "The video may be in the making, and may be billed; the request is not sent again automatically."
    billed = None


class RateLimited(WanError):
    """The gateway throttled the request and accepted nothing."""

    advice = "Nothing was accepted; try again later, or run fewer tasks at a time (a pool)."


class GatewayUnavailable(WanError):
    """A read failed for now: network trouble, an HTTP 5xx, or an answer that cannot be read."""

    advice = "This request costs nothing and can be repeated."


class AuthenticationFailed(WanError):
    """The gateway refuses the key: wrong key, wrong region or workspace, or a model that the key may not use."""

    advice = (
        "Check the connection: the key must belong to this host and region (DashScope keys are regional), and an "
        "APIYI token needs the group 'Wan&HappyHorse' with pay-as-you-go billing."
    )
    retry_can_help = False


class BalanceExhausted(WanError):
    """The account has no money left, or overdue bills; nothing was accepted."""

    advice = "Top up the account at the gateway, then clear the task."
    retry_can_help = False


class RequestRejected(WanError):
    """The gateway refused the create request (parameters, media or content) and accepted nothing."""

    advice = "Nothing was accepted; change the request."
    retry_can_help = False


# --------------------------------------------------------------------------------------------------------------------
# A task that was accepted


class VideoTaskFailed(WanError):
    """The Wan task ended failed or canceled; the gateways do not bill such a task (documented by APIYI).

    :param retry_can_help: whether a new task may succeed: not if the content or the parameters were refused.
    """

    advice = (
        "A failed task is not billed. If the code says that the prompt or the media are the reason, change them. "
        "Then submit again."
    )

    def __init__(self, message: str, *, retry_can_help: bool = True, **known: Any) -> None:
        super().__init__(message, **known)
        self.retry_can_help = retry_can_help


class VideoTaskLost(WanError):
    """The gateway does not know the task: it is older than 24 h, never existed, or belongs to another account."""

    advice = "Check that this connection submitted the task; a gateway keeps a task for 24 h only."
    billed = None
    retry_can_help = False


class VideoWaitTimeout(WanError):
    """Our own deadline passed; the task may still finish, and be billed."""

    advice = "A retry continues the wait; WanVideoSensor with this wan task id can too, until 24 h after its submit."
    billed = None


class VideoDownloadFailed(WanError):
    """The task succeeded and is billed, but its file did not arrive whole, or could not be put at its place.

    :param link_refused: whether the file host refused the signed URL, as it does when the URL has expired.
    :param kept_at: where the whole file was kept, because another task's video is at its place. A retry cannot change
        that.
    :param kept_sha256: digest of that file, hexadecimal.
    """

    advice = (
        "The video is paid for: a retry downloads it again. WanVideoSensor can too, by this wan task id, within 24 h."
    )
    billed = True

    def __init__(
        self,
        message: str,
        *,
        link_refused: bool = False,
        kept_at: str | None = None,
        kept_sha256: str | None = None,
        **known: Any,
    ) -> None:
        self.link_refused = link_refused
        self.kept_at = kept_at
        self.kept_sha256 = kept_sha256
        super().__init__(message, **known)
        if kept_at is not None:
            self.retry_can_help = False
            self.advice = "The video is paid for, and kept there; a retry would change nothing."


class VideoRejected(WanError):
    """The file arrived whole and is billed, but it is not what was ordered, or cannot be played.

    :param problems: one sentence for each problem: what was measured, and what was expected.
    :param kept_at: where the file was kept so that a person can look at it, if it could be kept.
    :param kept_sha256: digest of that file, hexadecimal.
    """

    advice = "The video is paid for: a retry downloads it again and never generates a new one."
    billed = True

    def __init__(
        self, problems: Sequence[str], *, kept_at: str | None = None, kept_sha256: str | None = None, **known: Any
    ) -> None:
        self.problems = tuple(problems)
        self.kept_at = kept_at
        self.kept_sha256 = kept_sha256
        where = f" The file is kept at {kept_at}." if kept_at else ""
        super().__init__(f"The video is not accepted: {' '.join(problems)}{where}", **known)


# --------------------------------------------------------------------------------------------------------------------
# Caught inside the package


class TransferFailed(WanError):
    """A file cannot be fetched from its host. The message never holds the signed URL.

    :param link_refused: whether the host refused the URL, as it does when the URL has expired.
    """

    def __init__(self, message: str, *, link_refused: bool = False, **known: Any) -> None:
        self.link_refused = link_refused
        super().__init__(message, **known)


class TransferInterrupted(TransferFailed):
    """An attempt to fetch a file failed for now; another attempt may succeed."""


class NotAVideoError(WanError):
    """The file is not a complete mp4."""


class NotMediaError(WanError):
    """The file is not an image, sound or video as it should be, or is broken. The message completes "is not …"."""


class MediaUnreadable(WanError, OSError):
    """The file cannot be inspected from here, which says nothing about the file."""


class PosterError(WanError):
    """No poster frame can be made."""


# --------------------------------------------------------------------------------------------------------------------
# Handing an error from the triggerer to the worker

_CARRIED = {
    kind.__name__: kind
    for kind in (
        AuthenticationFailed,
        GatewayUnavailable,
        VideoTaskFailed,
        VideoTaskLost,
        VideoWaitTimeout,
        WanConnectionError,
    )
}


def error_to_dict(error: WanError) -> dict[str, Any]:
    """Return an error that ended a wait as a dict that can become JSON; `error_from_dict` reads it."""
    fields = {
        "kind": type(error).__name__,
        "message": error.message,
        "code": error.code,
        "request_id": error.request_id,
        "wan_task_id": error.wan_task_id,
        "http_status": error.http_status,
    }
    return fields | ({"retry_can_help": error.retry_can_help} if isinstance(error, VideoTaskFailed) else {})


def error_from_dict(fields: Mapping[str, Any]) -> WanError:
    """Return the error that `error_to_dict` wrote; a plain `WanError` if a newer version wrote an unknown class."""
    kind = _CARRIED.get(str(fields.get("kind")), WanError)
    names = ["code", "request_id", "wan_task_id"]
    known: dict[str, Any] = {name: None if fields.get(name) is None else str(fields[name]) for name in names}
    known["http_status"] = fields.get("http_status")
    if kind is VideoTaskFailed:
        known["retry_can_help"] = fields.get("retry_can_help", True)
    return kind(str(fields.get("message", "")), **known)
