"""Every way a Wan job can go wrong, and the one reader that tells from a failed answer which it was.

WanError
  InvalidVideoRequest      found before sending; nothing spent
  SubmitNotSent            provably never reached the gateway: safe to send again
  SubmitAmbiguous          may have been accepted: never sent again by itself
  RateLimited              throttled; nothing was accepted
  GatewayUnavailable       a read that failed for now
  AuthenticationFailed     key, region, workspace or channel group
  BalanceExhausted         not throttling, although the gateway may answer 429
  RequestRejected          parameters, media or moderation, at create
  VideoTaskFailed          the task ended failed or canceled
  VideoTaskLost            unknown, expired, or another account's
  VideoWaitTimeout         our deadline; the task may still finish and bill
  VideoDownloadFailed      the task succeeded, the file did not arrive
  VideoRejected            the file arrived, and is not what was asked for

The gateways disagree about HTTP status codes (a moderation refusal is a 403 and an empty balance a 429 at APIYI,
a missing image is its 500), so an error is classified by its code first and by its status only when there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_wan.host_answers import retry_after

MAX_MESSAGE_CHARS = 1_000
"""Longer gateway messages (an HTML page from a proxy, say) are cut: they end in logs and in the database."""

MAX_CODE_CHARS = 100
"""Likewise for codes, the longest documented of which has 31, and for request ids, which are UUIDs."""


class WanError(Exception):
    """Base of all errors of this package.

    :param message: what happened, in the gateway's words where it said any; free of keys and signed URLs.
    :param code: the gateway's error code (``InvalidParameter``, ``Throttling.RateQuota``…), where known.
    :param request_id: the gateway's id of the request, for its support and its logs, where known.
    :param wan_task_id: the id of the Wan task concerned, where known.
    :param http_status: the HTTP status of the answer, where there was one.
    :param retry_after: how long the gateway asked to wait, in s, if it said so.
    """

    advice: ClassVar[str] = ""
    """One sentence on what to do next."""

    retry_can_help: bool = True
    """Whether doing the same again later may succeed; operators turn the rest into ``AirflowFailException``."""

    longest_message: ClassVar[int] = MAX_MESSAGE_CHARS
    """Characters after which a message is cut."""

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
        # Cut before and after: a gateway's text may be of any length, and looking for URLs in it takes its time.
        self.message = redact(message[: 2 * self.longest_message])[: self.longest_message]
        self.code = redact(code)[:MAX_CODE_CHARS] if code else None
        self.request_id = request_id
        self.wan_task_id = wan_task_id
        self.http_status = http_status
        self.retry_after = retry_after
        super().__init__(self.message)

    def __str__(self) -> str:
        """The whole story on one line: code, message, what to do next, and the ids a support desk asks for."""
        facts = {
            "wan task": self.wan_task_id,
            "request id": self.request_id,
            "HTTP status": self.http_status,
        }
        known = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
        says = f"[{self.code}] {self.message}" if self.code else self.message
        return " ".join(part for part in (says, self.advice, f"({known})" if known else "") if part)


class InvalidVideoRequest(WanError):
    """The request breaks a rule of the API; nothing was sent and nothing spent.

    :param problems: one sentence for each thing wrong: the field, its value, and what is allowed.
    """

    advice = "Nothing was sent."
    retry_can_help = False
    longest_message = 20_000  # our own words: every problem is told

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("The video request is not valid: " + " ".join(problems))


class SubmitNotSent(WanError):
    """The create request provably never reached the gateway (name lookup, connection or TLS failed)."""

    advice = "Nothing was accepted or billed; sending again is safe."


class SubmitAmbiguous(WanError):
    """The gateway may or may not have accepted, and may bill, the create request: its answer never arrived."""

    advice = "The job may be running, and may be billed; it is not sent again by itself."


class RateLimited(WanError):
    """The gateway throttled the request and accepted nothing."""

    advice = "Nothing was accepted; wait and try again, or lower the number of jobs at a time (a pool)."


class GatewayUnavailable(WanError):
    """A read failed for now: network trouble, a 5xx, an answer that cannot be read."""

    advice = "Reading costs nothing and may be repeated."


class AuthenticationFailed(WanError):
    """The gateway refuses the key: wrong key, wrong region or workspace, model not open to it."""

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
    """The gateway refused the create request: parameters, media or content; nothing was accepted."""

    advice = "Nothing was accepted; change the request."
    retry_can_help = False


class VideoTaskFailed(WanError):
    """The Wan task ended failed or canceled; the gateways do not bill such a task (documented by APIYI)."""

    advice = "A failed task is not billed; change the prompt or media if the code says so, then submit anew."

    def __init__(self, message: str, **known: Any) -> None:
        super().__init__(message, **known)
        code = (self.code or "").lower()
        self.retry_can_help = code in _FETCH_TROUBLE or not _matches(code, _REJECTED)


class VideoTaskLost(WanError):
    """The gateway does not know the task: expired after 24 h, never existed, or another account's."""

    advice = "Check that the connection is the one that submitted the task; tasks can be looked up for 24 h only."
    retry_can_help = False


