"""The time by which every request to the emulator is handled later, as by a gateway that is far away or busy."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_CONTROLS = "/_emulator/"


@dataclass
class Latency:
    """Seconds of real time; any thread may change them."""

    seconds: float = 0.0


class LatencyMiddleware:
    """Waits before each request is handled, the emulator's own controls excepted.

    A client that has gone by then changes nothing: its request is handled, as by a gateway.
    """

    def __init__(self, app: ASGIApp, latency: Latency) -> None:
        self._app = app
        self._latency = latency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, and hand the request on."""
        if self._latency.seconds and not scope.get("path", "").startswith(_CONTROLS):
            await asyncio.sleep(self._latency.seconds)
        await self._app(scope, receive, send)
