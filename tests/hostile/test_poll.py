"""Lies about a task: a worker's read and a trigger's wait end as they should, and the event loop is never held up."""

from __future__ import annotations

import gzip
import itertools
import json
import time
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
    say,
    shapes,
    with_value,
)
from hostile.server import Kind
from hostile.witness import MAX_ANSWER_BYTES, require, ticking, watching

from airflow_wan.exceptions import WanError
from airflow_wan.hooks.wan import WanHook
from airflow_wan.triggers.wan import WanVideoTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostile.server import HostileServer

# What a wait may become: what the event says, and until when it waits on.
SUCCEEDED, FAILED, LOST, WAITS = "success", "VideoTaskFailed", "VideoTaskLost", "VideoWaitTimeout"
REFUSED = "AuthenticationFailed"

URL = f"https://files.example/video/a.mp4?Expires=1&Signature={SIGNATURE}"
SHORT_WAIT_S, LONG_WAIT_S = 0.15, 30.0


def done(**fields: Any) -> dict[str, Any]:
    """Return DashScope's answer about a task that succeeded."""
    output = {"task_id": WAN_TASK_ID, "task_status": "SUCCEEDED", "video_url": URL, **fields.pop("output", {})}
    return {"request_id": "r-1", "output": output, "usage": {"duration": 5}, **fields}


def in_state(word: Any, **fields: Any) -> dict[str, Any]:
    return {"request_id": "r-1", "output": {"task_id": WAN_TASK_ID, "task_status": word, **fields}}


def apiyi(**fields: Any) -> dict[str, Any]:
    return {"task_id": WAN_TASK_ID, "status": "completed", "result_url": URL, "progress": 100, **fields}


GENUINE = json.dumps(done()).encode()


def answers(expect: tuple[str, ...], **acts: Any) -> list[Answer]:
    return [Answer(name, act, expect) for name, act in acts.items()]


MALFORMED = [Answer(name, act, (SUCCEEDED, WAITS)) for name, act in malformed(GENUINE)]
SHAPES = [Answer(name, act, (WAITS,)) for name, act in shapes(WAN_TASK_ID)]

LARGE = answers(
    (SUCCEEDED, WAITS),
    **{
        "100 MB of text after the task": endless(
            head(Content_Length=100 * MB) + GENUINE[:-1] + b',"x":"', lambda: itertools.repeat(b"x" * 64_000), 100 * MB
        ),
        "100 MB of lists after the task": endless(
            head(Content_Length=100 * MB) + GENUINE[:-1] + b',"x":[',
            lambda: itertools.repeat(b"[]," * 20_000),
            100 * MB,
        ),
        "a gzip bomb after the task": bomb(GENUINE),
        "gzip": body(gzip.compress(GENUINE), Content_Encoding="gzip"),
        "a million small lists": body(with_value(done(x="@"), b"[" + b"[]," * 1_000_000 + b"0]")),
        "a million names": body(
            with_value(done(x="@"), b"{" + b",".join(b'"%d":0' % n for n in range(300_000)) + b"}")
        ),
        "a million names in usage": body(
            with_value(done(usage="@"), b"{" + b",".join(b'"%d":0' % n for n in range(300_000)) + b"}")
        ),
        "a usage nested 400 deep": body(with_value(done(usage="@"), nested(400, b'{"a": %s}'))),
        "a usage nested 100,000 deep": body(with_value(done(usage="@"), nested(100_000, b'{"a": %s}'))),
        "numbers of 5,000 digits": body(with_value(done(x="@"), b"[" + b"9" * 5000 + b"]")),
        "numbers of 4,000 digits, a thousand times": body(
            with_value(done(x="@"), b"[" + b"9" * 4000 + b",9" * 1000 + b"]")
        ),
        "a usage of numbers of 4,000 digits": body(with_value(done(usage={"duration": "@"}), b"9" * 4000)),
        "NaN": body(with_value(done(usage={"duration": "@"}, x="@"), b"NaN")),
        "infinity": body(with_value(done(usage={"duration": "@", "SR": "@"}), b"-Infinity")),
        "a number beyond all floats": body(with_value(done(usage={"duration": "@"}), b"1e400")),
        "a byte order mark": body(b"\xef\xbb\xbf" + GENUINE),
        "UTF-16": body(GENUINE.decode().encode("utf-16")),
        "a prompt of 5 MB": say(done(output={"orig_prompt": "x" * 5 * MB})),
        "a prompt of 180 kB of links": say(done(output={"orig_prompt": "http://a" * 22_500})),
    },
)