class VideoWaitTimeout(WanError):
    """Our own deadline passed; the task may still finish, and bill."""

    advice = "A retry goes on waiting; or fetch it with WanVideoSensor and this wan task id within 24 h of its submit."


class VideoDownloadFailed(WanError):
    """The task succeeded and is billed, but its file did not arrive whole.

    :param link_refused: whether the file host refused the signed URL, as it does when the URL expired.
    """

    advice = "The video is paid for: a retry downloads it again, or WanVideoSensor with this wan task id within 24 h."

    def __init__(self, message: str, *, link_refused: bool = False, **known: Any) -> None:
        self.link_refused = link_refused
        super().__init__(message, **known)


class VideoRejected(WanError):
    """The file arrived whole and is billed, but it is not what was asked for, or cannot be played.

    :param problems: one sentence for each thing wrong: what was measured, and what was expected.
    :param kept_at: where the file was put for a person to look at, if it could be.
    """

    advice = "The video is paid for: a retry downloads it again and never generates it anew."

    def __init__(self, problems: Sequence[str], *, kept_at: str | None = None, **known: Any) -> None:
        self.problems = tuple(problems)
        self.kept_at = kept_at
        where = f" The file is kept at {kept_at}." if kept_at else ""
        super().__init__(f"The video is not accepted: {' '.join(problems)}{where}", **known)


# --------------------------------------------------------------------------------------------------------------------
# Reading a failed answer


@dataclass(frozen=True, slots=True)
class FailedAnswer:
    """What a failed HTTP answer says, whichever envelope it came in.

    :param http_status: the HTTP status of the answer.
    :param code: the error code, taken from a leading ``[Code]`` of the message if there is no field for it.
    :param message: the message, or a description of the answer when it had none.
    :param request_id: the gateway's id of the request, where known.
    :param retry_after: s to wait as the gateway asked, where it did.
    """

    http_status: int
    code: str | None
    message: str
    request_id: str | None = None
    retry_after: float | None = None


# Codes as the APIYI pages, Alibaba's error catalogue and the code of the `dashscope` SDK name them. They are compared
# in lower case, and a code matches a prefix at a dot: `InvalidApiKey`, `Throttling.RateQuota`.
_BALANCE = ("insufficient_user_quota", "arrearage", "prepaidbilloverdue", "postpaidbilloverdue")
_AUTHENTICATION = (
    "invalidapikey",
    "invalid_api_key",
    "not authorized",
    "accessdenied",
    "model.accessdenied",
    "workspace.accessdenied",
    "allocationquota.freetieronly",
    "commoditynotpurchased",
    "workspacenotfound",
    "model_not_found",
)
_THROTTLING = ("throttling", "rate_limit_exceeded", "too_many_requests")
_OUTAGE = (
    "internalerror",
    "systemerror",
    "modelservicefailed",
    "modelservingerror",
    "modelunavailable",
    "requesttimeout",
    "rewritefailed",
    "serviceunavailable",
    "gatewaytimeout",
    "bad_response_status_code",
    "do_request_failed",
    "fail_to_fetch_task",
)
_LOST = ("task_not_exist", "tasknotexist", "tasknotfound", "task_not_found")
_REJECTED = (
    "invalidparameter",
    "datainspectionfailed",
    "data_inspection_failed",
    "ipinfringementsuspect",
    "customroleblocked",
    "invalidurl",
    "invalidimageurl",
    "invalidfile",
    "invalidimage",
    "invalidimageresolution",
    "invalidimageformat",
    "badrequest",
    "unsupportedoperation",
    "modelnotfound",
    "model.notexist",
    "notfound",
    "build_request_failed",
    "parse_request_failed",
)

