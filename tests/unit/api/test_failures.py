from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.api.answers import Answer
from airflow_wan.api.failures import blames_the_request, read_failed_answer
from airflow_wan.api.tasks import ListPage, WanTask, read_created, read_list, read_task
from airflow_wan.exceptions import (
    MAX_MESSAGE_CHARS,
    AuthenticationFailed,
    BalanceExhausted,
    GatewayUnavailable,
    InvalidVideoRequest,
    RateLimited,
    RequestRejected,
    SubmitAmbiguous,
    SubmitNotSent,
    VideoDownloadFailed,
    VideoTaskFailed,
    VideoTaskLost,
    VideoWaitTimeout,
    WanError,
    error_from_dict,
    error_to_dict,
)

TASK_ID = "f8ca39a0-6f4b-4ec2-99bf-8b9649d946c4"
SIGNED = "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/1d/x.mp4?Expires=1&OSSAccessKeyId=LTAIxyz&Signature=TOP%2BSECRET%3D"
KEY = "sk-0123456789abcdefTOPSECRET"


def answer(status: int, payload: object = None, *, text: str = "", **headers: str) -> Answer:
    """Return an answer with lower-case header names; the keyword `retry_after` becomes `retry-after`."""
    if payload is not None and not text:
        text = json.dumps(payload, ensure_ascii=False)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/json"} | names, payload, text)


def error_at_create(got: Answer) -> WanError:
    with pytest.raises(WanError) as caught:
        read_created(got)
    return caught.value


def error_at_read(got: Answer) -> WanError:
    with pytest.raises(WanError) as caught:
        read_task(got, TASK_ID)
    return caught.value


# Alibaba's error catalogue, reference §4.5: the error that a code means at create, and at read.
REFUSED = (RequestRejected, VideoTaskLost)
NO_ACCESS = (AuthenticationFailed, AuthenticationFailed)
THROTTLED = (RateLimited, RateLimited)
NO_MONEY = (BalanceExhausted, GatewayUnavailable)
OUTAGE = (SubmitAmbiguous, GatewayUnavailable)
CATALOGUE = [
    *((400, code, REFUSED) for code in ("InvalidParameter", "InvalidParameter.DataInspection", "InvalidParameter.Any")),
    *((400, code, REFUSED) for code in ("DataInspectionFailed", "data_inspection_failed")),
    *((400, code, REFUSED) for code in ("IPInfringementSuspect", "CustomRoleBlocked")),
    (400, "Arrearage", NO_MONEY),
    *((400, code, REFUSED) for code in ("InvalidURL", "InvalidURL.ConnectionRefused", "InvalidURL.Timeout")),
    *((400, code, REFUSED) for code in ("BadRequest.InputDownloadFailed", "InvalidFile.DownloadFailed")),
    *(
        (400, f"InvalidFile.{what}", REFUSED)
        for what in ("Size", "Duration", "Format", "Resolution", "FPS", "Openerror", "AspectRatio")
    ),
    *((400, code, REFUSED) for code in ("InvalidImage.FileFormat", "InvalidImageResolution", "InvalidImageFormat")),
    *(
        (400, f"BadRequest.{what}", REFUSED)
        for what in ("EmptyInput", "EmptyParameters", "EmptyModel", "IllegalInput", "TooLarge")
    ),
    (400, "UnsupportedOperation", REFUSED),
    (400, "InvalidImageUrl", REFUSED),
    *((401, code, NO_ACCESS) for code in ("InvalidApiKey", "NOT AUTHORIZED")),
    *((403, code, NO_ACCESS) for code in ("AccessDenied", "AccessDenied.Unpurchased", "Model.AccessDenied")),
    (403, "Workspace.AccessDenied", NO_ACCESS),
    (403, "AllocationQuota.FreeTierOnly", NO_MONEY),
    # one-api and new-api, which relays descend from: reference §10.6
    (403, "pre_consume_token_quota_failed", NO_MONEY),
    *((429, code, NO_MONEY) for code in ("local:quota_not_enough", "quota_not_enough", "insufficient_quota")),
    *((404, code, REFUSED) for code in ("ModelNotFound", "Model.NotExist", "NotFound")),
    (404, "WorkSpaceNotFound", NO_ACCESS),
    *((429, code, THROTTLED) for code in ("Throttling", "Throttling.RateQuota", "Throttling.BurstRate")),
    (429, "Throttling.AllocationQuota", THROTTLED),
    (429, "CommodityNotPurchased", NO_ACCESS),
    *((429, code, NO_MONEY) for code in ("PrepaidBillOverdue", "PostpaidBillOverdue")),
    *((500, f"InternalError{what}", OUTAGE) for what in ("", ".Algo", ".FileUpload", ".Upload", ".Timeout")),
    *((500, code, OUTAGE) for code in ("SystemError", "ModelServiceFailed", "RequestTimeOut", "RewriteFailed")),
    *((500, "ModelServingError", OUTAGE), (503, "ModelServingError", OUTAGE)),
    *((503, code, OUTAGE) for code in ("ModelUnavailable", "ServiceUnavailable")),
    (504, "GatewayTimeout", OUTAGE),
]


