"""The HTTP client for files: the finished video, the media that preflight inspects, and uploads.

All of them are at addresses that somebody else names: a gateway, a file host, the author of a DAG. The client contacts
no address of this machine or of a private network unless that is allowed. It looks a name up once, checks all addresses
of it, and connects to one of these; each redirect is checked in the same way.

It uses the standard library's HTTP client, whose connections can be checked before a request is sent, which returns
bytes as soon as they arrive, and which reads about twice as fast as httpx over TLS (see benchmarks/download).
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import string
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote, urljoin, urlsplit

from airflow_wan import __version__
from airflow_wan.exceptions import TransferFailed, TransferInterrupted, WanError
from airflow_wan.net.addresses import is_private
from airflow_wan.net.deadline import Deadline, Pace
from airflow_wan.net.proxies import environment_proxy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from urllib.parse import SplitResult

    _AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]

MAX_REDIRECTS = 3

USUAL_FILE_HOST = "dashscope-result-sgp.oss-ap-southeast-1.aliyuncs.com"
"""A host that videos of both gateways come from, by which `check_proxy` asks NO_PROXY."""

_MAX_ADDRESSES = 8  # of one name; whoever answers for a name may list thousands
_MAX_STATUSES = 20  # of one answer, the interim ones included
_MALFORMED_URL = "The URL of the file is malformed."
_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": f"airflow-provider-wan/{__version__}",
}


class FileResponse(http.client.HTTPResponse):
    """An answer whose body must keep the pace of its exchange."""

    pace: Pace
    _statuses_left = _MAX_STATUSES

    def _read_status(self) -> tuple[str, int, str]:
        """Read one status line; `http.client` reads as many interim ones (100) as a host sends."""
        self._statuses_left -= 1
        if self._statuses_left < 0:
            raise http.client.HTTPException
        status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        return status

    def read1(self, n: int = -1) -> bytes:
        """Return the next bytes of the body as soon as any arrive; no bytes at its end.

        :param n: maximum number of bytes.
        :raises TransferInterrupted: when the connection failed or was too slow, or the body has no sensible form.
        """
        with _transfer_errors(self.pace):
            piece = super().read1(n)
            if self.chunked and (self.chunk_left or 0) < 0:
                raise http.client.HTTPException
        self.pace.count(len(piece))
        return piece


@dataclass(frozen=True, slots=True)
class FileClient:
    """An HTTP client that reads and writes files, and knows which hosts it may contact.

    :param tls: the TLS context to use.
    :param private_allowed: whether files may be on this machine and in private networks, and there on plain http too.
    :param connect_timeout_s: seconds within which a connection must be established.
    :param read_timeout_s: seconds without a byte after which a connection counts as broken.
    :param total_s: seconds within which the head of an answer must have come, from the look-up of the first host on, or
        from the end of an upload on.
    :param least_speed: bytes per second that a body must keep, averaged over a minute, whether it is sent or received.
        With None there is no such speed, and the whole exchange must be over after `total_s`.
    """

    tls: ssl.SSLContext
    private_allowed: bool
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    total_s: float = 180.0
    least_speed: float | None = 1024.0

    @contextlib.contextmanager
    def get(self, url: str, headers: dict[str, str]) -> Iterator[FileResponse]:
        """Send a GET request, follow redirects, and yield the response; `read_some` reads its body.

        :param url: the URL of the file.
        :param headers: headers to send in addition to the usual ones.
        :raises TransferFailed: when the file may not be read from there.
        :raises TransferInterrupted: when no answer came.
        """
        target = _parse_url(url)
        with Deadline(self.total_s) as deadline:
            pace = Pace(deadline, self.least_speed)
            for _ in range(MAX_REDIRECTS + 1):
                with contextlib.ExitStack() as opened:
                    with _transfer_errors(pace):
                        connection = self._connect(target, opened, deadline)
                        connection.request("GET", _request_target(target), headers=_HEADERS | headers)
                        response = _receive_head(connection, opened, pace)
                    location = response.headers.get("Location")
                    if not location or response.status not in range(300, 400):
                        pace.start()
                        yield response
                        return
                target = _redirected(target, location)
        raise TransferFailed(f"The file host redirected more than {MAX_REDIRECTS} times.")

    @contextlib.contextmanager
    def post(self, url: str, headers: dict[str, str], body: Iterable[bytes], size: int) -> Iterator[FileResponse]:
        """Send a POST request and yield the response, whatever it is; no redirect is followed.

        :param url: the URL to send to.
        :param headers: headers to send in addition to the usual ones.
        :param body: the body, in pieces; each is taken when the one before has been sent. A `WanError` that it raises
            is not changed, and ends the exchange before the body is complete.
        :param size: size of the whole body, in bytes.
        :raises TransferFailed: when nothing may be sent there; nothing was sent.
        :raises TransferInterrupted: when no answer came.
        """
        target = _parse_url(url)
        length = {"Content-Length": str(size)}
        with Deadline(self.total_s) as deadline, contextlib.ExitStack() as opened:
            pace = Pace(deadline, self.least_speed)
            with _transfer_errors(pace):
                connection = self._connect(target, opened, deadline)
                # A host may answer before it has read everything, and close the connection: the answer says why.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(
                        "POST", _request_target(target), body=_paced(body, pace), headers=_HEADERS | headers | length
                    )
                if self.least_speed is not None:
                    deadline.renew(self.total_s)
                response = _receive_head(connection, opened, pace)
            pace.start()
            yield response

    def _connect(
        self, target: SplitResult, opened: contextlib.ExitStack, deadline: Deadline
    ) -> http.client.HTTPConnection:
        """Return a connection to the host of a URL, if that host may be contacted; nothing is sent yet.

        A public host that is named with http is asked for the same by https.
        """
        if target.scheme == "http" and not (self.private_allowed and _is_private_host(target)):
            target = _as_https(target)
        host = target.hostname
        if not host or target.scheme not in ("https", "http"):
            raise _not_https(target)
        proxy = _proxy_for(host) if target.scheme == "https" else None
        connection = opened.enter_context(contextlib.closing(self._new_connection(target, host, proxy)))
        if proxy is None:
            connection.sock = self._open_socket(target, connection, deadline)
        else:
            # A proxy resolves names itself, so only a host that is written as an address can be checked here.
            self._check_host(target, private=[is_private(host)])
            # So that the deadline counts for what the proxy answers, too.
            connection._create_connection = lambda address, *_: self._first_reachable(  # type: ignore[attr-defined]  # noqa: SLF001
                self._look_up(address[0], address[1], deadline), deadline
            )
            connection.connect()
        connection.sock.settimeout(self.read_timeout_s)
        return connection

    def _new_connection(self, target: SplitResult, host: str, proxy: SplitResult | None) -> http.client.HTTPConnection:
        timeout_s = self.connect_timeout_s
        connection: http.client.HTTPConnection
        if target.scheme == "http":
            connection = http.client.HTTPConnection(host, target.port or 80, timeout=timeout_s)
        elif proxy is None:
            connection = http.client.HTTPSConnection(host, target.port or 443, timeout=timeout_s, context=self.tls)
        else:
            connection = http.client.HTTPSConnection(
                str(proxy.hostname), proxy.port or 80, timeout=timeout_s, context=self.tls
            )
            connection.set_tunnel(host, target.port or 443, headers=_proxy_credentials(proxy))
        connection.response_class = FileResponse
        return connection

    def _open_socket(
        self, target: SplitResult, connection: http.client.HTTPConnection, deadline: Deadline
    ) -> socket.socket:
        """Return a socket to a host, with TLS if the URL says https; every address of the host is checked before."""
        found = self._look_up(connection.host, connection.port, deadline)
        self._check_host(target, private=[is_private(str(address[0])) for *_, address in found])
        sock = self._first_reachable(found, deadline)
        if target.scheme == "http":
            return sock
        with contextlib.ExitStack() as on_failure:
            on_failure.enter_context(sock)
            encrypted = self.tls.wrap_socket(sock, server_hostname=connection.host)
            on_failure.pop_all()
        return encrypted

    def _look_up(self, host: str, port: int, deadline: Deadline) -> list[_AddressInfo]:
        """Return the addresses of a name. A look-up cannot be interrupted; one that takes too long is left behind."""
        results: list[list[_AddressInfo] | Exception] = []

        def ask() -> None:
            try:
                results.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except Exception as error:  # noqa: BLE001 - raised in the other thread
                results.append(error)

        thread = threading.Thread(target=ask, name="wan-look-up", daemon=True)
        thread.start()
        thread.join(min(self.connect_timeout_s, deadline.remaining_s))
        result = results[0] if results else TimeoutError()
        if isinstance(result, Exception):
            raise result
        return result

    def _first_reachable(self, found: list[_AddressInfo], deadline: Deadline) -> socket.socket:
        """Return a socket that is connected to the first of the addresses that accepts a connection."""
        failure = OSError()
        for family, kind, protocol, _, address in found[:_MAX_ADDRESSES]:
            with contextlib.ExitStack() as on_failure:
                try:
                    sock = on_failure.enter_context(socket.socket(family, kind, protocol))
                    deadline.watch(sock)
                    sock.settimeout(min(self.connect_timeout_s, deadline.remaining_s))
                    sock.connect(address)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError as error:
                    failure = error
                else:
                    on_failure.pop_all()
                    return sock
        raise failure

    def _check_host(self, target: SplitResult, *, private: list[bool]) -> None:
        """Check whether a host may be contacted, by whether each of its addresses is a private one."""
        if any(private) and not self.private_allowed:
            raise TransferFailed(
                f"The URL is on host {target.hostname}, which is this machine or in a private network; such a host is "
                "contacted only when the Airflow connection's own host is there too."
            )
        if target.scheme == "http" and not all(private):
            raise _not_https(target)


def read_some(response: http.client.HTTPResponse, at_most: int) -> bytes:
    """Return the next bytes of a body as soon as any arrive; no bytes at its end.

    :param response: the response that a `FileClient` yielded.
    :param at_most: maximum number of bytes.
    :raises TransferInterrupted: when the connection failed or was too slow.
    """
    return response.read1(at_most)


def read_beginning(response: http.client.HTTPResponse, at_most: int) -> bytes:
    """Return a body, or the beginning of a longer one.

    :param response: the response that a `FileClient` yielded.
    :param at_most: maximum number of bytes.
    :raises TransferInterrupted: when the connection failed or was too slow.
    """
    content = bytearray()
    while len(content) < at_most and (piece := read_some(response, at_most - len(content))):
        content += piece
    return bytes(content)


def _receive_head(connection: http.client.HTTPConnection, opened: contextlib.ExitStack, pace: Pace) -> FileResponse:
    response = opened.enter_context(cast("FileResponse", connection.getresponse()))
    response.pace = pace
    return response


def _paced(body: Iterable[bytes], pace: Pace) -> Iterator[bytes]:
    """Yield the pieces of a body, and count each when it has been sent."""
    pace.start()
    for piece in body:
        yield piece
        pace.count(len(piece))


@contextlib.contextmanager
def _transfer_errors(pace: Pace) -> Iterator[None]:
    """Turn the errors of a connection into ours. Their texts may hold the signed URL; their types do not."""
    try:
        yield
    except WanError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise TransferFailed(f"The certificate of the file host is not trusted: {error.verify_message}.") from None
    except (UnicodeError, http.client.InvalidURL):
        raise TransferFailed(_MALFORMED_URL) from None
    except (OSError, ValueError, http.client.HTTPException) as error:  # http.client lets some ValueErrors through
        if not pace.deadline.passed:
            raise TransferInterrupted(f"The connection to the file host failed ({type(error).__name__}).") from None
    if pace.deadline.passed:
        raise TransferInterrupted("The connection to the file host failed: the host was too slow.")


def _parse_url(url: str, location: str = "") -> SplitResult:
    """Return the parts of a URL, or of the URL that a redirect from it leads to."""
    try:
        target = urlsplit(urljoin(url, location))
        port = target.port  # raises ValueError when it is not a number from 0 to 65535
    except ValueError:
        port = 0
    if port == 0 or " " in (target.hostname or ""):  # a proxy would be asked in words of its own
        raise TransferFailed(_MALFORMED_URL)
    return target


def _redirected(source: SplitResult, location: str) -> SplitResult:
    """Return the parts of the URL that a redirect leads to; none leads from https to http."""
    target = _parse_url(source.geturl(), location)
    return _as_https(target) if source.scheme == "https" and target.scheme == "http" else target


def _as_https(target: SplitResult) -> SplitResult:
    """Return the parts of a URL with https instead of http.

    :raises TransferFailed: when the URL names another port than that of http, where nobody speaks TLS.
    """
    if target.port not in (None, 80):
        raise _not_https(target)
    return target._replace(scheme="https", netloc=target.netloc.removesuffix(":80"))


def _is_private_host(target: SplitResult) -> bool:
    """Return whether every address of a URL's host is on this machine or in a private network."""
    found = socket.getaddrinfo(target.hostname, target.port or 80, type=socket.SOCK_STREAM)
    return all(is_private(str(address[0])) for *_, address in found)


