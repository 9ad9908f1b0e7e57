"""Keeps things that belong to one event loop, for as long as the loop is open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

T = TypeVar("T")


def of_running_loop(kept: dict[AbstractEventLoop, T], make: Callable[[], T]) -> T:
    """Return what is kept for the running event loop, made if there is nothing yet; forget that of closed loops.

    Tasks refer to their loop, so that a weak reference to the loop would not do.

    :param kept: what is kept, by loop.
    :param make: makes it for a new loop.
    """
    for loop in [loop for loop in kept if loop.is_closed()]:
        del kept[loop]
    running = asyncio.get_running_loop()
    if running not in kept:
        kept[running] = make()
    return kept[running]