@pytest.mark.parametrize(("status", "code", "classes"), CATALOGUE)
def test_every_documented_code_has_an_error_at_create_and_at_read(
    status: int, code: str, classes: tuple[type[WanError], type[WanError]]
) -> None:
    got = answer(status, {"code": code, "message": "why", "request_id": "r-1"})

    at_create, at_read = error_at_create(got), error_at_read(got)

    assert (type(at_create), type(at_read)) == classes
    for error in (at_create, at_read):
        assert (error.code, error.message, error.request_id, error.http_status) == (code, "why", "r-1", status)
    assert at_read.wan_task_id == TASK_ID
    assert str(at_read).startswith(f"[{code}] why ")
    assert all(fact in str(at_read) for fact in (TASK_ID, "request id r-1", f"HTTP status {status}"))


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("InvalidParameter", RequestRejected),
        ("DataInspectionFailed", RequestRejected),
        ("InvalidApiKey", AuthenticationFailed),
        ("insufficient_user_quota", BalanceExhausted),
        ("Arrearage", BalanceExhausted),
        ("InternalError", SubmitAmbiguous),
    ],
)
def test_a_known_code_counts_whatever_the_http_status_of_the_failure(
    status: int, code: str, expected: type[WanError]
) -> None:
    assert type(error_at_create(answer(status, {"code": code, "message": "why"}))) is expected


@pytest.mark.parametrize(("status", "expected"), [(400, RateLimited), (429, RateLimited), (500, SubmitAmbiguous)])
def test_throttling_is_believed_only_with_a_status_that_refuses(status: int, expected: type[WanError]) -> None:
    # After throttling the request is sent again automatically.
    assert type(error_at_create(answer(status, {"code": "Throttling.RateQuota", "message": "slow"}))) is expected


@pytest.mark.parametrize("status", [200, 201, 202, 204, 301, 302, 303, 304, 307, 308, 600, 999])
@pytest.mark.parametrize("code", ["InvalidParameter", "InvalidApiKey", "Throttling", "Arrearage", "task_not_exist", ""])
def test_no_code_is_a_refusal_under_a_status_that_is_no_failure(status: int, code: str) -> None:
    error = error_at_create(answer(status, {"code": code, "message": "why", "request_id": "r-1"}))

    assert type(error) is SubmitAmbiguous
    assert error.request_id == "r-1"


