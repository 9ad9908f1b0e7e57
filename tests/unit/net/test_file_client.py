"""The client for addresses that somebody else names: whom it contacts, how long it waits, what it makes of noise."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.exceptions import MediaUnreadable, TransferFailed, TransferInterrupted
from airflow_wan.net.deadline import Pace
from airflow_wan.net.file_client import MAX_REDIRECTS, FileClient, read_beginning, read_some

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from file_host import FileHost, Proxy, Tls

PRIVATE = (
    *("127.0.0.1", "127.9.8.7", "127.0.0.1.", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0"),
    *("127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1", "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1"),
    *("localhost", "LOCALHOST.", "wan.localhost", "0.0.0.0", "10.0.0.5", "10.5", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "169.254.169.254.", "2852039166", "100.64.0.1", "100.100.100.200", "168.63.129.16"),
    *("192.0.0.8", "192.0.0.192", "192.88.99.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "239.255.255.250"),
    *("240.0.0.1", "255.255.255.255"),
    *("[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::ffff:0:10.0.0.5]"),
    *("[64:ff9b::10.0.0.5]", "[64:ff9b:1::10.0.0.5]", "[2002:a00:5::1]", "[2001:0:a00:5::1]", "[2001:db8::1]"),
    *("[3fff::1]", "[100::1]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]", "[5f00::1]"),
)
ADDRESSES = [host for host in PRIVATE if "localhost" not in host.lower()]


class RawHost:
    """Accepts connections and hands each to a function, until the test is over.

    :ivar received: what was read by `read_request`, for each connection.
    """

    def __init__(self, act: Callable[[RawHost, socket.socket], None], tls: ssl.SSLContext | None = None) -> None:
        self.received: list[bytes] = []
        self.over = threading.Event()
        self._act = act
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}/a"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self._listener.close()

    def read_request(self, connection: socket.socket) -> None:
        """Read a request and the first 64 KiB of its body: a socket that is closed with more unread resets its peer."""
        received = b""
        while piece := connection.recv(65536):
            received += piece
            head, end, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if end and len(body) >= min(65536, int(length[1]) if length else 0):
                break
        self.received.append(received)

    def drips(self, connection: socket.socket, piece: bytes) -> None:
        """Send a piece again and again until the other end has gone."""
        while not self.over.wait(0.005):
            connection.sendall(piece)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            with connection:
                self._act(self, connection)


@pytest.fixture
def raw() -> Iterator[Callable[..., RawHost]]:
    """Starts hosts that do what a test says."""
    with contextlib.ExitStack() as running:

        def start(*arguments: Any) -> RawHost:
            host = RawHost(*arguments)
            running.callback(host.close)
            return host

        yield start


@pytest.fixture
def contacted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that a connection was asked for; none of them answers."""
    addresses: list[Any] = []

    def connect(_: socket.socket, address: Any) -> None:
        addresses.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    return addresses


def get(client: FileClient, url: str, at_most: int = 1_000_000) -> bytes:
    with client.get(url, {}) as response:
        return read_beginning(response, at_most)


def post(client: FileClient, url: str, body: bytes = b"body") -> tuple[int, bytes]:
    with client.post(url, {}, iter([body]), len(body)) as response:
        return response.status, read_beginning(response, 1000)


# Whom it contacts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("send", [get, post])
@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_address_is_not_contacted_however_it_is_written(
    tls: Tls, host: str, send: Callable[..., Any], contacted: list[Any]
) -> None:
    with pytest.raises(TransferFailed) as raised:
        send(FileClient(tls.client, private_allowed=False), f"https://{host}/a?Signature=TOPSECRET")

    assert contacted == []
    assert "TOPSECRET" not in str(raised.value)


