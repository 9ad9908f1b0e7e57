"""A deadline ends an exchange whose peer goes on sending, a byte at a time."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from airflow_wan.net.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def dripping() -> Iterator[socket.socket]:
    """Return a socket whose other end sends a byte every 20 ms until it is closed."""
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        with theirs:
            while not stop.wait(0.02):
                try:
                    theirs.send(b".")
                except OSError:
                    return

    threading.Thread(target=drip, daemon=True).start()
    with ours:
        ours.settimeout(5)
        yield ours
    stop.set()


def test_a_dripping_peer_is_left_when_the_time_is_over(dripping: socket.socket) -> None:
    received = 0
    begin = time.monotonic()
    with Deadline(0.3) as deadline:
        deadline.watch(dripping)
        while dripping.recv(1):
            received += 1
    assert deadline.passed
    assert received > 0
    assert 0.25 < time.monotonic() - begin < 3


def test_a_socket_that_comes_too_late_is_shut_down_at_once(dripping: socket.socket) -> None:
    with Deadline(0.0) as deadline:
        while not deadline.passed:
            time.sleep(0.001)
        deadline.watch(dripping)
        while dripping.recv(4096):
            pass
    assert deadline.remaining_s == 0


def test_an_exchange_within_its_time_is_left_alone(dripping: socket.socket) -> None:
    with Deadline(0.2) as deadline:
        deadline.watch(dripping)
        assert dripping.recv(1) == b"."
    time.sleep(0.3)
    assert not deadline.passed
    assert dripping.recv(1) == b"."