@pytest.mark.parametrize("status", [200, 302, 400, 401, 429, 500, 503])
@pytest.mark.parametrize(
    "body",
    [
        {"code": "Throttling", "message": "slow", "output": {"task_id": TASK_ID}},
        {"error": {"code": "InvalidApiKey", "message": "m", "task_id": TASK_ID}},
        {"code": "InvalidParameter", "message": "m", "details": [{"tasks": [{"task_id": TASK_ID}]}]},
    ],
)
def test_a_failure_with_a_task_id_in_it_is_ambiguous_and_names_the_id(status: int, body: dict[str, Any]) -> None:
    if status == 200 and "output" in body:
        assert read_created(answer(status, body)).wan_task_id == TASK_ID
        return

    error = error_at_create(answer(status, body))

    assert type(error) is SubmitAmbiguous
    assert error.wan_task_id == TASK_ID
    assert TASK_ID in error.message


@pytest.mark.parametrize("code", ["invalidapikey", "INVALIDAPIKEY", "throttling.rateQuota"])
def test_letter_case_in_codes_does_not_matter(code: str) -> None:
    assert type(error_at_create(answer(400, {"code": code}))) in (AuthenticationFailed, RateLimited)


def test_a_code_matches_at_a_dot_only() -> None:
    assert type(error_at_create(answer(500, {"code": "ThrottlingNot", "message": "m"}))) is SubmitAmbiguous
    assert type(error_at_create(answer(500, {"code": "InvalidParameters", "message": "m"}))) is SubmitAmbiguous


# The structures of reference §3 ---------------------------------------------------------------------------------------

QUOTA = {
    "error": {
        "message": "user [25359] quota [..] preConsumedQuota [..] is not enough",
        "localized_message": "Insufficient user quota",
        "type": "shell_api_error",
        "param": "",
        "code": "insufficient_user_quota",
    }
}
UPSTREAM_502 = {"error": {"message": "", "type": "shell_api_error", "param": "502", "code": "bad_response_status_code"}}
BAD_TOKEN = {"error": {"message": "无效的令牌 (request id: 20261122)", "type": "shell_api_error"}}
NO_CHANNEL = {"error": {"message": "当前分组 default 下对于模型 wan2.7-i2v 无可用渠道", "type": "shell_api_error"}}
NO_IMAGE = {"error": {"message": "图生视频模型 wan2.7-i2v 必须提供图片", "type": "build_request_failed"}}


@pytest.mark.parametrize("status", [403, 429])
def test_an_empty_balance_is_no_throttling_whatever_the_http_status(status: int) -> None:
    error = error_at_create(answer(status, QUOTA))

    assert type(error) is BalanceExhausted
    assert error.code == "insufficient_user_quota"
    assert not error.retry_can_help


def test_an_empty_balance_is_known_by_its_sentence_when_the_code_is_missing() -> None:
    for message in (QUOTA["error"]["message"], "Insufficient user quota"):
        assert type(error_at_create(answer(429, {"error": {"message": message}}))) is BalanceExhausted


def test_a_bare_429_is_throttling() -> None:
    assert type(error_at_create(answer(429, text="slow down"))) is RateLimited


def test_an_empty_message_is_replaced_by_a_description_of_the_answer() -> None:
    error = error_at_create(answer(502, UPSTREAM_502))

    assert type(error) is SubmitAmbiguous
    assert error.code == "bad_response_status_code"
    assert all(fact in error.message for fact in ("HTTP 502", "shell_api_error", "upstream status 502"))
    assert type(error_at_read(answer(502, UPSTREAM_502))) is GatewayUnavailable


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_bad_token_without_a_code_is_known_by_its_sentence(status: int) -> None:
    assert type(error_at_create(answer(status, BAD_TOKEN))) is AuthenticationFailed
    assert type(error_at_read(answer(status, BAD_TOKEN))) is AuthenticationFailed


def test_a_token_without_a_channel_for_the_model_is_an_authentication_failure() -> None:
    error = error_at_create(answer(503, NO_CHANNEL))

    assert type(error) is AuthenticationFailed
    assert "Wan&HappyHorse" in str(error)


def test_a_missing_image_is_a_rejected_request_although_apiyi_says_500() -> None:
    assert type(error_at_create(answer(500, NO_IMAGE))) is RequestRejected


