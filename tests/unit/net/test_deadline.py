"""A deadline ends an exchange whose peer goes on sending, a byte at a time."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from airflow_wan.net.deadline import Deadline, Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from file_host import Tls


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


def test_a_tls_socket_stays_encrypted_when_it_is_shut_down(tls: Tls) -> None:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with suppress(OSError), tls.server.wrap_socket(theirs, server_side=True) as peer:
            peer.recv(1)

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    with tls.client.wrap_socket(ours, server_hostname="files.example") as sock, Deadline(0.1) as deadline:
        deadline.watch(sock)
        sock.recv(1)
        assert deadline.passed
        assert sock._sslobj is not None  # without its TLS layer, what is sent now would be plain text
        with pytest.raises((ssl.SSLError, BrokenPipeError)):
            sock.sendall(b"the key")
    server.join()


def test_a_deadline_can_be_moved_both_ways(dripping: socket.socket) -> None:
    with Deadline(0.1) as deadline:
        deadline.renew(60)
        deadline.watch(dripping)
        time.sleep(0.2)
        assert not deadline.passed
        deadline.renew(0.1)
        while dripping.recv(4096):
            pass
        assert deadline.passed
        deadline.renew(60)
        assert deadline.passed


def test_a_transfer_that_keeps_its_pace_renews_its_deadline() -> None:
    with Deadline(100) as deadline:
        pace = Pace(deadline, least_speed=10)
        pace.start()
        assert 50 < deadline.remaining_s <= 60
        deadline.renew(20)
        pace.count(599)
        assert deadline.remaining_s <= 20
        pace.count(1)
        assert deadline.remaining_s > 50
        deadline.renew(20)
        pace.count(599)
        assert deadline.remaining_s <= 20


def test_a_transfer_without_a_least_speed_has_only_its_total_time() -> None:
    with Deadline(20) as deadline:
        pace = Pace(deadline, least_speed=None)
        pace.start()
        pace.count(10**9)
        assert deadline.remaining_s <= 20
