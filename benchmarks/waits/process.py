"""Waits for videos in one of the ways, in a process of its own, and tells what that cost.

It reads lines of JSON: lists of task ids to wait for, and null when no more will come. It writes its result as JSON.
"""

from __future__ import annotations

import fast_clock

TIMES_FASTER = fast_clock.install()

import argparse  # noqa: E402
import asyncio  # noqa: E402
import gc  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ways import WAYS  # noqa: E402

STARTS_PER_S = 50
"""How many triggers a triggerer starts at a time; it looks for new ones about every second."""

_BEAT_S = 0.01
_WORTH_NOTING_S = 0.001
_WORST_CALLBACKS = 3


class LoopWatch:
    """How long the event loop is held up, in real time, and by what."""

    def __init__(self) -> None:
        self.latest_s = 0.0
        self.worst: dict[str, float] = {}
        self.longest_collection_s = 0.0
        self._collected_s = 0.0
        self._collects_since = 0.0

    def install(self) -> None:
        """Time every callback of every event loop of this process, and Python's garbage collections by themselves."""
        gc.callbacks.append(self._note_collection)
        run = asyncio.Handle._run  # noqa: SLF001  # the one place through which every callback goes

        def timed(handle: asyncio.Handle) -> None:
            cpu, collected_s = time.thread_time(), self._collected_s
            run(handle)
            cpu_s = time.thread_time() - cpu - (self._collected_s - collected_s)
            if cpu_s > _WORTH_NOTING_S:
                self._note(handle, cpu_s)

        asyncio.Handle._run = timed  # type: ignore[method-assign]  # noqa: SLF001

    def _note_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._collects_since = time.thread_time()
            return
        took_s = time.thread_time() - self._collects_since
        self._collected_s += took_s
        self.longest_collection_s = max(self.longest_collection_s, took_s)

    def _note(self, handle: asyncio.Handle, cpu_s: float) -> None:
        owner = getattr(handle._callback, "__self__", None)  # noqa: SLF001
        code = owner.get_coro() if isinstance(owner, asyncio.Task) else handle._callback  # noqa: SLF001
        name = getattr(code, "__qualname__", repr(code))
        self.worst[name] = max(self.worst.get(name, 0.0), cpu_s)

    async def beat(self) -> None:
        """Measure how late a callback is that should come every 10 ms."""
        while True:
            began = fast_clock.real_monotonic()
            await asyncio.sleep(_BEAT_S * TIMES_FASTER)
            self.latest_s = max(self.latest_s, fast_clock.real_monotonic() - began - _BEAT_S)

    def told(self) -> dict[str, Any]:
        """Return the longest delay, the longest steps and the longest collection, in milliseconds.

        Steps and collections are counted in processor time, so that other load on the machine does not count.
        """
        worst = sorted(self.worst.items(), key=lambda item: item[1], reverse=True)[:_WORST_CALLBACKS]
        return {
            "worst_block_ms": self.latest_s * 1000,
            "longest_steps_ms": {name: round(cpu_s * 1000, 1) for name, cpu_s in worst},
            "longest_collection_ms": self.longest_collection_s * 1000,
        }


async def wait_for_all(way: str, base_url: str, key: str, limit_s: float) -> dict[str, Any]:
    """Wait for every task that the standard input names, or until the time is over."""
    wait = WAYS[way](base_url, key)
    noticed: dict[str, float] = {}
    failed: list[str] = []
    watch = LoopWatch()
    watch.install()

    async def one(task_id: str) -> None:
        if await wait(task_id):
            noticed[task_id] = time.time()
        else:
            failed.append(task_id)

    print("ready", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is logged from now on costs its time, too
    beating = asyncio.create_task(watch.beat())
    waits = set()
    began = None
    while (task_ids := json.loads(await asyncio.to_thread(sys.stdin.readline))) is not None:
        began = began or _cpu_s()
        for first in range(0, len(task_ids), STARTS_PER_S):
            waits |= {asyncio.create_task(one(task_id)) for task_id in task_ids[first : first + STARTS_PER_S]}
            await asyncio.sleep(1)
    _, unfinished = await asyncio.wait(waits, timeout=limit_s)
    beating.cancel()
    return {
        "noticed": noticed,
        "failed": failed,
        "unfinished": len(unfinished),
        "stopped_at": time.time(),
        "cpu_s": _cpu_s() - (began or 0.0),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        **watch.told(),
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Wait, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=list(WAYS))
    parser.add_argument("base_url")
    parser.add_argument("key")
    parser.add_argument("limit_s", type=float, help="seconds after which it stops waiting, by its own clock")
    parser.add_argument("result", type=Path)
    options = parser.parse_args()
    result = asyncio.run(wait_for_all(options.way, options.base_url, options.key, options.limit_s))
    options.result.write_text(json.dumps(result))
    os._exit(0)  # threads that still wait would hold the process up


if __name__ == "__main__":
    main()
