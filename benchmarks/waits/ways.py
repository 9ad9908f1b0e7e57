"""The ways to wait that are compared; each is a coroutine that ends when its video is finished."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from httpx import Response

    Wait = Callable[[str], Awaitable[bool]]

CONN_ID = "wan_waits"
POLL_EVERY_S = 10.0
TIMEOUT_S = 60.0
LONGEST_WAIT_S = 6 * 3600.0
# What Airflow would keep of the videos, for triggers that take it.
_KNOWN = {"model": "wan2.7-t2v", "resolution": "720P", "duration": 5}


def ours(base_url: str, key: str) -> Wait:
    """Return the wait of WanVideoTrigger, run as a triggerer runs it; the connection is an Airflow connection."""
    os.environ[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = (
        f'{{"conn_type": "wan", "password": "{key}", "host": "{base_url}", "extra": {{"gateway": "dashscope"}}}}'
    )
    import airflow.jobs.triggerer_job_runner  # noqa: F401, PLC0415 - what a triggerer has loaded before any trigger runs

    from airflow_wan.triggers.wan import WanVideoTrigger  # noqa: PLC0415 - each process needs one of the ways

    taken = inspect.signature(WanVideoTrigger).parameters
    known = {name: value for name, value in _KNOWN.items() if name in taken}

    async def wait(task_id: str) -> bool:
        now = time.time()
        trigger = WanVideoTrigger(
            wan_task_id=task_id,
            wan_conn_id=CONN_ID,
            started=now,
            deadline=now + LONGEST_WAIT_S,
            base_url=base_url,
            **known,
        )
        async for event in trigger.run():
            return bool(event.payload["status"] == "success")
        return False

    return wait


def thread_per_poll(base_url: str, key: str) -> Wait:
    """Return the wait of a trigger that reads every 10 s with a client of its own, in a thread."""
    import httpx  # noqa: PLC0415

    async def wait(task_id: str) -> bool:
        with await asyncio.to_thread(httpx.Client, headers=_headers(key), timeout=TIMEOUT_S) as client:
            while True:
                await asyncio.sleep(POLL_EVERY_S)
                with suppress(httpx.TransportError):
                    if _has_ended(await asyncio.to_thread(client.get, _url(base_url, task_id))):
                        return True

    return wait


def client_per_poll(base_url: str, key: str) -> Wait:
    """Return the wait of a trigger that reads every 10 s on the event loop, with a new client each time."""
    import httpx  # noqa: PLC0415

    async def wait(task_id: str) -> bool:
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            with suppress(httpx.TransportError):
                async with httpx.AsyncClient(headers=_headers(key), timeout=TIMEOUT_S) as client:
                    if _has_ended(await client.get(_url(base_url, task_id))):
                        return True

    return wait


def fixed_interval(base_url: str, key: str) -> Wait:
    """Return the wait of a trigger that reads every 10 s on the event loop; all share one client."""
    import httpx  # noqa: PLC0415

    client = httpx.AsyncClient(headers=_headers(key), timeout=None)

    async def wait(task_id: str) -> bool:
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            with suppress(httpx.TransportError):
                if _has_ended(await client.get(_url(base_url, task_id))):
                    return True

    return wait


def sdk(base_url: str, key: str) -> Wait:
    """Return the wait of Alibaba's SDK, each in a thread as long as it lasts."""
    import dashscope  # noqa: PLC0415

    dashscope.base_http_api_url = f"{base_url}/api/v1"
    threads = ThreadPoolExecutor(max_workers=2000)

    def block(task_id: str) -> bool:
        answer = dashscope.VideoSynthesis.wait(task_id, api_key=key)
        return bool(answer.status_code == HTTPStatus.OK and answer.output.task_status == "SUCCEEDED")

    async def wait(task_id: str) -> bool:
        return await asyncio.get_running_loop().run_in_executor(threads, block, task_id)

    return wait


WAYS: Mapping[str, Callable[[str, str], Wait]] = {
    "ours": ours,
    "thread per poll": thread_per_poll,
    "client per poll": client_per_poll,
    "fixed 10 s": fixed_interval,
    "dashscope SDK": sdk,
}


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _url(base_url: str, task_id: str) -> str:
    return f"{base_url}/api/v1/tasks/{task_id}"


def _has_ended(answer: Response) -> bool:
    """Return whether the video is there; a refused read is no end, and the next one comes as always."""
    return bool(answer.status_code == HTTPStatus.OK and answer.json()["output"]["task_status"] == "SUCCEEDED")
