"""Keeps one HTTP exchange within bounds, whatever the other end sends: its time, its bytes, its pieces.

httpx and httpcore bound none of these. They do tell what happens, by the ``trace`` extension of a request.
"""

from __future__ import annotations

import asyncio
import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpx

from airflow_wan.api.answers import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

    from airflow_wan.net.deadline import Deadline

_MAX_PIECES = 10_000
"""Most pieces in which the body of an answer may arrive; each takes some microseconds."""

_PIECES_AT_ONCE = 64
"""Pieces of a body that the event loop takes in a row before it does something else."""

_BYTES_AT_ONCE = 8192
"""Bytes that the event loop reads in a row, of which httpcore would take 65,536."""

_MAX_OVERHEAD_BYTES = 16_384
"""Most bytes before, after or between the pieces of a body. httpcore would parse 100 kB of headers at once; a usual
answer has 1 kB."""


class TooLateError(Exception):
    """The time of a call was over before its request was sent."""


class Progress:
    """Follows a call by httpcore's ``trace`` extension: its connections, and whether the request was begun."""

    def __init__(self, deadline: Deadline, overhead: Overhead) -> None:
        self.deadline = deadline
        self._overhead = overhead
        self.sent = False
        self.socket: socket.socket | None = None

    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of what httpcore tells."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            stream = info["return_value"]
            stream.read = functools.partial(_read_counted, stream.read, self._overhead)
            self.socket = stream.get_extra_info("socket")
            if self.socket is not None:
                self.deadline.watch(self.socket)
        elif event.endswith(".send_request_headers.started"):
            if self.deadline.passed:
                raise TooLateError
            # A proxy is asked to connect before the gateway is asked for anything.
            self.sent = self.sent or info["request"].method != b"CONNECT"
            self._overhead.reset()


_overhead_of_call: ContextVar[Overhead] = ContextVar("airflow_wan_overhead")
"""Calls share connections, one after another, and several are under way at a time; each is a task of its own."""


class AsyncProgress:
    """Follows a call of an asynchronous client likewise, and lets the event loop read little at a time."""

    def __init__(self, overhead: Overhead) -> None:
        self._overhead = overhead
        _overhead_of_call.set(overhead)

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of what httpcore tells."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            stream = info["return_value"]
            stream.read = functools.partial(_read_little, stream.read)
        elif event.endswith(".send_request_headers.started"):
            self._overhead.reset()


class Overhead:
    """Counts the bytes that arrive besides the pieces of a body, and ends the call when they are too many."""

    def __init__(self) -> None:
        self._bytes = 0

    def reset(self) -> None:
        """Begin again: a request or a piece of a body follows."""
        self._bytes = 0

    def count(self, data: bytes) -> bytes:
        """Return what was read."""
        self._bytes += len(data)
        if self._bytes > _MAX_OVERHEAD_BYTES:
            raise httpx.RemoteProtocolError(f"more than {_MAX_OVERHEAD_BYTES} bytes without a piece of the body")
        return data


def _read_counted(read: Callable[..., bytes], overhead: Overhead, max_bytes: int, **options: Any) -> bytes:
    return overhead.count(read(min(max_bytes, _BYTES_AT_ONCE), **options))


async def _read_little(read: Callable[..., Awaitable[bytes]], max_bytes: int, **options: Any) -> bytes:
    await asyncio.sleep(0)
    return _overhead_of_call.get().count(await read(min(max_bytes, _BYTES_AT_ONCE), **options))


def read_body(response: httpx.Response, overhead: Overhead, content: bytearray) -> None:
    """Add to `content` the body as it was sent; of a body that is too long, as much as shows that it is.

    :raises httpx.RemoteProtocolError: when it comes in too many pieces.
    """
    for number, piece in enumerate(response.iter_raw(), 1):
        overhead.reset()
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            break
        _check_pieces(number)


async def read_body_async(response: httpx.Response, overhead: Overhead) -> bytes:
    """Return the body as `read_body` does, without holding the event loop for long."""
    content = bytearray()
    number = 0
    async for piece in response.aiter_raw():
        overhead.reset()
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            break
        number += 1
        _check_pieces(number)
        if number % _PIECES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return bytes(content)


def _check_pieces(number: int) -> None:
    if number > _MAX_PIECES:
        raise httpx.RemoteProtocolError(f"the body comes in more than {_MAX_PIECES} pieces")
