"""Times that an exchange over sockets must keep, however slowly the other end sends or reads.

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
        self._changed = threading.Condition()
        self._watched: list[socket.socket] = []
        self._left = False
        self._passed = False

    def __enter__(self) -> Self:
        """Start the time."""
        self._ends_at = time.monotonic() + self.seconds
        threading.Thread(target=self._wait, name="wan-deadline", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the sockets alone from now on."""
        with self._changed:
            self._left = True
            for sock in self._watched:
                sock.close()
            self._watched.clear()
            self._changed.notify()

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
        with contextlib.suppress(OSError), self._changed:
            copy = socket.fromfd(sock.fileno(), sock.family, sock.type)
            self._watched.append(copy)
            if self._passed:
                _shut_down(copy)

    def renew(self, seconds: float) -> None:
        """Give the exchange so many seconds from now on; nothing happens if its time is over already."""
        with self._changed:
            if self._passed:
                return
            is_sooner = time.monotonic() + seconds < self._ends_at
            self._ends_at = time.monotonic() + seconds
            if is_sooner:
                self._changed.notify()

    def _wait(self) -> None:
        with self._changed:
            while not self._left and self.remaining_s:
                self._changed.wait(self.remaining_s)
            if self._left:
                return
            self._passed = True
            for sock in self._watched:
                _shut_down(sock)


class Pace:
    """Renews a deadline as long as a transfer keeps a speed, averaged over a minute.

    The deadline passes when the bytes of a whole minute at that speed have not moved within a minute.

    :param deadline: the deadline, entered already.
    :param least_speed: the speed, in bytes per second; None for a transfer that has only its total time.
    """

    WINDOW_S = 60.0
    """Seconds over which the speed is averaged."""

    def __init__(self, deadline: Deadline, least_speed: float | None) -> None:
        self.deadline = deadline
        self.least_speed = least_speed
        self._bytes = 0

    def start(self) -> None:
        """Begin a transfer: from now on, its speed counts."""
        self._bytes = 0
        if self.least_speed is not None:
            self.deadline.renew(self.WINDOW_S)

    def count(self, bytes_moved: int) -> None:
        """Take bytes into account that have been sent or received."""
        self._bytes += bytes_moved
        if self.least_speed is not None and self._bytes >= self.least_speed * self.WINDOW_S:
            self.start()


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other end has gone already
        sock.shutdown(socket.SHUT_RDWR)
