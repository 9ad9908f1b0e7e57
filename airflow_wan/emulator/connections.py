"""Access to the TCP connection under a request, so that an answer can be cut short or its connection closed or reset.

A web server does not let an application reach its sockets. `HttpProtocol`, a protocol class for uvicorn that works with
either of its HTTP parsers, puts the connection into the ASGI `state` of each request.
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

    # One of the two classes that uvicorn chooses from; the other has the same methods.
    from uvicorn.protocols.http.h11_impl import H11Protocol as AutoHTTPProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

_STATE_KEY = "airflow_wan.emulator.connections"
_FLUSH_TICK_S = 0.005
# SO_LINGER switched on with 0 seconds: the kernel then ends the connection with RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection:
    """The TCP connection under a request."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._faulty_answers = 0

    @classmethod
    def of(cls, scope: Scope) -> Connection:
        """Return the connection of a request."""
        connection = scope.get("state", {}).get(_STATE_KEY)
        if not isinstance(connection, cls):
            raise TypeError("Faults need the emulator's web server: run uvicorn with http=HttpProtocol.")
        return connection

    @contextmanager
    def sending_faulty_answer(self) -> Iterator[None]:
        """Mark an answer that may never end, so that the server does not wait for it when it shuts down."""
        self._faulty_answers += 1
        try:
            yield
        finally:
            self._faulty_answers -= 1

    def shut_down(self) -> None:
        """Abort the connection if it is sending a faulty answer."""
        if self._faulty_answers:
            self._transport.abort()

    async def wait(self, receive: Receive, event: asyncio.Event, timeout_s: float | None = None) -> bool:
        """Wait until the event is set, the time is over or the client has disconnected.

        :returns: False if the client has disconnected, else True.
        """
        waits = [asyncio.create_task(_until_disconnected(receive)), asyncio.create_task(event.wait())]
        try:
            with self.sending_faulty_answer():
                await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return not waits[0].done()
        finally:
            for wait in waits:
                wait.cancel()

    async def close(self, receive: Receive, tail: bytes = b"") -> None:
        """Send `tail` as it is, and close the connection."""
        with self.sending_faulty_answer():
            if tail:
                self._transport.write(tail)
            self._transport.close()
            await _until_disconnected(receive)

    async def reset(self, receive: Receive) -> None:
        """Break the connection with a TCP reset after everything written so far has reached the client's side."""
        with self.sending_faulty_answer():
            await self._flushed()
            if not self._transport.is_closing():
                tcp: socket.socket = self._transport.get_extra_info("socket")
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
            await _until_disconnected(receive)

    async def _flushed(self) -> None:
        # A reset discards what is still unsent, in the transport or in the kernel.
        while not self._transport.is_closing() and (self._transport.get_write_buffer_size() or self._unsent_bytes()):  # noqa: ASYNC110  # the kernel does not report when its queue is empty
            await asyncio.sleep(_FLUSH_TICK_S)

    def _unsent_bytes(self) -> int:
        tcp: socket.socket = self._transport.get_extra_info("socket")
        answer = fcntl.ioctl(tcp.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])


class HttpProtocol(AutoHTTPProtocol):
    """uvicorn's HTTP protocol, which also gives each request its connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
        """Begin a connection."""
        super().connection_made(transport)
        self._connection = Connection(transport)
        # uvicorn copies it into every request.
        self.app_state = {**self.app_state, _STATE_KEY: self._connection}

    def shutdown(self) -> None:
        """End the connection because the server shuts down."""
        super().shutdown()
        self._connection.shut_down()


class DroppedResponse(Response):
    """The end of the connection, instead of an answer.

    :param reset: whether a TCP reset ends it.
    """

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """End the connection."""
        connection = Connection.of(scope)
        await (connection.reset(receive) if self._reset else connection.close(receive))


@dataclass(frozen=True)
class Interruption:
    """An answer that stopped on its way: its connection, and the bytes that were not sent yet."""

    connection: Connection
    rest: bytes
    receive: Receive
    send: Send


class InterruptedResponse(Response):
    """An answer that stops on its way.

    :param whole: the complete answer.
    :param at_bytes: how many bytes of its body are sent before it stops.
    :param then: what happens next.
    """

    def __init__(self, whole: Response, at_bytes: int, then: Callable[[Interruption], Awaitable[None]]) -> None:
        super().__init__(whole.body, whole.status_code)
        self.raw_headers = whole.raw_headers
        self._at_bytes = at_bytes
        self._then = then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the headers and the first bytes, then call `then`."""
        body = bytes(self.body)
        connection = Connection.of(scope)
        with connection.sending_faulty_answer():
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": body[: self._at_bytes], "more_body": True})
            await self._then(Interruption(connection, body[self._at_bytes :], receive, send))


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
