"""Looks connections up for many triggers of one process: once for all that ask at the same time.

A look-up goes to Airflow's execution API through the supervisor of the triggerer, which is slow; a thousand triggers
that start together ask for the same connection.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_wan.hooks.wan import WanHook
from airflow_wan.waiting.per_loop import of_running_loop

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from airflow_wan.api.gateways import Account

KNOWN_FOR_S = 1.0
"""Seconds for which the result of a look-up is used again, an error too."""

MOST_LOOK_UPS = 4
"""Connections that are looked up at a time."""

LONGEST_LOOK_UP_S = 180.0
"""Seconds within which Airflow must give the connection."""


@dataclass(slots=True)
class _LookUps:
    """The look-ups of one event loop, by connection id: when each began, and what it gives."""

    begun: dict[str, tuple[float, asyncio.Task[Account]]] = field(default_factory=dict, repr=False)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_LOOK_UPS))


_of_loops: dict[AbstractEventLoop, _LookUps] = {}


async def look_up_account(wan_conn_id: str) -> Account:
    """Return the account of a connection, as it was looked up within the last second.

    A caller that is canceled leaves the look-up to the others.

    :param wan_conn_id: id of the Airflow connection.
    :raises WanConnectionError: when there is no such connection, or it cannot be used.
    :raises Exception: what Airflow raises while it cannot be asked.
    """
    look_ups = of_running_loop(_of_loops, _LookUps)
    known = look_ups.begun.get(wan_conn_id)
    if known is None or _is_too_old(*known):
        look_up = asyncio.get_running_loop().create_task(_look_up(wan_conn_id, look_ups.slots))
        look_up.add_done_callback(_retrieve)
        known = look_ups.begun[wan_conn_id] = time.monotonic(), look_up
    return await asyncio.shield(known[1])


def _is_too_old(begun: float, look_up: asyncio.Task[Account]) -> bool:
    return look_up.cancelled() or (look_up.done() and time.monotonic() - begun > KNOWN_FOR_S)


async def _look_up(wan_conn_id: str, slots: asyncio.Semaphore) -> Account:
    async with slots, asyncio.timeout(LONGEST_LOOK_UP_S):
        return await WanHook(wan_conn_id).get_async_account()


def _retrieve(look_up: asyncio.Task[Account]) -> None:
    """Take note of an error, so that asyncio does not log it when everyone who asked has left."""
    if not look_up.cancelled():
        look_up.exception()