def _not_https(target: SplitResult) -> TransferFailed:
    return TransferFailed(
        f"The URL of the file has the scheme {target.scheme or 'none'!r} (host {target.hostname}); only https is read "
        "or written."
    )


def _request_target(target: SplitResult) -> str:
    """Return the path and query for the request line: forbidden characters are escaped, escapes are kept."""
    path = target.path or "/"
    return quote(f"{path}?{target.query}" if target.query else path, safe=string.punctuation)


def _proxy_for(host: str) -> SplitResult | None:
    """Return the proxy that the environment names for https to this host, if any."""
    proxy = environment_proxy("https", host)
    if proxy is None:
        return None
    if proxy.scheme != "http" or not proxy.hostname:
        what = f"a proxy of scheme {proxy.scheme!r}" if proxy.scheme else "what is no URL of a proxy"
        raise TransferFailed(
            f"HTTPS_PROXY or ALL_PROXY names {what}; files are fetched through http:// "
            "proxies only. Name such a proxy, or the file host in NO_PROXY."
        )
    return proxy


def check_proxy() -> None:
    """Check whether a file on the internet can be fetched through the proxy that the environment names, if any.

    :raises TransferFailed: when it cannot.
    """
    _proxy_for(USUAL_FILE_HOST)


def _proxy_credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