# Each of these is quadratic, or worse, for a careless pattern.
EVIL = {
    "letters": "a" * 180_000,
    "blanks": " " * 180_000,
    "colons": "://" * 60_000,
    "questions": "?" * 180_000,
    "quotes": "'http://" * 22_500,
    "users": "https://" + "a:b%40" * 30_000,
    "at signs": "https://" + "@" * 180_000,
    "percents": "%25" * 60_000,
    "percents before slashes": "%253a%252f%252f" * 12_000,
    "keys": "sk-" * 60_000,
    "bearers": "Bearer " * 25_000,
    "codes in brackets": "[" + "A." * 90_000,
    "data": "data:" * 36_000,
    "data of types": "data:a/a;" * 20_000,
    "queries": "https://a/?" + "&Signature=" * 16_000,
    "line ends": "\n" * 180_000,
    "escapes": "\x1b" * 60_000,
    "slashes": "/" * 180_000,
    "dots": "." * 180_000,
}
# What looks like the work of a parser, and may stay unread for that.
LIKE_JSON = {"brackets": "[" * 180_000, "braces": "}{" * 90_000, "commas": "," * 180_000, "quotes": '"[' * 60_000}
WORDS = [
    *answers(
        (FAILED, WAITS),
        **{
            f"180 kB of {name} as text": say(in_state("FAILED", message=text, code=text))
            for name, text in LIKE_JSON.items()
        },
    ),
    *answers(
        (WAITS,),
        **{f"180 kB of {name} as status": say(in_state(text + "x")) for name, text in EVIL.items() if text.strip()},
    ),
    *answers(
        (FAILED,),
        **{
            f"180 kB of {name} as message": say(in_state("FAILED", message=text, code="X"))
            for name, text in EVIL.items()
        },
    ),
    *answers(
        (FAILED,),
        **{f"180 kB of {name} as code": say(in_state("FAILED", message="m", code=text)) for name, text in EVIL.items()},
    ),
    *answers(
        (FAILED,),
        **{
            f"a failure with {name}": say(
                {**in_state("FAILED", message=f"m {text}", code=f"C{text}"), "request_id": text}
            )
            for name, text in UNCLEAN.items()
        },
    ),
    *answers(
        (FAILED,),
        **{
            f"a failure of APIYI with {name}": say(
                apiyi(status="failed", error={"message": f"[C{text}] {text}", "code": text}, fail_reason=text, id=text),
                X_Shellapi_Request_Id="r",
            )
            for name, text in UNCLEAN.items()
        },
    ),
    *answers((WAITS,), **{f"a status with {name}": say(in_state(f"RUN{text}")) for name, text in UNCLEAN.items()}),
    *answers(
        (WAITS,),
        **{
            f"a temporary error with {name}": say(
                {"code": f"InternalError.{text}", "message": text}, "500 Oops", X_Request_Id="r"
            )
            for name, text in UNCLEAN.items()
        },
    ),
    *answers(
        (SUCCEEDED,),
        **{
            f"a success with {name}": say(
                {**done(output={"orig_prompt": text, "actual_prompt": text}), "usage": {text: text}, "request_id": text}
            )
            for name, text in UNCLEAN.items()
        },
    ),
]

