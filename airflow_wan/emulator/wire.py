"""What HTTP does not offer and a bad network does: answers cut short, and connections that end without one.

The web server keeps an application away from its sockets. This is the one place that reaches them: a protocol class
for uvicorn, over either of its parsers, that hands each request its connection in the ASGI `state`.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.types import Receive, Scope, Send

    # One of the two; the other has the same methods.
    from uvicorn.protocols.http.h11_impl import H11Protocol as AutoHTTPProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

_STATE = "airflow_wan.emulator.wire"
_FLUSH_TICK_S = 0.005
# On, and lingering for 0 seconds: the kernel then ends the connection with RST and not with FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Wire:
    """The TCP connection under a request."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._answers_at_fault = 0

    @classmethod
    def under(cls, scope: Scope) -> Wire:
        """Return the connection of a request."""
        wire = scope.get("state", {}).get(_STATE)
        if not isinstance(wire, cls):
            raise TypeError("Faults need the emulator's web server: uvicorn with http=WireProtocol.")
        return wire

    @contextmanager
    def at_fault(self) -> Iterator[None]:
        """Mark an answer that may never end, which a server that shuts down must not wait for."""
        self._answers_at_fault += 1
        try:
            yield
        finally:
            self._answers_at_fault -= 1

    def shut_down(self) -> None:
        """End the connection if it is at fault."""
        if self._answers_at_fault:
            self._transport.abort()

    async def wait(self, receive: Receive, event: asyncio.Event, seconds: float | None = None) -> bool:
        """Wait for the event or the time, whichever is first; return at once, and False, when the client goes away."""
        waits = [asyncio.create_task(_until_gone(receive)), asyncio.create_task(event.wait())]
        try:
            with self.at_fault():
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return not waits[0].done()
        finally:
            for wait in waits:
                wait.cancel()

    async def close(self, receive: Receive, tail: bytes = b"") -> None:
        """Close the connection after what was sent, and after `tail`, which goes out as it is."""
        with self.at_fault():
            if tail:
                self._transport.write(tail)
            self._transport.close()
            await _until_gone(receive)

    async def reset(self, receive: Receive) -> None:
        """Break the connection with a TCP reset once the client's side has what was sent."""
        with self.at_fault():
            await self._flushed()
            if not self._transport.is_closing():
                tcp: socket.socket = self._transport.get_extra_info("socket")
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
            await _until_gone(receive)

    async def _flushed(self) -> None:
        # A reset throws away what still waits on this side, in the transport or in the kernel.
        while not self._transport.is_closing() and (self._transport.get_write_buffer_size() or self._unsent_bytes()):  # noqa: ASYNC110
            await asyncio.sleep(_FLUSH_TICK_S)  # the kernel tells nobody when its queue is empty

    def _unsent_bytes(self) -> int:
        tcp: socket.socket = self._transport.get_extra_info("socket")
        answer = fcntl.ioctl(tcp.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])


class WireProtocol(AutoHTTPProtocol):
    """uvicorn's protocol; each request's scope names its connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin a connection."""
        super().connection_made(transport)
        self._wire = Wire(transport)
        # uvicorn gives every request a copy of it.
        self.app_state = {**self.app_state, _STATE: self._wire}

    def shutdown(self) -> None:
        """End the connection with the server."""
        super().shutdown()
        self._wire.shut_down()


class Dropped(Response):
    """The end of the connection in the place of an answer."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Say nothing."""
        wire = Wire.under(scope)
        await (wire.reset(receive) if self._reset else wire.close(receive))


@dataclass(frozen=True)
class Stop:
    """An answer stopped on its way: its connection, and the bytes not yet sent."""

    wire: Wire
    rest: bytes
    receive: Receive
    send: Send


class Faltering(Response):
    """An answer of which `at_bytes` are sent, and then what `then` makes of the rest."""

    def __init__(self, whole: Response, at_bytes: int, then: Callable[[Stop], Awaitable[None]]) -> None:
        super().__init__(whole.body, whole.status_code)
        self.raw_headers = whole.raw_headers
        self._at_bytes = at_bytes
        self._then = then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the beginning, and hand over."""
        body = bytes(self.body)
        wire = Wire.under(scope)
        with wire.at_fault():
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": body[: self._at_bytes], "more_body": True})
            await self._then(Stop(wire, body[self._at_bytes :], receive, send))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
