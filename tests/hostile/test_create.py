"""Lies about a create: one POST whatever the lie, and a refusal is believed only where it can be nothing else."""

from __future__ import annotations

import gzip
import itertools
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hostile.answers import (
    KEY,
    MB,
    OTHER_TASK_ID,
    SIGNATURE,
    UNCLEAN,
    WAN_TASK_ID,
    Answer,
    body,
    bomb,
    endless,
    head,
    malformed,
    nested,
    raw,
    say,
    shapes,
    with_value,
)
from hostile.server import Kind
from hostile.witness import MAX_ANSWER_BYTES, require, unstorable, watching

from airflow_wan.api.requests import build_video_request
from airflow_wan.hooks.wan import WanHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostile.server import HostileServer

# What may become of a create. Only after a refusal may the next try buy again.
ACCEPTED, DOUBT = "WanTask", "SubmitAmbiguous"
THROTTLED = "RateLimited"
REFUSED = ("AuthenticationFailed", "BalanceExhausted", "RequestRejected")

CREATED = {"output": {"task_id": WAN_TASK_ID, "task_status": "PENDING"}, "request_id": "r-1"}
GENUINE = json.dumps(CREATED).encode()
ELSEWHERE = "/api/v1/elsewhere"


def answers(expect: tuple[str, ...], **acts: Any) -> list[Answer]:
    return [Answer(name, act, expect) for name, act in acts.items()]


def with_id(value: object, /) -> Any:
    return say({"output": {"task_id": value, "task_status": "PENDING"}})


MALFORMED = [Answer(name, act, (ACCEPTED, DOUBT)) for name, act in malformed(GENUINE)]
SHAPES = [Answer(name, act, (DOUBT,)) for name, act in shapes(WAN_TASK_ID)]

ENCODINGS = answers(
    (ACCEPTED, DOUBT),
    **{
        "a byte order mark": body(b"\xef\xbb\xbf" + GENUINE),
        "UTF-16": body(GENUINE.decode().encode("utf-16")),
        "UTF-32": body(GENUINE.decode().encode("utf-32")),
        "Latin-1": body(b'{"message": "\xe9", ' + GENUINE[1:], Content_Type="application/json; charset=latin-1"),
        "a charset that nobody knows": body(GENUINE, Content_Type="application/json; charset=klingon"),
        "a charset that is none": body(GENUINE, Content_Type="application/json; charset=undefined"),
        "a charset of bytes": body(GENUINE, Content_Type="application/json; charset=base64"),
        "gzip": body(gzip.compress(GENUINE), Content_Encoding="gzip"),
        "the same name twice": body(b'{"output":{"task_id":"a","task_id":"%s"}}' % WAN_TASK_ID.encode()),
        "a number of 5,000 digits": body(with_value({**CREATED, "x": "@"}, b"9" * 5000)),
        "a number of 400 digits": body(with_value({**CREATED, "x": "@"}, b"9" * 400)),
        "NaN beside the id": body(with_value({**CREATED, "x": "@"}, b"NaN")),
        "a number beyond all floats": body(with_value({**CREATED, "x": "@"}, b"1e400")),
        "nested 100,000 deep beside the id": body(with_value({**CREATED, "x": "@"}, nested(100_000))),
        "nested 400 deep beside the id": body(with_value({**CREATED, "usage": "@"}, nested(400))),
        "a gzip bomb after the id": bomb(GENUINE),
        "100 MB after the id": endless(
            head(Content_Length=100 * MB) + GENUINE[:-1] + b',"x":"', lambda: itertools.repeat(b"x" * 64_000), 100 * MB
        ),
    },
)