@pytest.mark.parametrize("host", PRIVATE)
def test_a_proxy_is_not_asked_for_a_private_address(
    tls: Tls, host: str, contacted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    with pytest.raises(TransferFailed, match="private network"):
        get(FileClient(tls.client, private_allowed=False), f"https://{host}/a")

    assert contacted == []


@pytest.mark.parametrize("send", [get, post])
@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.5"], ["224.0.0.1", "93.184.216.34"]])
def test_a_name_with_any_private_address_is_not_contacted(
    tls: Tls,
    names: dict[str, list[list[str]]],
    addresses: list[str],
    send: Callable[..., Any],
    contacted: list[Any],
) -> None:
    names["files.example"] = [addresses]

    with pytest.raises(TransferFailed, match="private network"):
        send(FileClient(tls.client, private_allowed=False), "https://files.example/a")

    assert contacted == []


def test_a_name_is_looked_up_once_so_the_address_that_was_checked_is_the_one_contacted(
    tls: Tls, names: dict[str, list[list[str]]], contacted: list[Any]
) -> None:
    names["files.example"] = [["93.184.216.34"], ["127.0.0.1"]]

    with pytest.raises(TransferInterrupted, match="ConnectionRefusedError"):
        get(FileClient(tls.client, private_allowed=False), "https://files.example/a")

    assert contacted == [("93.184.216.34", 443)]


def test_the_next_address_of_a_name_is_tried_when_one_does_not_answer(
    tls: Tls, host: FileHost, names: dict[str, list[list[str]]]
) -> None:
    host.serves("/a", 200, b"content")
    names["files.example"] = [["127.0.0.254", "127.0.0.1"]]  # the host listens on the second one only

    url = host.url("/a").replace("127.0.0.1", "files.example")

    assert get(FileClient(tls.client, private_allowed=True), url) == b"content"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://files.example:8080/a",
            "HTTP://files.example:8080/a",
            "ftp://files.example/a",
            "file:///etc/passwd",
            "data:,x",
        ),
        *("javascript:alert(1)", "gopher://files.example/", "//files.example/a", "https:///a", "https://[/a", ""),
        *("https://files.example:0/a", "https://files.example:99999/a", "https://files.example:x/a"),
        "https://files.example /a",
        *("https://files\r\nHost: x/a", "https://" + "a" * 64 + ".example/a", "https://\udcff.example/a"),
    ],
)
@pytest.mark.parametrize("send", [get, post])
def test_nothing_but_https_is_contacted(
    tls: Tls, names: dict[str, list[list[str]]], url: str, send: Callable[..., Any], contacted: list[Any]
) -> None:
    names["files.example"] = [["93.184.216.34"]]

    with pytest.raises(TransferFailed):
        send(FileClient(tls.client, private_allowed=False), url)

    assert contacted == []


@pytest.mark.parametrize(
    "location",
    [
        *(f"https://{host}/b" for host in ADDRESSES if host.isascii()),
        *("//10.0.0.5/b", "HTTPS://10.0.0.5/b", "https://me:secret@10.0.0.5/b", "https://93.184.216.34@10.0.0.5/b"),
        *("http://files.example:8080/b", "HTTP://files.example:443/b"),
        *("http://10.0.0.5/b", "ftp://files.example/b", "file:///etc/passwd", "data:,x", "javascript:alert(1)"),
        *("https://[/b", "https://files.example:0/b", "http:b"),
    ],
)
def test_a_redirect_leads_to_no_place_that_may_not_be_contacted(
    tls: Tls,
    tls_hosts: Callable[[], FileHost],
    proxied: Callable[[FileHost], Proxy],
    location: str,
) -> None:
    public = tls_hosts()
    proxy = proxied(public)
    public.redirects("/a", location)

    with pytest.raises(TransferFailed):
        get(FileClient(tls.client, private_allowed=False), "https://files.example/a")

    assert proxy.requests[1:] == []


@pytest.mark.parametrize("location", ["https://10.0.0.5\\@files.example/b", "\\\\10.0.0.5\\b", "https:", "/b", "?x"])
def test_a_redirect_within_a_host_is_read_as_python_reads_it_and_leads_nowhere_else(
    tls: Tls, tls_hosts: Callable[[], FileHost], proxied: Callable[[FileHost], Proxy], location: str
) -> None:
    public = tls_hosts()
    proxy = proxied(public)
    public.redirects("/a", location)
    public.serves("/b", 200, b"content")

    with contextlib.suppress(TransferFailed):
        get(FileClient(tls.client, private_allowed=False), "https://files.example/a")

    assert {place for place, _ in proxy.requests} == {"files.example:443"}


def test_a_redirect_from_https_to_http_is_not_followed_even_in_a_private_network(
    tls: Tls, tls_hosts: Callable[[], FileHost], host: FileHost
) -> None:
    encrypted = tls_hosts()
    encrypted.redirects("/a", host.url("/b"))

    with pytest.raises(TransferFailed, match="only https"):
        get(FileClient(tls.client, private_allowed=True), encrypted.url("/a"))

    assert host.requests == []