STATES = [
    *answers(
        (WAITS,),
        **{
            f"{word!r} as status"[:60]: say(in_state(word))
            for word in (
                "",
                " ",
                "DONE",
                "SUCCEEDED!",
                "SUCC\u0395\u0395DED",
                "NULL",
                "0",
                "SUCCEEDED FAILED",
                "ＦＡＩＬＥＤ",
            )
        },
        **{
            f"{type(word).__name__} {word!r} as status": say(in_state(word))
            for word in (0, 1, True, None, [], ["SUCCEEDED"], {"status": "SUCCEEDED"}, 1.5)
        },
        **{
            "a success of another task": say(done(output={"task_id": OTHER_TASK_ID})),
            "a failure of another task": say(
                {"output": {"task_id": OTHER_TASK_ID, "task_status": "FAILED", "code": "X"}}
            ),
            "a cancel of another task": say({"output": {"task_id": OTHER_TASK_ID, "task_status": "CANCELED"}}),
            "an unknown other task": say({"output": {"task_id": OTHER_TASK_ID, "task_status": "UNKNOWN"}}),
            "a success of another task of APIYI": say(apiyi(task_id=OTHER_TASK_ID)),
            "a failure of another task of APIYI": say(apiyi(task_id=OTHER_TASK_ID, status="failed")),
            "a success of two tasks": say(done(task_id=OTHER_TASK_ID)),
            "a failure of two tasks": say({**in_state("FAILED", code="X", message="m"), "task_id": OTHER_TASK_ID}),
            "a success without a URL": say(in_state("SUCCEEDED")),
            "a success with an empty URL": say(done(output={"video_url": ""})),
            "a success with a list of URLs": say(done(output={"video_url": [URL]})),
            "a success with an object as URL": say(done(output={"video_url": {"url": URL}})),
            "a success with true as URL": say(done(output={"video_url": True})),
            "a success under 500": say(done(), "500 Internal Server Error"),
            "a success under 404": say(done(), "404 Not Found"),
            "a success under 302": say(done(), "302 Found", Location="/api/v1/elsewhere"),
            "a failure under 500": say(in_state("FAILED", code="X", message="m"), "500 Internal Server Error"),
            "a failure under 502": say(in_state("FAILED", code="InvalidParameter", message="m"), "502 Bad Gateway"),
            "a redirect": say({}, "307 Temporary Redirect", Location="/api/v1/elsewhere"),
            "a redirect with a signature": say(
                {}, "302 Found", Location=f"https://u:pa55w0rd@files.example/?Signature={SIGNATURE}"
            ),
            "a bare 404": body(b"", "404 Not Found"),
            "a page under 404": body(b"<html>Not Found</html>", "404 Not Found", Content_Type="text/html"),
            "204": body(b"", "204 No Content"),
            "a login page": body(b"<html>Please log in</html>", "200 OK", Content_Type="text/html"),
            "a pause without end": say({"code": "Throttling", "message": "m"}, "429 Slow", Retry_After="inf"),
            "a pause of NaN": say({"code": "Throttling", "message": "m"}, "429 Slow", Retry_After="NaN"),
            "a pause of 400 digits": say({"code": "Throttling", "message": "m"}, "429 Slow", Retry_After="9" * 400),
            "a pause until the year 99999": say({}, "503 Wait", Retry_After="Fri, 31 Dec 99999 23:59:59 GMT"),
        },
    ),
    *answers(
        (SUCCEEDED, WAITS),
        **{
            "progress of 400 digits": body(with_value(apiyi(progress="@"), b"9" * 400)),
            "progress of NaN": body(with_value(apiyi(progress="@"), b"NaN")),
            "progress of a list": say(apiyi(progress=[100])),
            "progress of 1e9 percent": say(apiyi(progress="1e9%")),
            "a status of both kinds": say({**done(), "status": "in_progress"}),
            "a success of the year 1": say(
                done(output={"submit_time": "0001-01-01 00:00:00", "end_time": "0001-01-01"})
            ),
            "a success of the year 9999": say(
                done(output={"submit_time": "9999-12-31 23:59:59.999", "end_time": "9999-12-31T23:59:59-12:00"})
            ),
            "a success of no time": say(done(output={"submit_time": "\0", "end_time": "25:61", "scheduled_time": 5})),
            "an upper-case success of APIYI": say(apiyi(status=" COMPLETED\n")),
            "a success in data of data": say({"data": {"data": done()}}),
            "an error beside the success": say(
                {**done(), "error": {"message": "m", "code": "c"}, "code": "InvalidParameter"}
            ),
        },
    ),
    *answers(
        (REFUSED,),
        **{
            "the key in a refusal": say(
                {"code": "InvalidApiKey", "message": f"Invalid key {KEY}"}, "401 Unauthorized", X_Request_Id=KEY
            ),
            "a bare 401": body(b"", "401 Unauthorized"),
        },
    ),
    *answers(
        (LOST, WAITS),
        **{"a task that does not exist": say({"code": "task_not_exist", "message": f"no {KEY}"}, "400 Bad")},
    ),
]