@pytest.mark.parametrize("kind", ["build_request_failed", "parse_request_failed"])
@pytest.mark.parametrize("status", [400, 500])
def test_a_request_that_the_gateway_could_not_build_is_rejected(kind: str, status: int) -> None:
    error = error_at_create(answer(status, {"error": {"message": "some reason", "type": kind}}))

    assert type(error) is RequestRejected
    assert error.code == kind


@pytest.mark.parametrize(
    "message",
    ["GPU memory is not enough to encode the answer", "upstream answered, but: invalid token '<' in JSON"],
)
def test_a_5xx_that_only_sounds_like_a_refusal_is_ambiguous(message: str) -> None:
    assert type(error_at_create(answer(500, {"error": {"message": message}}))) is SubmitAmbiguous


def test_a_gateway_that_cannot_read_the_answer_of_its_upstream_is_ambiguous() -> None:
    message = "json: cannot unmarshal string into Go struct field AliVideoResponse.output of type int"

    assert type(error_at_create(answer(500, {"code": "unmarshal_failed", "message": message}))) is SubmitAmbiguous
    assert type(error_at_create(answer(400, {"error": {"message": message}}))) is RequestRejected


def test_the_refusal_of_a_synchronous_call_is_a_rejected_request() -> None:
    message = "current user api does not support synchronous calls"

    assert type(error_at_create(answer(500, {"error": {"message": message}}))) is RequestRejected


@pytest.mark.parametrize(
    ("payload", "code", "message"),
    [
        ({"error": "something broke"}, None, "something broke"),
        (
            {"error": "[InvalidParameter] Field required: input.media"},
            "InvalidParameter",
            "Field required: input.media",
        ),
        ({"error": {"message": "[Throttling.RateQuota] slow"}}, "Throttling.RateQuota", "slow"),
        ({"code": "task_not_exist", "message": "task_not_exist", "data": None}, "task_not_exist", "task_not_exist"),
        ({"error": {"message": " [x] ", "code": "Given"}}, "Given", ""),
        ({"error": {"code": 1234, "message": "m"}}, "1234", "m"),
        ({"error": {"localized_message": "in other words"}}, None, "in other words"),
        ({"error": None, "message": "top"}, None, "top"),
        ({"error": [], "code": "Top", "message": "top"}, "Top", "top"),
        ({"error": {"message": "[two words] stay"}}, None, "[two words] stay"),
        ({"error": {"message": "[Code]\nmany\nlines"}}, "Code", "many\nlines"),
    ],
)
def test_code_and_message_are_found_in_every_structure(payload: dict[str, Any], code: str | None, message: str) -> None:
    got = read_failed_answer(answer(400, payload))

    assert got.code == code
    assert got.message == message or (not message and got.message.startswith("HTTP 400 without a message"))


def test_an_html_page_is_shortened_to_a_line() -> None:
    page = "<html>\n<head><title>502 Bad Gateway</title></head>\n" + "<p>x</p>" * 1000 + "</html>"

    error = error_at_create(answer(502, text=page, content_type="text/html"))

    assert type(error) is SubmitAmbiguous
    assert "<html> <head><title>502 Bad Gateway</title></head> <p>x</p>" in error.message
    assert len(error.message) < 300


@pytest.mark.parametrize(
    "got",
    [
        answer(200, {"request_id": "r-1"}),
        answer(200, {"output": {}}),
        answer(200, {"output": {"task_id": ""}}),
        answer(200, {"output": {"task_id": None, "task_status": "PENDING"}}),
        answer(200, {"code": "success", "message": ""}),
        answer(200, text="<html>hello</html>", content_type="text/html"),
        answer(200),
        answer(204),
        answer(200, ["task_id"]),
    ],
)
def test_a_create_that_succeeds_without_a_task_id_is_ambiguous(got: Answer) -> None:
    assert type(error_at_create(got)) is SubmitAmbiguous


