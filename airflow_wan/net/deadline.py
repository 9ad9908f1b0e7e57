"""A total time for an exchange over sockets, however slowly the other end sends or reads.

The timeout of a socket counts from the last byte, so a peer that sends one byte every two seconds never meets it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Deadline:
    """Shuts the sockets of an exchange down when its time is over; a context manager.

    Whoever reads or writes such a socket then gets the end of the stream, or an `OSError`; `passed` tells why.

    :param seconds: the total time, in seconds, from entering the context.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._passed = False

    def __enter__(self) -> Self:
        """Start the time."""
        self._ends_at = time.monotonic() + self.seconds
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the sockets alone from now on."""
        self._timer.cancel()
        with self._lock:
            for sock in self._watched:
                sock.close()
            self._watched.clear()

    @property
    def passed(self) -> bool:
        """Whether the time was over before the exchange was."""
        return self._passed

    @property
    def remaining_s(self) -> float:
        """The time that is left, in seconds; 0 when it is over."""
        return max(0.0, self._ends_at - time.monotonic())

    def watch(self, sock: socket.socket) -> None:
        """Shut a socket down when the time is over; at once if it is over already.

        :param sock: the socket. It may become a TLS socket later, and need not be open any more.
        """
        # A descriptor of our own: the start of TLS takes the socket's. Besides, a TLS socket that is shut down by its
        # own method could still send, without encryption.
        with contextlib.suppress(OSError), self._lock:
            copy = socket.fromfd(sock.fileno(), sock.family, sock.type)
            self._watched.append(copy)
            if self._passed:
                _shut_down(copy)

    def _end(self) -> None:
        with self._lock:
            self._passed = True
            for sock in self._watched:
                _shut_down(sock)


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed already
        sock.shutdown(socket.SHUT_RDWR)