IDS = [
    *answers(
        (DOUBT,),
        **{
            "an empty id": with_id(""),
            "a blank id": with_id(" \t\n"),
            "null as id": with_id(None),
            "a list as id": with_id([WAN_TASK_ID]),
            "an object as id": with_id({"id": WAN_TASK_ID}),
            "true as id": with_id(True),  # noqa: FBT003
            "an id of 64 kB": with_id("x" * 65_537),
            "an id of 5 MB": with_id("x" * 5 * MB),
            "an id in a header alone": say({}, X_Task_Id=WAN_TASK_ID, X_DashScope_Task_Id=WAN_TASK_ID),
        },
    ),
    *answers(
        (ACCEPTED, DOUBT),
        **{
            # A relay may name its own task and that of its upstream, and its own is the outermost.
            "two ids": say({"task_id": OTHER_TASK_ID, "output": {"task_id": WAN_TASK_ID}}),
            "two ids in two envelopes": say({"output": {"task_id": WAN_TASK_ID}, "data": {"task_id": OTHER_TASK_ID}}),
            "a number as id": with_id(12_345),
            "a number of 400 digits as id": with_id(int("9" * 400)),
            "a float as id": with_id(1e22),
            "NaN as id": body(b'{"output": {"task_id": NaN}}'),
            "an id that leads up": with_id("../../../v1/models"),
            "an id with a query": with_id(f"x?y=z#{'a' * 10}"),
            "an id that is a URL": with_id("http://inside.example/steal"),
            "an id in Chinese": with_id("视频任务"),
            "an id with blanks around": with_id(f"  {WAN_TASK_ID}\n"),
            **{f"an id with {name}": with_id(f"{WAN_TASK_ID}{text}") for name, text in UNCLEAN.items()},
        },
    ),
]

STATUSES = [
    *answers(
        (ACCEPTED, DOUBT),
        **{
            f"{status} with an id": say(CREATED, f"{status} Whatever")
            for status in (
                201,
                202,
                203,
                206,
                226,
                299,
                400,
                401,
                402,
                403,
                404,
                409,
                422,
                429,
                451,
                500,
                502,
                503,
                504,
            )
        },
        **{
            f"{status} to elsewhere with an id": say(CREATED, f"{status} Whatever", Location=ELSEWHERE)
            for status in (300, 301, 302, 303, 304, 305, 307, 308)
        },
        **{
            f"{code} with an id": say({**CREATED, "code": code, "message": "no"}, status)
            for code, status in (
                ("Throttling.RateQuota", "429 Too Many Requests"),
                ("InvalidParameter", "400 Bad Request"),
                ("InvalidApiKey", "401 Unauthorized"),
                ("Arrearage", "400 Bad Request"),
                ("Throttling", "200 OK"),
                ("DataInspectionFailed", "200 OK"),
            )
        },
        **{
            "an id in the envelope of an error": say(
                {"error": {"code": "invalid_request", "message": "no", "task_id": WAN_TASK_ID}}, "400 Bad Request"
            ),
            "an id in the details of an error": say(
                {"code": "InvalidParameter", "message": "no", "data": {"task_id": WAN_TASK_ID}}, "400 Bad Request"
            ),
        },
    ),
    *answers(
        (DOUBT,),
        **{f"{status} without anything": body(b"", f"{status} Whatever") for status in (200, 201, 202, 206)},
        **{f"{status} without a body": raw(head(f"{status} Whatever")) for status in (202, 204, 205, 304)},
        **{
            f"{status} without a task": say({"message": "hm"}, f"{status} Whatever")
            for status in (200, 202, 408, 499, 500, 502, 503, 504, 520, 524, 599)
        },
        **{f"{status} to elsewhere": say({}, f"{status} Whatever", Location=ELSEWHERE) for status in (303, 304)},
        **{
            "throttling under 200": say({"code": "Throttling.RateQuota", "message": "slow down"}),
            "throttling under 202": say({"code": "Throttling", "message": "slow down"}, "202 Accepted"),
            "throttling under 500": say({"code": "Throttling", "message": "slow down"}, "500 Oops"),
            "throttling under 303": say({"code": "Throttling", "message": "slow"}, "303 See Other", Location=ELSEWHERE),
            "rate limit of OpenAI under 200": say({"error": {"code": "rate_limit_exceeded", "message": "slow down"}}),
            "internal error under 400": say({"code": "InternalError", "message": "m"}, "400 Bad Request"),
            "a page in place of an answer": body(b"<html>Welcome</html>", Content_Type="text/html"),
        },
    ),
    *answers(
        (DOUBT, *REFUSED),
        **{
            f"{status} without an id": say({}, f"{status} Whatever", Location=ELSEWHERE)
            for status in (300, 301, 302, 305, 307, 308)
        },
        **{
            "a redirect to plain http elsewhere": say({}, "307 Temporary Redirect", Location="http://127.0.0.2:9/x"),
            "a redirect to a file": say({}, "302 Found", Location="file:///etc/passwd"),
            "a redirect to no URL": say({}, "308 Permanent Redirect", Location="http://[::1"),
            "a redirect with a signature": say(
                {}, "302 Found", Location=f"https://u:pa55w0rd@files.example/?Signature={SIGNATURE}"
            ),
            "a refusal under 200": say({"code": "InvalidParameter", "message": "no"}),
            "an invalid key under 200": say({"code": "InvalidApiKey", "message": "no"}),
            "an empty balance under 200": say({"error": {"code": "insufficient_user_quota", "message": "no"}}),
            "an error code of 5 MB": say(
                {"code": "InvalidParameter" + "x" * 5 * MB, "message": "m"}, "400 Bad Request"
            ),
            "a message of 5 MB": say({"code": "InvalidParameter", "message": "[" * 5 * MB}, "400 Bad Request"),
            "a code in brackets of 5 MB": say({"message": "[" + "a." * 2 * MB + "]"}, "400 Bad Request"),
            "a code and a message of lists": say({"code": ["InvalidParameter"], "message": [[]]}, "400 Bad Request"),
        },
    ),
    *answers(
        (DOUBT, THROTTLED, *REFUSED),
        **{
            f"a pause of {value[:20]}": say({"code": "Throttling", "message": "m"}, "429 Slow", Retry_After=value)
            for value in (
                "inf",
                "-1",
                "NaN",
                "1e400",
                "9" * 400,
                "Fri, 31 Dec 99999 23:59:59 GMT",
                "1, 2",
                "٣",
                "0x10",
                "Fri, 31 Dec 9999 23:59:59 -2400",
                "\u00a05",
                "1_000",
            )
        },
        **{
            f"an error with {name}": say(
                {"code": f"Invalid{text}", "message": f"m {text}", "request_id": f"r {text}"}, "400 Bad Request"
            )
            for name, text in UNCLEAN.items()
        },
        **{
            f"an error of APIYI with {name}": say(
                {"error": {"code": text, "message": text, "type": text, "param": text}}, "403 Forbidden"
            )
            for name, text in UNCLEAN.items()
        },
        **{
            "the key in headers": say(
                {"message": "no"}, "401 Unauthorized", X_Request_Id=KEY, X_Shellapi_Request_Id=KEY
            ),
            "the key in a page": body(
                f"<html>Bearer {KEY}</html>".encode(), "403 Forbidden", Content_Type=f"text/{KEY}"
            ),
            "a request id of 8 kB": say({"message": "no"}, "400 Bad Request", X_Request_Id="r" * 8000),
            "a request id of bytes": raw(
                b"HTTP/1.1 400 Bad\r\nX-Request-Id: \xff\xfe\x1b[31m\r\nContent-Length: 2\r\n\r\n{}"
            ),
        },
    ),
]

