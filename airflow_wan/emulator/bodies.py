"""A limit for the bodies of requests: whoever can reach the emulator may send it anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TOO_LARGE = 413


class BodyTooLargeError(HTTPException):
    """The body of a request is larger than the emulator reads."""

    def __init__(self, limit_bytes: int) -> None:
        # The connection ends, because the rest of the body may have no end.
        detail = f"The body of this request may have at most {limit_bytes} bytes."
        super().__init__(_TOO_LARGE, detail, {"Connection": "close"})


class BoundedBodies:
    """ASGI middleware that ends the reading of a body which is too large.

    :param app: the application.
    :param limit_bytes: returns the limit for the path of a request, in bytes.
    """

    def __init__(self, app: ASGIApp, limit_bytes: Callable[[str], int]) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        limit_bytes = self._limit_bytes(scope.get("path", ""))
        read_bytes = 0

        async def receive_bounded() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > limit_bytes:
                raise BodyTooLargeError(limit_bytes)
            return message

        await self._app(scope, receive_bounded, send)
