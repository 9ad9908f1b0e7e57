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
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_cut = False

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection, and each one that comes, until it is mended."""
        with self._lock:
            self._is_cut = True
            for one in self._open:
                _reset(one)
            self._open.clear()

    def mend(self) -> None:
        """Let everything pass again."""
        self._is_cut = False

    def _serve(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._behind)) as service:
            with self._lock:
                if self._is_cut:
                    _reset(client)
                    return
                self._open |= {client, service}
            try:
                _pump(client, service)
            finally:
                with self._lock:
                    self._open -= {client, service}


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


def _reset(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
