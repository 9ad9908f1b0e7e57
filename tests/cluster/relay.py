"""A TCP relay to a port of this machine that can be cut, as when a network or a service is away."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import Self

_PIECE_BYTES = 256 * 1024


class Relay:
    """Stands for a service at an address of its own, in a `with` block.

    :param url: the address of the service, such as ``http://127.0.0.1:9000``.
    """

    def __init__(self, url: str) -> None:
        self._behind = int(url.rpartition(":")[2])
        self._port = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.mend()
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def mend(self) -> None:
        """Let everything pass."""
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=256)
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Close every connection, and refuse each one that comes, until it is mended."""
        with self._lock:
            _end(self._listener)
            self._listener.close()
            for one in self._open:
                _end(one)

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._carry, args=(listener, client), daemon=True).start()

    def _carry(self, listener: socket.socket, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._behind)) as service:
            both = {client, service}
            with self._lock:
                if listener.fileno() < 0:  # cut in the meantime
                    return
                self._open |= both
            try:
                _pump(client, service)
            finally:
                with self._lock:
                    self._open -= both


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side has ended."""
    with selectors.DefaultSelector() as ready:
        ready.register(one, selectors.EVENT_READ, other)
        ready.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in ready.select():
                piece = key.fileobj.recv(_PIECE_BYTES)  # type: ignore[union-attr]
                if not piece:
                    return
                key.data.sendall(piece)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