@pytest.mark.parametrize("url", ["http://files.example/a?s=1", "HTTP://files.example:80/a?s=1"])
@pytest.mark.parametrize("private_allowed", [False, True])
def test_a_public_host_that_is_named_with_http_is_asked_by_https(
    private_allowed: bool,
    url: str,
    tls: Tls,
    tls_hosts: Callable[[], FileHost],
    proxied: Callable[[FileHost], Proxy],
    names: dict[str, list[list[str]]],
) -> None:
    names["files.example"] = [["93.184.216.34"]]
    public = tls_hosts()
    proxy = proxied(public)
    public.serves("/a", 200, b"content")

    assert get(FileClient(tls.client, private_allowed=private_allowed), url) == b"content"
    assert proxy.requests[0][0] == "files.example:443"
    assert public.requests[0][0] == "/a?s=1"


def test_a_redirect_from_https_to_http_is_followed_by_https(
    tls: Tls, tls_hosts: Callable[[], FileHost], proxied: Callable[[FileHost], Proxy]
) -> None:
    public = tls_hosts()
    proxied(public)
    public.redirects("/a", "http://files.example/b")
    public.serves("/b", 200, b"content")

    assert get(FileClient(tls.client, private_allowed=False), "https://files.example/a") == b"content"


def test_a_loop_of_redirects_ends(tls: Tls, host: FileHost) -> None:
    host.redirects("/a", "/a")

    with pytest.raises(TransferFailed, match="redirected more than"):
        get(FileClient(tls.client, private_allowed=True), host.url("/a"))

    assert len(host.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_without_a_location_is_an_answer(tls: Tls, host: FileHost, status: int) -> None:
    host.serves("/a", status, b"")

    with FileClient(tls.client, private_allowed=True).get(host.url("/a"), {}) as response:
        assert response.status == status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_what_is_sent_follows_no_redirect(tls: Tls, host: FileHost, raw: Callable[..., RawHost], status: int) -> None:
    def act(self: RawHost, connection: socket.socket) -> None:
        self.read_request(connection)
        connection.sendall(f"HTTP/1.1 {status} Away\r\nLocation: {host.url('/b')}\r\n\r\n".encode())

    store = raw(act)

    assert post(FileClient(tls.client, private_allowed=True), store.url)[0] == status
    assert len(store.received) == 1
    assert host.requests == []


# What it sends -------------------------------------------------------------------------------------------------------


def test_an_answer_that_comes_before_everything_was_sent_is_read(tls: Tls, raw: Callable[..., RawHost]) -> None:
    def act(self: RawHost, connection: socket.socket) -> None:
        self.read_request(connection)
        connection.sendall(b"HTTP/1.1 400 No\r\nContent-Length: 8\r\n\r\ntoo long")
        connection.shutdown(socket.SHUT_RD)
        self.over.wait(10)

    client = FileClient(tls.client, private_allowed=True)
    body = itertools.repeat(bytes(65536), 1000)

    with client.post(raw(act).url, {}, body, 65_536_000) as response:
        assert (response.status, read_beginning(response, 100)) == (400, b"too long")
    assert next(body, None) is not None


def test_an_error_of_the_body_is_not_taken_for_one_of_the_connection(tls: Tls, raw: Callable[..., RawHost]) -> None:
    def body() -> Iterator[bytes]:
        yield b"begin"
        raise MediaUnreadable("gone")

    store = raw(lambda self, connection: self.over.wait(10))

    with (
        pytest.raises(MediaUnreadable, match="gone"),
        FileClient(tls.client, private_allowed=True).post(store.url, {}, body(), 10),
    ):
        pass


# How long it waits ---------------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "status line": (b"HTTP/1.1 200 ", b"x"),
    "header line": (HEAD + b"A: ", b"x"),
    "body": (HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"),
    "body without an end": (HEAD + b"\r\n", b"x"),
    "size of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "small chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "trailer": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
}


@pytest.mark.parametrize("send", [get, post])
@pytest.mark.parametrize("drip", DRIPS)
@pytest.mark.parametrize("options", [{"least_speed": None}, {"least_speed": 1e9}], ids=["total time", "least speed"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_a_host_that_drips_is_left(
    tls: Tls,
    raw: Callable[..., RawHost],
    monkeypatch: pytest.MonkeyPatch,
    send: Callable[..., Any],
    drip: str,
    options: dict[str, Any],
    encrypted: bool,
) -> None:
    def act(self: RawHost, connection: socket.socket) -> None:
        self.read_request(connection)
        beginning, piece = DRIPS[drip]
        connection.sendall(beginning)
        self.drips(connection, piece)

    monkeypatch.setattr(Pace, "WINDOW_S", 0.1)
    host = raw(act, tls.server if encrypted else None)

    with pytest.raises(TransferInterrupted, match="too slow"):
        send(FileClient(tls.client, private_allowed=True, total_s=0.2, **options), host.url)


def test_a_flood_of_interim_answers_is_left(tls: Tls, raw: Callable[..., RawHost]) -> None:
    sent = 0

    def act(self: RawHost, connection: socket.socket) -> None:
        nonlocal sent
        self.read_request(connection)
        while not self.over.is_set():
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
            sent += 100

    with pytest.raises(TransferInterrupted, match="HTTPException"):
        get(FileClient(tls.client, private_allowed=True), raw(act).url)

    assert sent < 1_000_000  # what the sockets of both sides hold


def test_some_interim_answers_are_read_over(tls: Tls, raw: Callable[..., RawHost]) -> None:
    def act(self: RawHost, connection: socket.socket) -> None:
        self.read_request(connection)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")

    assert get(FileClient(tls.client, private_allowed=True), raw(act).url) == b"body"


def test_a_name_that_nobody_answers_for_is_left(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60))
    client = FileClient(tls.client, private_allowed=True, connect_timeout_s=0.1)

    with pytest.raises(TransferInterrupted, match="TimeoutError"):
        get(client, "https://files.example/a")
    over.set()


@pytest.mark.parametrize("piece", [b"HTTP/1.1 200 Connection established\r\nX: ", b"HTTP/1.1 200 "])
def test_a_proxy_that_drips_is_left(
    tls: Tls, raw: Callable[..., RawHost], monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    def act(self: RawHost, connection: socket.socket) -> None:
        self.read_request(connection)
        connection.sendall(piece)
        self.drips(connection, b"x")

    proxy = raw(act)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.removesuffix("/a"))

    with pytest.raises(TransferInterrupted, match="too slow"):
        get(FileClient(tls.client, private_allowed=True, total_s=0.5), "https://files.example/a")
    assert proxy.received[0].startswith(b"CONNECT files.example:443")


@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("options", [{"least_speed": None}, {"least_speed": 1e12}], ids=["total time", "least speed"])
def test_a_host_that_hardly_reads_what_is_sent_is_left(
    tls: Tls,
    raw: Callable[..., RawHost],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    encrypted: bool,
) -> None:
    def act(self: RawHost, connection: socket.socket) -> None:
        while not self.over.wait(0.005) and connection.recv(1):
            pass

    monkeypatch.setattr(Pace, "WINDOW_S", 0.1)
    client = FileClient(tls.client, private_allowed=True, total_s=0.2, **options)
    store = raw(act, tls.server if encrypted else None)

    with (
        pytest.raises(TransferInterrupted, match="too slow"),
        client.post(store.url, {}, itertools.repeat(bytes(65536)), 10**12),
    ):
        pass


def test_a_host_that_keeps_the_least_speed_may_take_longer_than_the_total_time(
    tls: Tls, raw: Callable[..., RawHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(self: RawHost, connection: socket.socket) -> None:
        self.read_request(connection)
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x")
            self.over.wait(0.02)

    monkeypatch.setattr(Pace, "WINDOW_S", 5.0)
    client = FileClient(tls.client, private_allowed=True, total_s=1.0, least_speed=1.0)

    assert get(client, raw(act).url) == b"x" * 100


def test_no_thread_stays_behind(tls: Tls, host: FileHost) -> None:
    host.serves("/a", 200, b"content")

    get(FileClient(tls.client, private_allowed=True), host.url("/a"))

    for thread in threading.enumerate():
        if thread.name == "wan-deadline":
            thread.join(timeout=10)
            assert not thread.is_alive()


# What it makes of noise ----------------------------------------------------------------------------------------------

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
NOISE = [
    *(b"", b"\r\n\r\n", b"garbage", b"\x00" * 100, b"\x16\x03\x01" * 50, b"HTTP/1.1", b"HTTP/9.9 200 OK\r\n\r\n"),
    *(b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 -200 OK\r\n\r\n", b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n"),
    *(b"HTTP/1.1 200 \x1b[31m\x00\r\n\r\nbody", b"HTTP/1.1 99 Low\r\n\r\n", b"x" * 70_000, HEAD + b"a" * 70_000),
    HEAD + b"".join(b"a%d: b\r\n" % number for number in range(200)) + b"\r\n",
    HEAD + b"Content-Length: -5\r\n\r\nbody",
    HEAD + b"Content-Length: 1e9\r\n\r\nbody",
    HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nbody",
    HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nbody",
    HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
    HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nbody",
    HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\nbody",
    HEAD + b"no colon\r\n : no name\r\n\tcontinued\r\n\r\nbody",
    HEAD + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n",
    *(CHUNKED + size + b"\r\nbody\r\n" for size in (b"-5", b"zz", b"0x4", b"", b"f" * 5000, b"4;" + b"e" * 70_000)),
    *(CHUNKED + rest for rest in (b"", b"4\r\nbo", b"4\r\nbodyNOCRLF", b"ffffffffffffffff\r\nbody", b"-1\r\n" * 50)),
    b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    *(b"HTTP/1.1 %d Odd\r\n\r\n" % status for status in (101, 102, 103, 204, 205, 304, 999)),
    *(
        b"HTTP/1.1 302 Away\r\nLocation: " + place + b"\r\n\r\n"
        for place in (
            b"\xff\xfe://x",
            b"http://[",
            b"http://\x00/",
            b"//" + b"a" * 60_000,
            b"http://127.0.0.1:1/\r\n x",
        )
    ),
]


@pytest.mark.parametrize("send", [get, post])
@pytest.mark.parametrize("noise", NOISE, ids=range(len(NOISE)))
def test_noise_is_an_answer_or_one_of_our_errors(
    tls: Tls, raw: Callable[..., RawHost], noise: bytes, send: Callable[..., Any]
) -> None:
    def act(self: RawHost, connection: socket.socket) -> None:
        self.read_request(connection)
        connection.sendall(noise)

    with contextlib.suppress(TransferFailed):
        send(FileClient(tls.client, private_allowed=True), raw(act).url)


@given(
    pieces=st.lists(
        st.one_of(
            st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"\r\n"]),
            st.sampled_from([b"5\r\nabcde\r\n", b"0\r\n", b"-3", b"Location: ", b"HTTP/1.1 302 x\r\n", b"://", b": "]),
            st.binary(max_size=20),
        ),
        max_size=12,
    )
)
def test_any_bytes_are_an_answer_or_one_of_our_errors(tls: Tls, pieces: list[bytes]) -> None:
    def act(self: RawHost, connection: socket.socket) -> None:
        self.read_request(connection)
        connection.sendall(b"".join(pieces))

    host = RawHost(act)
    with contextlib.closing(host), contextlib.suppress(TransferFailed):
        get(FileClient(tls.client, private_allowed=True), host.url)


def test_of_an_endless_body_no_more_is_read_than_was_asked_for(tls: Tls, raw: Callable[..., RawHost]) -> None:
    sent = 0

    def act(self: RawHost, connection: socket.socket) -> None:
        nonlocal sent
        self.read_request(connection)
        connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 1000000000\r\n\r\n")
        while not self.over.is_set():
            sent += connection.send(bytes(65536))

    with FileClient(tls.client, private_allowed=True).get(raw(act).url, {}) as response:
        assert len(read_beginning(response, 4096)) == 4096
        assert len(read_some(response, 10)) == 10
    assert sent < 100_000_000


@pytest.mark.parametrize("size", [b"-5", b"-ffff"])
def test_a_chunk_of_a_negative_size_is_no_content(tls: Tls, raw: Callable[..., RawHost], size: bytes) -> None:
    def act(self: RawHost, connection: socket.socket) -> None:
        self.read_request(connection)
        connection.sendall(CHUNKED + size + b"\r\n" + b"x" * 5000)
        self.over.wait(10)

    with pytest.raises(TransferInterrupted):
        get(FileClient(tls.client, private_allowed=True), raw(act).url, at_most=10)
