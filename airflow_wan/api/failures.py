"""Tells which error a failed answer of a gateway means.

The gateways do not use HTTP status codes alike: at APIYI a refusal by moderation is a 403, an empty balance a 429 and a
missing image a 500. So the code of an answer decides, then a sentence in it, and the status only if there is neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow_wan.api.answers import text_of
from airflow_wan.exceptions import (
    MAX_MESSAGE_CHARS,
    AuthenticationFailed,
    BalanceExhausted,
    GatewayUnavailable,
    RateLimited,
    RequestRejected,
    SubmitAmbiguous,
    VideoTaskLost,
    WanError,
)
from airflow_wan.net.host_answers import retry_after

if TYPE_CHECKING:
    from airflow_wan.api.answers import Answer

FREE_QUOTA_CODE = "allocationquota.freetieronly"
"""DashScope's code, in lower case, when a free quota is used up and the account is set to use nothing else."""

# Codes from the APIYI pages, Alibaba's error catalogue and the source of the `dashscope` SDK, in lower case. An entry
# also stands for the codes that go on after a dot: "throttling" for `Throttling.RateQuota`.
_BALANCE = (
    "insufficient_user_quota",
    "insufficient_quota",
    "pre_consume_token_quota_failed",
    "quota_not_enough",
    "local:quota_not_enough",
    "token_quota_exhausted",
    "arrearage",
    "prepaidbilloverdue",
    "postpaidbilloverdue",
    FREE_QUOTA_CODE,
)
_AUTHENTICATION = (
    "invalidapikey",
    "invalid_api_key",
    "not authorized",
    "accessdenied",
    "model.accessdenied",
    "workspace.accessdenied",
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
NO_SUCH_TASK_CODES = ("task_not_exist", "tasknotexist", "tasknotfound", "task_not_found")
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

# An error's `type` at APIYI that counts as its code where there is none: the request never left the gateway.
_TYPES_WITH_MEANING = ("build_request_failed", "parse_request_failed")

# Refusals of the input that a new task may not get: the gateway could not fetch the media in time. From Alibaba's error
# catalogue; InvalidImageUrl from APIYI's FAQ.
_MEDIA_NOT_FETCHED = (
    "invalidparameter.datainspection",
    "invalidurl.timeout",
    "badrequest.inputdownloadfailed",
    "invalidfile.downloadfailed",
    "invalidimageurl",
)

# The first codes that match decide.
_CLASS_BY_CODE: tuple[tuple[tuple[str, ...], type[WanError]], ...] = (
    (_BALANCE, BalanceExhausted),
    (_THROTTLING, RateLimited),
    (_AUTHENTICATION, AuthenticationFailed),
    (NO_SUCH_TASK_CODES, VideoTaskLost),
    (_OUTAGE, GatewayUnavailable),
    (_REJECTED, RequestRejected),
)

# For answers without a code: APIYI's "invalid token", "no available channel for this model" and "not enough quota", and
# the missing image of its wan2.7-i2v page. Only sentences that can mean nothing else: after a refusal the next try buys
# again. "Invalid token" in English, or "cannot unmarshal", may also be a gateway that failed to read the answer of an
# upstream which has accepted the task.
_CLASS_BY_SENTENCE: tuple[tuple[str, type[WanError]], ...] = (
    ("无效的令牌", AuthenticationFailed),
    ("无可用渠道", AuthenticationFailed),
    ("no available channel", AuthenticationFailed),
    ("preconsumedquota", BalanceExhausted),
    ("pre_consume_token_quota_failed", BalanceExhausted),
    ("quota_not_enough", BalanceExhausted),
    ("token quota is not enough", BalanceExhausted),
    ("user quota is not enough", BalanceExhausted),
    ("令牌额度已用尽", BalanceExhausted),
    ("insufficient user quota", BalanceExhausted),
    ("余额不足", BalanceExhausted),
    ("额度不足", BalanceExhausted),
    ("必须提供图片", RequestRejected),
    ("does not support synchronous calls", RequestRejected),
)

# Words of refusals for want of money, in English and Chinese: "allowance", "balance", "arrears", "top up".
_WORDS_ABOUT_MONEY = ("quota", "balance", "billing", "payment", "credit", "额度", "余额", "欠费", "充值")

_CLASS_BY_STATUS: dict[int, type[WanError]] = {
    401: AuthenticationFailed,
    402: BalanceExhausted,
    429: RateLimited,
}

# The statuses by which a server says that it did not do what was asked (RFC 9110, 6585, 7725). Not among them: 408 and
# 499, by which a gateway says that it stopped waiting for its upstream; 409, which may be the conflict with a task that
# exists already; and those of single products.
_REFUSING_STATUSES = frozenset(
    (*range(400, 407), 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 426, 428, 429, 431, 451)
)

NOT_A_GATEWAY = "The host of the connection does not answer as a gateway does"
"""How the message begins of an answer that any web server may give."""

# What to do where the class of the error alone does not say it.
_ADVICE_BY_CODE = {
    FREE_QUOTA_CODE: (
        "The free quota of the model is used up, and the account is set to use nothing else: switch that off in "
        "Alibaba's console, which makes the model cost money, then clear the task."
    )
}

# The statuses of a proxy before a gateway that is away, or that has too much to do.
_AWAY_STATUSES = (408, 429, 502, 503, 504)

_MAX_TEXT_CHARS = 20 * MAX_MESSAGE_CHARS
_SHOWN_TEXT_CHARS = 200

_CODE_IN_BRACKETS = re.compile(r"^\[([A-Za-z0-9_.]+)\]\s*(.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FailedAnswer:
    """What a failed answer says, whatever the structure of its JSON.

    :param http_status: its HTTP status code.
    :param code: the error code: from a field, or from ``[Code]`` at the beginning of the message.
    :param message: the message; a description of the answer if it has none.
    :param request_id: the gateway's id of the request, if known.
    :param retry_after: how long the gateway asked to wait, in seconds, if it did.
    """

    http_status: int
    code: str | None
    message: str
    request_id: str | None = None
    retry_after: float | None = None


def split_code(message: str) -> tuple[str | None, str]:
    """Return the ``[Code]`` that APIYI writes before the messages of its upstream, and the rest of the message."""
    found = _CODE_IN_BRACKETS.match(message)
    return (found[1], found[2]) if found else (None, message)


def read_failed_answer(answer: Answer) -> FailedAnswer:
    """Return code and message of an answer, from any of the structures that the gateways use."""
    body = answer.body
    # Either as at OpenAI, {"error": {...}} or {"error": "text"}; or as at DashScope and new-api, {"code", "message"}.
    error = body.get("error")
    fields: Mapping[str, Any] = error if isinstance(error, Mapping) else body
    message = error if isinstance(error, str) else text_of(fields.get("message"))
    message = message or text_of(fields.get("localized_message"))
    code_in_message, message = split_code((message or "")[:_MAX_TEXT_CHARS])
    kind = text_of(fields.get("type"))
    code = text_of(fields.get("code")) or code_in_message or (kind if kind in _TYPES_WITH_MEANING else None)
    if message and not code and answer.http_status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        message = f"{NOT_A_GATEWAY}: HTTP {answer.http_status}: {message}"
    if not message:
        is_strange = not (code or kind) and not fields.get("param") and answer.http_status not in _AWAY_STATUSES
        upstream = f" (upstream status {fields['param']})" if text_of(fields.get("param")) else ""
        kind = kind or ("JSON" if body else answer.headers.get("content-type", "unknown content"))
        message = f"HTTP {answer.http_status} without a message, {kind}{upstream}"
        if answer.unreadable:
            message = f"HTTP {answer.http_status}, and the answer cannot be read: {answer.unreadable}"
        elif is_strange:
            message = f"{NOT_A_GATEWAY}: {message}"
        if not body and answer.text:
            message += f": {_beginning_of(answer)}"
    return FailedAnswer(
        http_status=answer.http_status,
        code=code,
        message=message,
        request_id=answer.request_id,
        retry_after=retry_after(answer.headers.get("retry-after")),
    )


def submit_error(answer: Answer) -> WanError:
    """Return the error that a failed answer to a create request means.

    An answer that does not prove a refusal is ambiguous: the video may have been accepted, and may be billed.
    """
    failed = read_failed_answer(answer)
    fields = _error_fields(failed)
    named = next(iter(answer.task_ids), None)
    if named is not None:
        message = (
            f"HTTP {answer.http_status} with the Wan task id {named!r} in it, which WanVideoSensor(wan_task_id=…) can "
            f"wait for. {failed.message}"
        )
        return SubmitAmbiguous(message, **fields, wan_task_id=named)
    if not 400 <= answer.http_status < 600 or answer.unreadable:  # noqa: PLR2004
        message = failed.message
        if 300 <= answer.http_status < 400:  # noqa: PLR2004
            message = f"The gateway redirects, which is not followed; check the host of the connection. {message}"
        elif answer.body:
            message = f"{message} (HTTP {answer.http_status} without a task id: {_beginning_of(answer)})"
        return SubmitAmbiguous(message, **fields)
    error = _submit_class(failed)(failed.message, **fields)
    error.advice = _ADVICE_BY_CODE.get((failed.code or "").lower(), error.advice)
    return error


def _submit_class(failed: FailedAnswer) -> type[WanError]:
    """Return the class that an answer with HTTP status 4xx or 5xx to a create request means."""
    kind = meaning_of(failed)
    if kind in (AuthenticationFailed, BalanceExhausted, RequestRejected):
        # Whatever the status: APIYI reports refusals of its upstream, and mistakes of the caller, with a 5xx.
        return kind
    if failed.http_status not in _REFUSING_STATUSES or kind is GatewayUnavailable:
        return SubmitAmbiguous
    return RateLimited if kind is RateLimited else RequestRejected


def read_error(answer: Answer, wan_task_id: str | None = None) -> WanError:
    """Return the error that a failed answer to a read or a cancel request means.

    An answer that is no definite refusal is a failure that may pass: the read can be repeated.
    """
    failed = read_failed_answer(answer)
    kind = None if answer.unreadable else meaning_of(failed)
    if kind is None and failed.http_status in (401, 403):
        kind = AuthenticationFailed
    elif kind is RequestRejected and 400 <= failed.http_status < 500:  # noqa: PLR2004
        # The gateway understood the question and refuses this id. A bare 404 is no such answer: proxies send it too.
        kind = VideoTaskLost
    if kind not in (RateLimited, AuthenticationFailed, VideoTaskLost):
        kind = GatewayUnavailable
    return kind(failed.message, **_error_fields(failed), wan_task_id=wan_task_id)


def _beginning_of(answer: Answer) -> str:
    return " ".join(answer.text.split())[:_SHOWN_TEXT_CHARS]


def blames_the_request(code: str | None) -> bool:
    """Return whether the code of a failed task says that its prompt, media or parameters are the reason.

    The same request would then fail again. Media that the gateway could not fetch in time are no such reason.
    """
    lower = (code or "").lower()
    return lower not in _MEDIA_NOT_FETCHED and _matches(lower, _REJECTED)


def is_throttling(error: BaseException) -> bool:
    """Return whether a `RateLimited` says unmistakably that requests come too fast, so that waiting must help.

    APIYI answers 429 for an empty balance too. So a 429 with a code that is not known, or with words about money in it,
    may be one of those, which no waiting mends.
    """
    if not isinstance(error, RateLimited):
        return False
    code, message = (error.code or "").lower(), error.message.lower()
    return _matches(code, _THROTTLING) or not (code or any(word in message for word in _WORDS_ABOUT_MONEY))


def meaning_of(failed: FailedAnswer) -> type[WanError] | None:
    """Return the class of error that the code, the message or the status means; None if none of them says."""
    code = (failed.code or "").lower()
    for codes, kind in _CLASS_BY_CODE:
        if _matches(code, codes):
            return kind
    message = failed.message.lower()
    for sentence, kind in _CLASS_BY_SENTENCE:
        if sentence in message:
            return kind
    return _CLASS_BY_STATUS.get(failed.http_status)


def _matches(code: str, known_codes: tuple[str, ...]) -> bool:
    return any(code == known or code.startswith(known + ".") for known in known_codes)


def _error_fields(failed: FailedAnswer) -> dict[str, Any]:
    return {
        "code": failed.code,
        "request_id": failed.request_id,
        "http_status": failed.http_status,
        "retry_after": failed.retry_after,
    }