# What APIYI says as an error's `type` where there is no code: the request never left the gateway.
_TELLING_TYPES = ("build_request_failed", "parse_request_failed")

# Refusals of the input that a second task may not meet: the gateway could not fetch the media in time. Alibaba's
# catalogue, and APIYI's FAQ for InvalidImageUrl.
_FETCH_TROUBLE = (
    "invalidparameter.datainspection",
    "invalidurl.timeout",
    "badrequest.inputdownloadfailed",
    "invalidfile.downloadfailed",
    "invalidimageurl",
)

# Sentences for gateways that send no code: APIYI's "invalid token", "no available channel for this model", "not enough
# quota", and the seed page's missing image. Only what nothing else says: a refusal lets the next try buy, and a 5xx
# about an "invalid token" in JSON, or "cannot unmarshal", may be the gateway choking after the upstream accepted.
_SENTENCES: tuple[tuple[str, type[WanError]], ...] = (
    ("无效的令牌", AuthenticationFailed),
    ("无可用渠道", AuthenticationFailed),
    ("no available channel", AuthenticationFailed),
    ("preconsumedquota", BalanceExhausted),
    ("insufficient user quota", BalanceExhausted),
    ("余额不足", BalanceExhausted),
    ("额度不足", BalanceExhausted),
    ("必须提供图片", RequestRejected),
    ("does not support synchronous calls", RequestRejected),
)

_CODE_IN_BRACKETS = re.compile(r"^\[([A-Za-z0-9_.]+)\]\s*(.*)$", re.DOTALL)
_SIGNED_URL = re.compile(r"(https?://[^\s\"'<>?#]+)[?#][^\s\"'<>]*", re.IGNORECASE)
_API_KEY = re.compile(r"\bsk-[A-Za-z0-9_-]{4,}")


def redact(text: str) -> str:
    """Cut the query string, where signatures live, off every URL in the text, and hide what looks like an API key."""
    return _API_KEY.sub("sk-…", _SIGNED_URL.sub(r"\1?…", text))


def split_code(message: str) -> tuple[str | None, str]:
    """Take a leading ``[Code]``, as APIYI writes upstream codes, off a message."""
    found = _CODE_IN_BRACKETS.match(message)
    return (found[1], found[2]) if found else (None, message)


def read_failed_answer(http_status: int, headers: Mapping[str, str], payload: object, text: str) -> FailedAnswer:
    """Find code and message in any of the envelopes the gateways use.

    :param http_status: the HTTP status of the answer.
    :param headers: its headers, looked up in lower case.
    :param payload: its body as JSON, or None if it is not JSON.
    :param text: its body as text, for answers that are no JSON (a proxy's HTML page).
    """
    body: Mapping[str, Any] = payload if isinstance(payload, Mapping) else {}
    # OpenAI-like {"error": {...}} or {"error": "text"}, else DashScope's and new-api's top level {"code", "message"}.
    error = body.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, Mapping) else body
    message = error if isinstance(error, str) else text_of(inner.get("message"))
    message = message or text_of(inner.get("localized_message"))
    code_in_message, message = split_code(message or "")
    kind = text_of(inner.get("type"))
    code = text_of(inner.get("code")) or code_in_message or (kind if kind in _TELLING_TYPES else None)
    if not message:
        hint = f" (upstream status {inner['param']})" if text_of(inner.get("param")) else ""
        kind = kind or ("JSON" if body else headers.get("content-type", "unknown content"))
        message = f"HTTP {http_status} without a message, {kind}{hint}"
        if not body and text:
            message += f": {' '.join(text.split())[:200]}"
    return FailedAnswer(
        http_status=http_status,
        code=code,
        message=message,
        request_id=request_id_of(body, headers),
        retry_after=retry_after(headers.get("retry-after")),
    )


