"""Lies about the list of tasks, and about a cancel: the first may name anything, the second decides over money."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hostile.answers import (
    KEY,
    OTHER_TASK_ID,
    SIGNATURE,
    UNCLEAN,
    WAN_TASK_ID,
    Answer,
    body,
    malformed,
    nested,
    say,
    shapes,
    with_value,
)
from hostile.server import Kind
from hostile.witness import MAX_ANSWER_BYTES, require, watching

from airflow_wan.api.client import CLOCK_SLACK_S, MAX_LIST_PAGES
from airflow_wan.hooks.wan import WanHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostile.server import HostileServer

NOW_MS = int(time.time() * 1000)
ROW = {"task_id": WAN_TASK_ID, "status": "RUNNING", "model_name": "wan2.7-t2v", "gmt_create": NOW_MS}


def listed(*rows: Any, **fields: Any) -> dict[str, Any]:
    return {"total": len(rows), "total_page": 1, "page_no": 1, "request_id": "r", "data": list(rows), **fields}


def answers(acts: dict[str, Any], *expect: str) -> list[Answer]:
    return [Answer(name, act, expect) for name, act in acts.items()]


GENUINE_LIST = json.dumps(listed(ROW)).encode()
LISTS = [
    *answers(dict(malformed(GENUINE_LIST))),
    *answers(dict(shapes(WAN_TASK_ID))),
    *answers(
        {
            **{
                f"{value!r:.30} pages": say(listed(ROW, total_page=value))
                for value in (0, -1, 10**9, True, None, "many", [], {}, 1.5, int("9" * 400))
            },
            "infinite pages": body(with_value(listed(ROW, total_page="@"), b"Infinity")),
            "rows that are no objects": say(listed(1, "x", None, [], [[]], True)),  # noqa: FBT003
            "rows without an id": say(listed({"gmt_create": NOW_MS})),
            "ids of all kinds": say(
                listed(
                    *({**ROW, "task_id": value} for value in (1, True, [], {}, "", " ", "\0", "../..", "x" * 70_000))
                )
            ),
            **{
                f"an id with {name}": say(listed({**ROW, "task_id": f"{WAN_TASK_ID}{text}"}))
                for name, text in UNCLEAN.items()
            },
            "times of all kinds": say(
                listed(*({**ROW, "gmt_create": value} for value in (0, -1, True, "now", [], 10**30, -(10**30), 1e308)))
            ),
            "a time that is no number": body(with_value(listed({**ROW, "gmt_create": "@"}), b"NaN")),
            "an infinite time": body(with_value(listed({**ROW, "gmt_create": "@"}), b"-Infinity")),
            "a time of 400 digits": body(with_value(listed({**ROW, "gmt_create": "@"}), b"9" * 400)),
            "a hundred thousand rows": say(listed(*[{"task_id": "x", "gmt_create": NOW_MS}] * 100_000)),
            "a row with a million names": body(
                with_value(listed("@"), b"{" + b",".join(b'"%d":0' % number for number in range(300_000)) + b"}")
            ),
            "a row nested 100,000 deep": body(with_value(listed("@"), nested(100_000))),
            "rows in place of a list": say(listed(data={"0": ROW})),
            "no rows and the key": say({"message": f"no such key: {KEY}", "code": KEY}, "401 Unauthorized"),
            "a redirect": say({}, "302 Found", Location=f"https://files.example/?Signature={SIGNATURE}"),
        }
    ),
]


@pytest.mark.parametrize("answer", LISTS, ids=str)
def test_a_list_is_read_within_bounds(answer: Answer, server: HostileServer, connect: Callable[..., None]) -> None:
    connect(server.base_url)
    server.on(Kind.LIST, answer.act)
    since = NOW_MS / 1000 - 60
    until = NOW_MS / 1000 + 60

    with watching(server) as seen, WanHook("wan_default").get_conn() as client:
        seen.result = client.list_tasks("wan2.7-t2v", since=since, until=until)

    rows = seen.result or []
    require(seen, kept=[[row.wan_task_id, row.created_at] for row in rows])
    assert all(row.wan_task_id.strip() and since - 1 <= row.created_at <= until + CLOCK_SLACK_S for row in rows)
    assert server.count() == server.count(Kind.LIST) <= MAX_LIST_PAGES
    assert server.sent[Kind.LIST] <= MAX_ANSWER_BYTES * server.count()


BELIEVED, NOT_BELIEVED = "NoneType", "not canceled"
GENUINE_CANCEL = b'{"request_id": "r-1"}'
CANCELS = [
    *answers(dict(malformed(GENUINE_CANCEL)), BELIEVED, NOT_BELIEVED),
    *answers(dict(shapes(WAN_TASK_ID)), NOT_BELIEVED),
    *answers(
        {
            "what DashScope answers": body(GENUINE_CANCEL),
            "what DashScope might answer": say(
                {"request_id": "r", "output": {"task_id": WAN_TASK_ID, "task_status": "CANCELED"}}
            ),
        },
        BELIEVED,
        NOT_BELIEVED,
    ),
    *answers(
        {
            **{f"{status} without a body": body(b"", f"{status} Whatever") for status in (200, 201, 202, 206, 299)},
            "204": body(b"", "204 No Content"),
            "205": body(b"", "205 Reset Content"),
            "202 with an answer": body(GENUINE_CANCEL, "202 Accepted"),
            "a page": body(b"<html>Welcome</html>", Content_Type="text/html"),
            "an empty request id": say({"request_id": ""}),
            "true as request id": say({"request_id": True}),
            "a list as request id": say({"request_id": ["r"]}),
            "a refusal under 200": say({"request_id": "r", "code": "UnsupportedOperation", "message": "it runs"}),
            "a message under 200": say({"request_id": "r", "message": "Failed to cancel the task"}),
            "an error under 200": say({"request_id": "r", "error": {"message": "it runs"}}),
            "another task": say({"request_id": "r", "output": {"task_id": OTHER_TASK_ID, "task_status": "CANCELED"}}),
            "the task runs": say({"request_id": "r", "output": {"task_id": WAN_TASK_ID, "task_status": "RUNNING"}}),
            "the task has succeeded": say(
                {"request_id": "r", "output": {"task_id": WAN_TASK_ID, "task_status": "SUCCEEDED"}}
            ),
            "a cancel under 500": body(GENUINE_CANCEL, "500 Internal Server Error"),
            "a cancel under 404": body(GENUINE_CANCEL, "404 Not Found"),
            "a cancel under 303": body(GENUINE_CANCEL, "303 See Other", Location="/api/v1/elsewhere"),
            "a redirect that keeps the method": say({}, "307 Temporary Redirect", Location="/api/v1/elsewhere"),
            "a redirect for good": say(
                {}, "308 Permanent Redirect", Location=f"https://u:pa55w0rd@files.example/?Signature={SIGNATURE}"
            ),
            "the key in a refusal": say({"code": "InvalidApiKey", "message": f"Bearer {KEY}"}, "401 Unauthorized"),
            **{
                f"a refusal with {name}": say({"code": text, "message": text, "request_id": text}, "400 Bad Request")
                for name, text in UNCLEAN.items()
            },
        },
        NOT_BELIEVED,
    ),
]


@pytest.mark.parametrize("answer", CANCELS, ids=str)
def test_a_cancel_is_sent_once_and_not_believed_on_a_lie(
    answer: Answer, server: HostileServer, connect: Callable[..., None]
) -> None:
    connect(server.base_url)
    server.on(Kind.CANCEL, answer.act)

    with watching(server) as seen, WanHook("wan_default").get_conn() as client:
        client.cancel(WAN_TASK_ID)

    require(seen)
    assert (BELIEVED if seen.error is None else NOT_BELIEVED) in answer.expect
    assert server.count() == server.count(Kind.CANCEL) == 1
    assert server.sent[Kind.CANCEL] <= MAX_ANSWER_BYTES


@pytest.mark.parametrize("answer", [one for one in CANCELS if BELIEVED not in one.expect], ids=str)
def test_a_kill_does_not_say_that_nothing_is_billed(
    answer: Answer, server: HostileServer, connect: Callable[..., None]
) -> None:
    connect(server.base_url)
    server.on(Kind.CANCEL, answer.act)

    with watching(server) as seen:
        WanHook("wan_default").cancel_task(WAN_TASK_ID, wanted=True)

    require(seen)
    assert seen.error is None
    assert not [line for line in map(str, (record.msg for record in seen.records)) if "will not be billed" in line]
    assert server.count() == 1