EVERY = [
    *((answer, "dashscope") for answer in (*MALFORMED, *ENCODINGS)),  # below the protocol, both gateways are one
    *((answer, gateway) for answer in (*SHAPES, *IDS, *STATUSES) for gateway in ("dashscope", "apiyi")),
]


@pytest.mark.parametrize(("answer", "gateway"), EVERY, ids=str)
def test_a_create_is_sent_once_and_what_came_of_it_is_not_mistaken(
    answer: Answer, gateway: str, server: HostileServer, connect: Callable[..., None]
) -> None:
    connect(server.base_url, gateway)
    server.on(Kind.CREATE, answer.act)
    hook = WanHook("wan_default")
    request = build_video_request(
        gateway=hook.account.gateway, base_url=server.base_url, model="wan2.7-t2v", prompt="a kite"
    )

    with watching(server) as seen, hook.get_conn() as client:
        seen.result = client.create(request)

    kept = {} if seen.result is None else {"id": seen.result.wan_task_id, "request_id": seen.result.request_id}
    require(seen, kept=kept)
    assert seen.outcome in answer.expect
    assert server.count(method="POST") == server.count() == 1
    assert server.sent[Kind.CREATE] <= MAX_ANSWER_BYTES
    if seen.error is not None:
        pause = getattr(seen.error, "retry_after", None)
        assert pause is None or (math.isfinite(pause) and pause >= 0)
        assert unstorable(getattr(seen.error, "request_id", None)) == []
        assert len(str(seen.error)) < 5000
    else:
        assert len(seen.result.wan_task_id) < 1000
