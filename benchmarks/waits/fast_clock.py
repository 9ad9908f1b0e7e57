"""A clock that runs faster in one process: for its code, its sleeps and its event loops alike.

A wait of an hour then takes a minute, and every interval stays as long as it is in the code. What it does not make
faster is the machine: the work between two intervals seems that much slower. Import and install it before all others.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import time

_VARIABLE = "WAITS_CLOCK"
# The real clocks, for what is measured of the machine itself.
real_sleep = time.sleep
real_monotonic = time.monotonic


def variable(times: float) -> dict[str, str]:
    """Return the environment variable with which processes have one clock together.

    :param times: how many times faster than the real clock it runs from now on.
    """
    return {_VARIABLE: f"{times},{time.time()},{time.monotonic()}"}


def install() -> float:
    """Make this process's clock as fast as its environment says; return how many times faster it is."""
    times, wall, ticks = map(float, os.environ.get(_VARIABLE, "1,0,0").split(","))
    if times == 1:
        return times
    real_time = time.time
    time.time = lambda: wall + (real_time() - wall) * times
    time.monotonic = lambda: ticks + (real_monotonic() - ticks) * times
    time.sleep = lambda seconds: real_sleep(seconds / times)

    class FastSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]  # a name for one of several classes
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            return super().select(timeout / times if timeout else timeout)

    class FastPolicy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return asyncio.SelectorEventLoop(FastSelector())

    asyncio.set_event_loop_policy(FastPolicy())
    return times