def request_id_of(body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """The id under which the gateway's support finds the request: APIYI's own first, then the upstream's."""
    own, upstream = headers.get("x-shellapi-request-id"), headers.get("x-request-id")
    found = own or text_of(body.get("request_id")) or upstream
    return found[:MAX_CODE_CHARS] if found else None


def classify_submit(answer: FailedAnswer) -> WanError:
    """Which error a failed create answer is. What does not prove a refusal counts as ambiguous."""
    kind = _kind(answer)
    if kind in (RateLimited, AuthenticationFailed, BalanceExhausted, RequestRejected):
        return kind(answer.message, **_known(answer))
    refused = 300 <= answer.http_status < 500  # noqa: PLR2004
    # 408 and 499 are a gateway giving up on a request that its upstream may have taken.
    if refused and answer.http_status not in (408, 499) and kind is not GatewayUnavailable:
        return RequestRejected(answer.message, **_known(answer))
    return SubmitAmbiguous(answer.message, **_known(answer))


def classify_read(answer: FailedAnswer, wan_task_id: str | None = None) -> WanError:
    """Which error a failed GET (or cancel) answer is. What is not a definite refusal may pass: ask again."""
    kind = _kind(answer)
    known = _known(answer) | {"wan_task_id": wan_task_id}
    if kind in (RateLimited, AuthenticationFailed, VideoTaskLost):
        return kind(answer.message, **known)
    if kind is None and answer.http_status in (401, 403):
        return AuthenticationFailed(answer.message, **known)
    if kind is RequestRejected and 400 <= answer.http_status < 500:  # noqa: PLR2004
        # The gateway understood the question and refuses to speak of this id. A bare 404 is not that: proxies say it.
        return VideoTaskLost(answer.message, **known)
    return GatewayUnavailable(answer.message, **known)


def _kind(answer: FailedAnswer) -> type[WanError] | None:
    """The class an answer's code, sentence or status stands for, or None if none of them says."""
    code = (answer.code or "").lower()
    families: tuple[tuple[tuple[str, ...], type[WanError]], ...] = (
        (_BALANCE, BalanceExhausted),
        (_THROTTLING, RateLimited),
        (_AUTHENTICATION, AuthenticationFailed),
        (_LOST, VideoTaskLost),
        (_OUTAGE, GatewayUnavailable),
        (_REJECTED, RequestRejected),
    )
    for codes, kind in families:
        if _matches(code, codes):
            return kind
    sentence = answer.message.lower()
    for words, kind in _SENTENCES:
        if words in sentence:
            return kind
    by_status: dict[int, type[WanError]] = {
        401: AuthenticationFailed,
        402: BalanceExhausted,
        429: RateLimited,
    }
    return by_status.get(answer.http_status)


def _matches(code: str, family: tuple[str, ...]) -> bool:
    return any(code == known or code.startswith(known + ".") for known in family)


def _known(answer: FailedAnswer) -> dict[str, Any]:
    return {
        "code": answer.code,
        "request_id": answer.request_id,
        "http_status": answer.http_status,
        "retry_after": answer.retry_after,
    }


def text_of(value: object) -> str | None:
    """A non-empty string, or a number as text; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (str, int, float)):
        return str(value).strip() or None
    return None


# --------------------------------------------------------------------------------------------------------------------
# Handing an error from the triggerer to the worker

_CARRIED = {
    kind.__name__: kind
    for kind in (AuthenticationFailed, GatewayUnavailable, VideoTaskFailed, VideoTaskLost, VideoWaitTimeout)
}


def error_to_dict(error: WanError) -> dict[str, Any]:
    """An error that ended a wait, as plain JSON; `error_from_dict` makes it whole again."""
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "code": error.code,
        "request_id": error.request_id,
        "wan_task_id": error.wan_task_id,
        "http_status": error.http_status,
    }


def error_from_dict(fields: Mapping[str, Any]) -> WanError:
    """The error that `error_to_dict` wrote down; a plain `WanError` where a newer version wrote an unknown kind."""
    kind = _CARRIED.get(str(fields.get("kind")), WanError)
    names = ("code", "request_id", "wan_task_id", "http_status")
    return kind(str(fields.get("message", "")), **{name: fields.get(name) for name in names})