@pytest.mark.parametrize(
    "status", [101, 301, 302, 303, 304, 307, 308, 408, 409, 444, 499, 500, 502, 503, 504, 520, 999]
)
def test_a_status_that_proves_no_refusal_is_ambiguous_at_create(status: int) -> None:
    assert type(error_at_create(answer(status, text="?"))) is SubmitAmbiguous


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 415, 422, 451])
def test_a_status_that_proves_a_refusal_is_a_rejection_at_create(status: int) -> None:
    assert type(error_at_create(answer(status, text="?"))) is RequestRejected


@pytest.mark.parametrize(
    ("status", "expected"), [(401, AuthenticationFailed), (402, BalanceExhausted), (429, RateLimited)]
)
def test_some_statuses_without_a_code_have_their_own_error_at_create(status: int, expected: type[WanError]) -> None:
    assert type(error_at_create(answer(status, text="?"))) is expected


@pytest.mark.parametrize("status", [401, 403])
def test_some_statuses_without_a_code_are_an_authentication_failure_at_read(status: int) -> None:
    assert type(error_at_read(answer(status, text="?"))) is AuthenticationFailed


@pytest.mark.parametrize("status", [301, 400, 402, 404, 405, 408, 422, 500, 502, 503, 504])
def test_other_statuses_without_a_code_make_the_gateway_unavailable_at_read(status: int) -> None:
    assert type(error_at_read(answer(status, text="?"))) is GatewayUnavailable


@pytest.mark.parametrize("code", ["task_not_exist", "TaskNotFound", "task_not_found", "TaskNotExist"])
def test_a_task_the_gateway_does_not_know_is_lost(code: str) -> None:
    error = error_at_read(answer(400, {"code": code, "message": code, "data": None}))

    assert type(error) is VideoTaskLost
    assert error.wan_task_id == TASK_ID


def test_a_gateway_that_could_not_reach_its_upstream_has_not_lost_the_task() -> None:
    assert type(error_at_read(answer(400, {"code": "fail_to_fetch_task", "message": "m"}))) is GatewayUnavailable


# Retry-After ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        (" 20 ", 20.0),
        *((long, 86_400.0) for long in ("1e308", "inf", "9" * 90, "Fri, 31 Dec 9999 23:59:59 GMT")),
    ],
)
def test_retry_after_in_seconds_is_kept(value: str, seconds: float) -> None:
    for error in (error_at_create(answer(429, retry_after=value)), error_at_read(answer(503, retry_after=value))):
        assert isinstance(error, RateLimited | GatewayUnavailable)
        assert error.retry_after == seconds


def test_retry_after_as_a_date_is_the_time_until_then() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=90)

    error = error_at_create(answer(429, retry_after=format_datetime(moment, usegmt=True)))

    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(90, abs=5)


def test_retry_after_as_a_date_without_a_zone_or_in_the_past_is_understood() -> None:
    for value in ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 -0000"):
        error = error_at_create(answer(429, retry_after=value))

        assert isinstance(error, RateLimited)
        assert error.retry_after == 0.0


@pytest.mark.parametrize(
    "value",
    [
        None,
        "soon",
        "",
        "  ",
        "nan",
        "9" * 101,
        "Wed, 99 Oct 2015 07:28:00 GMT",
        "Wed, 21 Oct 99999 07:28:00 GMT",
        "Wed, 21 Oct 2015 07:28:00 +99999999999999",
    ],
)
def test_a_retry_after_that_is_missing_or_cannot_be_read_is_ignored(value: str | None) -> None:
    error = error_at_create(answer(429, **({} if value is None else {"retry_after": value})))

    assert isinstance(error, RateLimited)
    assert error.retry_after is None


# What an error shows -------------------------------------------------------------------------------------------------


def test_apiyis_own_request_id_comes_before_that_of_its_upstream() -> None:
    payload = {"code": "InternalError", "request_id": "in-body"}

    assert error_at_read(answer(500, payload, x_shellapi_request_id="own", x_request_id="up")).request_id == "own"
    assert error_at_read(answer(500, payload, x_request_id="up")).request_id == "in-body"
    assert error_at_read(answer(500, {}, x_request_id="up")).request_id == "up"
    assert error_at_read(answer(500, {})).request_id is None