EVERY = [*MALFORMED, *SHAPES, *LARGE, *WORDS, *STATES]


def trigger(wait_s: float) -> WanVideoTrigger:
    now = time.time()
    return WanVideoTrigger(
        wan_task_id=WAN_TASK_ID, wan_conn_id="wan_default", started=now, deadline=now + wait_s, poll_interval=0.05
    )


@pytest.mark.parametrize("answer", EVERY, ids=str)
async def test_a_trigger_is_not_held_up_and_its_event_can_be_kept(
    answer: Answer, server: HostileServer, connect: Callable[..., None]
) -> None:
    connect(server.base_url)
    server.on(Kind.POLL, answer.act)

    with watching(server) as seen:
        async with ticking(server, seen):
            waiting = trigger(SHORT_WAIT_S if WAITS in answer.expect else LONG_WAIT_S)
            seen.result = [event.payload async for event in waiting.run()]

    require(seen, kept=seen.result)
    assert seen.error is None
    (event,) = seen.result
    assert event.get("error", {}).get("kind", event["status"]) in answer.expect
    assert event["status"] == "error" or "://" not in str(event).replace(server.base_url, "")
    _check_requests(server)


@pytest.mark.parametrize("answer", EVERY, ids=str)
def test_a_worker_reads_a_task_or_learns_why_not(
    answer: Answer, server: HostileServer, connect: Callable[..., None]
) -> None:
    connect(server.base_url)
    server.on(Kind.POLL, answer.act)

    with watching(server) as seen, WanHook("wan_default").get_conn() as client:
        seen.result = client.get_task(WAN_TASK_ID)

    require(seen, held=_held(seen.result))
    if SUCCEEDED not in answer.expect:
        assert getattr(seen.result, "status", None) != "succeeded" or not seen.result.video_url
    if FAILED not in answer.expect:
        assert getattr(seen.result, "status", None) not in ("failed", "canceled")
    if isinstance(seen.error, WanError):
        assert len(str(seen.error)) < 5000
    _check_requests(server)


def _held(task: Any) -> Any:
    """Return what is known of a task, but for its URL."""
    if task is None:
        return None
    times = [str(moment) for moment in (task.submitted_at, task.started_at, task.ended_at)]
    texts = [task.wan_task_id, task.status.value, task.status_word, task.code, task.message, task.request_id]
    return [*texts, task.orig_prompt, task.actual_prompt, dict(task.usage), task.progress, times]


def _check_requests(server: HostileServer) -> None:
    """Nothing but reads of this one task came, and none took too much."""
    assert server.count() == server.count(Kind.POLL) >= 1
    assert {request.target.rpartition("/")[2] for request in server.requests} == {WAN_TASK_ID}
    assert server.sent[Kind.POLL] <= MAX_ANSWER_BYTES * server.count()
