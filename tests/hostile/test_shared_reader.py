"""Lies of a list of tasks to a reader that many waits share: no lie ends a wait, and none keeps the truth from it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hostile.answers import KEY, OTHER_TASK_ID, SIGNATURE, UNCLEAN, Answer, body, malformed, nested, say, with_value
from hostile.server import Kind, Peer
from hostile.witness import require, ticking, watching

from airflow_wan.triggers import wan as trigger_module
from airflow_wan.triggers.wan import WanVideoTrigger
from airflow_wan.waiting import listing, shared_reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostile.server import HostileServer

WAITS = 8
NAMES = [f"b0000000-0000-4000-8000-{number:012}" for number in range(WAITS)]
NOW_MS = int(time.time() * 1000)


def row(name: Any, status: Any = "RUNNING", **fields: Any) -> dict[str, Any]:
    return {"task_id": name, "status": status, "gmt_create": NOW_MS, **fields}


def listed(*rows: Any, **fields: Any) -> dict[str, Any]:
    return {"total": len(rows), "total_page": 1, "data": list(rows), **fields}


GENUINE = listed(*map(row, NAMES))

LIES = [
    *(Answer(name, act, ()) for name, act in malformed(json.dumps(GENUINE).encode())),
    *(
        Answer(name, act, ())
        for name, act in {
            "all have succeeded": say(listed(*(row(name, "SUCCEEDED") for name in NAMES))),
            "all have failed": say(listed(*(row(name, "FAILED") for name in NAMES))),
            "none is known": say(listed(*(row(name, "UNKNOWN") for name in NAMES))),
            "all is said at once": say(
                listed(*(row(name, status) for name in NAMES for status in ("PENDING", "SUCCEEDED", "FAILED")))
            ),
            "a word that nobody knows": say(listed(*(row(name, f"sleeping {UNCLEAN}") for name in NAMES))),
            "states that are none": say(listed(*(row(name, []) for name in NAMES))),
            "times beyond all time": say(listed(*(row(name, start_time=10**400, end_time=-1) for name in NAMES))),
            "another's tasks": say(listed(*(row(OTHER_TASK_ID, "SUCCEEDED") for _ in range(100)))),
            "no rows": say(listed()),
            "pages without end": say({**GENUINE, "total": 10**9, "total_page": 10**9}),
            "a signed URL and the key": say(
                listed(row(NAMES[0], "SUCCEEDED", video_url=f"https://f.example/x?Signature={SIGNATURE}", message=KEY))
            ),
            "3,000 rows": say(listed(*(row(f"x-{n}") for n in range(3000)))),
            "a million rows": body(with_value(listed("@"), b"{}" + b",{}" * 1_000_000)),
            "rows nested 100,000 deep": body(with_value(listed("@"), nested(100_000, b"[%s]"))),
            "the words of a refusal": say({"code": "AccessDenied", "message": f"no, {KEY} {UNCLEAN}"}),
        }.items()
    ),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the list be read as often as it is wanted, and compared with the tasks soon."""
    monkeypatch.setattr(trigger_module, "FIRST_READ_S", 0.0)
    monkeypatch.setattr(shared_reader, "SWEEP_EVERY_S", 0.05)
    monkeypatch.setattr(shared_reader, "AUDIT_EVERY_S", 0.1)
    monkeypatch.setattr(listing, "LONGEST_LAG_S", 0.2)


class Truth:
    """What the tasks themselves are: running, until they are done."""

    def __init__(self) -> None:
        self.is_done = False

    def __call__(self, peer: Peer) -> None:
        assert peer.request is not None
        name = peer.request.target.rpartition("/")[2]
        output: dict[str, Any] = {"task_id": name, "task_status": "RUNNING"}
        if self.is_done:
            output |= {"task_status": "SUCCEEDED", "video_url": "https://files.example/x.mp4"}
        say({"request_id": "r", "output": output})(peer)


async def events(truth: Truth, server: HostileServer) -> list[dict[str, Any]]:
    """Wait for all tasks, which are done once the list has lied and each was read or looked for."""
    now = time.time()

    async def event_of(name: str) -> dict[str, Any]:
        waiting = WanVideoTrigger(
            wan_task_id=name, wan_conn_id="wan_default", started=now, deadline=now + 60, poll_interval=0.2
        )
        (event,) = [event.payload async for event in waiting.run()]
        return event

    waits = [asyncio.create_task(event_of(name)) for name in NAMES]
    async with asyncio.timeout(30):
        while server.count(Kind.LIST) < 1:  # noqa: ASYNC110 - the server runs in threads
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    early = [wait for wait in waits if wait.done()]
    truth.is_done = True
    async with asyncio.timeout(30):
        ended = await asyncio.gather(*waits)
    assert not early, "a lie has ended a wait"
    return ended


@pytest.mark.parametrize("lie", LIES, ids=str)
async def test_no_lie_of_the_list_ends_a_wait_or_keeps_the_truth_from_it(
    lie: Answer, server: HostileServer, connect: Callable[..., None]
) -> None:
    connect(server.base_url)
    truth = Truth()
    server.on(Kind.LIST, lie.act)
    server.on(Kind.POLL, truth)

    with watching(server) as seen:
        async with ticking(server, seen):
            seen.result = await events(truth, server)

    require(seen, kept=seen.result)
    assert seen.error is None
    assert {event["status"] for event in seen.result} == {"success"}
    assert not server.count(method="POST")