@pytest.mark.parametrize(
    "payload",
    [
        {"code": "InvalidParameter", "message": f"could not fetch {SIGNED} with {KEY}"},
        {"code": f"E {SIGNED} {KEY}", "message": "m"},
        {"error": {"message": f"[InvalidURL] '{SIGNED}', key={KEY}."}},
        {"error": f"Incorrect API key provided: {KEY} <{SIGNED}>"},
        {"error": {"message": "", "type": f"{SIGNED} {KEY}"}},
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_no_error_shows_a_key_or_a_signature(payload: dict[str, Any], status: int) -> None:
    for error in (error_at_create(answer(status, payload)), error_at_read(answer(status, payload))):
        told = f"{error} {error!r} {error.args} {vars(error)} {json.dumps(error_to_dict(error))}"
        assert "SECRET" not in told
        assert "Signature=" not in told
        assert "0123456789abcdef" not in told


def test_a_page_that_is_no_json_is_redacted_too() -> None:
    error = error_at_create(answer(502, text=f"<a href='{SIGNED}'>{KEY}</a>", content_type="text/html"))

    assert "x.mp4?…" in str(error)
    assert "SECRET" not in f"{error} {error!r}"


def test_gateway_messages_and_codes_are_cut() -> None:
    error = error_at_create(answer(400, {"code": "c" * 10_000, "message": "m" * 10_000}))

    assert len(error.message) == MAX_MESSAGE_CHARS
    assert len(str(error)) < MAX_MESSAGE_CHARS + 300


@pytest.mark.parametrize(
    "kind",
    [
        *(SubmitNotSent, SubmitAmbiguous, RateLimited, GatewayUnavailable, AuthenticationFailed, BalanceExhausted),
        *(RequestRejected, VideoTaskFailed, VideoTaskLost, VideoWaitTimeout, VideoDownloadFailed),
    ],
)
def test_every_error_says_what_happened_and_what_to_do(kind: type[WanError]) -> None:
    error = kind("It broke.")

    assert str(error).startswith("It broke. ")
    assert len(str(error)) > len("It broke. ") + 20


@pytest.mark.parametrize(
    ("code", "retry_can_help"),
    [
        ("InvalidParameter", False),
        ("DataInspectionFailed", False),
        ("InvalidFile.Duration", False),
        ("InvalidURL.ConnectionRefused", False),
        ("InvalidURL.Timeout", True),
        ("InvalidImageUrl", True),
        ("InvalidParameter.DataInspection", True),
        ("BadRequest.InputDownloadFailed", True),
        ("InvalidFile.DownloadFailed", True),
        ("InternalError.Timeout", True),
        (None, True),
    ],
)
def test_a_failed_task_is_worth_a_retry_unless_its_input_is_at_fault(code: str | None, *, retry_can_help: bool) -> None:
    assert blames_the_request(code) is not retry_can_help


@pytest.mark.parametrize(
    "kind", [AuthenticationFailed, GatewayUnavailable, VideoTaskFailed, VideoTaskLost, VideoWaitTimeout]
)
def test_an_error_that_ended_a_wait_reaches_the_worker_unchanged(kind: type[WanError]) -> None:
    error = kind("why", code="InvalidParameter", request_id="r-1", wan_task_id=TASK_ID, http_status=400)

    arrived = error_from_dict(json.loads(json.dumps(error_to_dict(error))))

    assert type(arrived) is kind
    assert str(arrived) == str(error)
    assert arrived.retry_can_help is error.retry_can_help


@pytest.mark.parametrize("retry_can_help", [True, False])
def test_a_failed_task_reaches_the_worker_with_what_it_says_about_retries(*, retry_can_help: bool) -> None:
    error = VideoTaskFailed("why", retry_can_help=retry_can_help)

    arrived = error_from_dict(json.loads(json.dumps(error_to_dict(error))))

    assert isinstance(arrived, VideoTaskFailed)
    assert arrived.retry_can_help is retry_can_help


@pytest.mark.parametrize("fields", [{}, {"kind": "FromTheFuture", "message": "m"}, {"kind": None}, {"kind": ["x"]}])
def test_an_error_of_an_unknown_class_becomes_a_plain_one(fields: dict[str, Any]) -> None:
    assert type(error_from_dict(fields)) is WanError


def test_an_error_is_clean_whoever_wrote_its_text() -> None:
    name = os.fsdecode(b"/media/\xff\xfe.png")
    error = VideoTaskFailed(f"cannot read {name}\0", code="a\ud83d", request_id="r\0", wan_task_id="t\x1b[31m")

    for text in (str(error), repr(error), *map(str, vars(error).values())):
        text.encode()
        assert text.isprintable()
    arrived = error_from_dict({"message": name, "kind": "VideoTaskLost", "code": 7, "wan_task_id": "t\0"})
    assert (arrived.message, arrived.code, arrived.wan_task_id) == ("/media/�.png", "7", "t�")


def test_an_invalid_request_keeps_its_problems_apart() -> None:
    error = InvalidVideoRequest(["a: wrong.", "b: wrong."])

    assert error.problems == ["a: wrong.", "b: wrong."]
    assert "a: wrong. b: wrong. Nothing was sent." in str(error)


# Anything a gateway may say ------------------------------------------------------------------------------------------

WORDS = st.one_of(
    st.sampled_from(
        ["SUCCEEDED", "failed", "UNKNOWN", "PENDING", "completed", "30%", "nan", "inf%", "-1", "[A] b", "2026-04-02"]
    ),
    st.sampled_from(
        [SIGNED, KEY, "2026-04-02 15:11:42.100", "99999-01-01", "task-1", "success", "Throttling", "0001-01-01"]
    ),
    st.text(max_size=20),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(10**400), 10**400), st.floats(), WORDS)
FIELDS = st.sampled_from(
    [
        *("output", "data", "result", "error", "usage", "metadata", "task_id", "task_status", "status"),
        *("progress", "result_url", "video_url", "url", "code", "message", "fail_reason", "request_id"),
        *("submit_time", "end_time", "type", "param", "localized_message", "gmt_create", "total_page"),
        *("tasks", "id"),
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(FIELDS, st.text(max_size=3)), inner, max_size=6),
    ),
    max_leaves=8,
)
BODIES = st.one_of(JSON, st.dictionaries(FIELDS, JSON, max_size=8))
STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 403, 404, 408, 429, 500, 502])
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "x-request-id", "x-shellapi-request-id", "content-type"]),
    st.one_of(st.text(max_size=10), st.sampled_from(["1e400", "nan", "Wed, 21 Oct 2015 07:28:00 +9999999999999"])),
    max_size=3,
)
ANSWERS = st.builds(Answer, http_status=STATUSES, headers=HEADERS, payload=BODIES, text=st.text(max_size=20))


@given(got=ANSWERS)
def test_no_answer_makes_a_reader_raise_anything_but_our_own_errors(got: Answer) -> None:
    results: list[object] = []
    for read in (read_created, lambda a: read_task(a, TASK_ID), read_list):
        try:
            results.append(read(got))
        except WanError as error:
            results.append(error)
            json.dumps(error_to_dict(error))
    created, task, listed = results

    assert isinstance(created, WanTask | WanError)
    assert isinstance(task, WanTask | WanError)
    assert isinstance(listed, ListPage | WanError)
    told = [getattr(result, name, None) for result in results for name in ("message", "args", "status_word")]
    assert "Signature=TOP" not in repr(told)


@given(got=ANSWERS)
def test_a_create_is_taken_for_accepted_only_with_a_task_id_in_a_2xx(got: Answer) -> None:
    try:
        task = read_created(got)
    except WanError:
        return
    assert 200 <= got.http_status < 300
    assert task.wan_task_id
