"""Where result files lie, and how they are asked for; nothing is sent to an address a file may not come from.

Over the standard library's HTTP client: its connections can be looked at before a request is sent, it hands over bytes
as they come, and it moves them about twice as fast as httpx (benchmarks/download measures that).
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ssl
import string
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin, urlsplit

from airflow_wan import __version__
from airflow_wan.exceptions import TransferFailed, TransferInterrupted
from airflow_wan.net.addresses import is_private, resolves_privately

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

MAX_REDIRECTS = 3
CONNECT_TIMEOUT = 10.0
"""s until the file host must answer a connection."""
READ_TIMEOUT = 60.0
"""s without a byte until a connection is given up."""

_MALFORMED = "The file is offered at a malformed URL."
_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": f"airflow-provider-wan/{__version__}",
}


@contextlib.contextmanager
def conversation() -> Iterator[None]:
    """Tells what goes wrong between the host and here; the texts of such errors may hold the URL, their types not."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise TransferFailed(f"The file host has no certificate to be trusted: {error.verify_message}.") from None
    except (UnicodeError, http.client.InvalidURL):
        raise TransferFailed(_MALFORMED) from None
    except (OSError, ValueError, http.client.HTTPException) as error:  # http.client lets a ValueError or two through
        raise TransferInterrupted(f"The connection to the file host failed ({type(error).__name__}).") from None


@dataclass(frozen=True, slots=True)
class FileClient:
    """Where files may come from, and how they are asked for.

    :param tls: the TLS context to use.
    :param private_allowed: whether addresses of this machine and of private networks will do.
    """

    tls: ssl.SSLContext
    private_allowed: bool

    @contextlib.contextmanager
    def answer(self, url: str, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        """The answer to a GET with these headers besides the usual ones, after redirects; its body is not read yet.

        :raises TransferFailed: when the file may not come from there.
        :raises TransferInterrupted: when no answer came.
        """
        target = _target(url)
        for _ in range(MAX_REDIRECTS + 1):
            with contextlib.ExitStack() as opened:
                with conversation():
                    connection = self._connect(target, opened)
                    connection.request("GET", _target_path(target), headers=_HEADERS | headers)
                    response = opened.enter_context(connection.getresponse())
                location = response.headers.get("Location")
                if not location or response.status not in range(300, 400):
                    yield response
                    return
            target = _target(target.geturl(), location)
        raise TransferFailed(f"The file host redirected more than {MAX_REDIRECTS} times.")

    def _connect(self, target: SplitResult, opened: contextlib.ExitStack) -> http.client.HTTPConnection:
        """Connect to where a URL leads, if it may lead there; nothing is sent yet."""
        host = target.hostname
        if not host or not (target.scheme == "https" or (target.scheme == "http" and self.private_allowed)):
            raise _not_https(target)
        proxy = _proxy(host) if target.scheme == "https" else None
        # A proxy looks names up itself: then only a host written as an address can be told.
        self._check(target, private=is_private(host) if proxy else resolves_privately(host))
        connection = opened.enter_context(contextlib.closing(self._connection(target, host, proxy)))
        connection.connect()
        if proxy is None:
            # To connect, the name was looked up once more, and may lead elsewhere by now.
            self._check(target, private=is_private(connection.sock.getpeername()[0]))
        connection.sock.settimeout(READ_TIMEOUT)
        return connection

    def _connection(self, target: SplitResult, host: str, proxy: SplitResult | None) -> http.client.HTTPConnection:
        if target.scheme == "http":
            return http.client.HTTPConnection(host, target.port or 80, timeout=CONNECT_TIMEOUT)
        port = target.port or 443
        if proxy is None:
            return http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT, context=self.tls)
        connection = http.client.HTTPSConnection(
            str(proxy.hostname), proxy.port or 80, timeout=CONNECT_TIMEOUT, context=self.tls
        )
        connection.set_tunnel(host, port, headers=_proxy_credentials(proxy))
        return connection

    def _check(self, target: SplitResult, *, private: bool) -> None:
        if private and not self.private_allowed:
            raise TransferFailed(
                f"The file is offered on host {target.hostname}, which leads to this machine or into a private "
                "network; that is only followed when the connection's own host is there too."
            )
        if not private and target.scheme == "http":
            raise _not_https(target)


def _target(url: str, location: str = "") -> SplitResult:
    try:
        target = urlsplit(urljoin(url, location))
        _ = target.port  # which may be no number
    except ValueError:
        raise TransferFailed(_MALFORMED) from None
    return target


def _not_https(target: SplitResult) -> TransferFailed:
    return TransferFailed(
        f"The file is offered at a {target.scheme or 'malformed'} URL on host {target.hostname}; "
        "only https is followed."
    )


def _target_path(target: SplitResult) -> str:
    """What stands in the request line; a character that may not is escaped, and no escape is made anew."""
    path = target.path or "/"
    return quote(f"{path}?{target.query}" if target.query else path, safe=string.punctuation)


def _proxy(host: str) -> SplitResult | None:
    """The proxy that the environment names for https, if it does for this host."""
    proxies = urllib.request.getproxies()
    url = proxies.get("https") or proxies.get("all")
    if not url or urllib.request.proxy_bypass(host):
        return None
    proxy = urlsplit(url if "://" in url else f"http://{url}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise TransferFailed(
            f"HTTPS_PROXY names a proxy of scheme {proxy.scheme!r}; only http:// proxies are spoken to."
        )
    return proxy


def _proxy_credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
