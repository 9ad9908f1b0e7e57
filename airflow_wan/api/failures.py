"""Reads a failed answer of a gateway and tells which error it means.

The gateways disagree about HTTP status codes (a moderation refusal is a 403 and an empty balance a 429 at APIYI,
a missing image is its 500), so an error is classified by its code first and by its status only when there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_wan.exceptions import (
    MAX_CODE_CHARS,
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


def blames_the_request(code: str | None) -> bool:
    """Return whether the code of a failed task says that its prompt, media or parameters are the reason.

    The same request would then fail again. Media that the gateway could not fetch in time are no such reason.
    """
    known = (code or "").lower()
    return known not in _FETCH_TROUBLE and _matches(known, _REJECTED)


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
