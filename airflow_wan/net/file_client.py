"""The HTTP client for files: the finished video, and the media that preflight inspects.

It contacts no address of this machine or of a private network unless that is allowed: each redirect is checked, and the
address of the other end is checked after connecting and before anything is sent.

It uses the standard library's HTTP client, whose connections can be checked before a request is sent, which returns
bytes as soon as they arrive, and which reads about twice as fast as httpx over TLS (see benchmarks/download).
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

_MALFORMED_URL = "The URL of the file is malformed."
_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": f"airflow-provider-wan/{__version__}",
}


@dataclass(frozen=True, slots=True)
class FileClient:
    """An HTTP client that reads files, and knows from which hosts it may read them.

    :param tls: the TLS context to use.
    :param private_allowed: whether files may be read from this machine and from private networks, and there over plain
        http too.
    :param connect_timeout_s: seconds within which a connection must be established.
    :param read_timeout_s: seconds without a byte after which a connection counts as broken.
    """

    tls: ssl.SSLContext
    private_allowed: bool
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0

    @contextlib.contextmanager
    def get(self, url: str, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        """Send a GET request, follow redirects, and yield the response; `read_some` reads its body.

        :param url: the URL of the file.
        :param headers: headers to send in addition to the usual ones.
        :raises TransferFailed: when the file may not be read from there.
        :raises TransferInterrupted: when no answer came.
        """
        target = _parse_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            with contextlib.ExitStack() as opened:
                with _transfer_errors():
                    connection = self._connect(target, opened)
                    connection.request("GET", _request_target(target), headers=_HEADERS | headers)
                    response = opened.enter_context(connection.getresponse())
                location = response.headers.get("Location")
                if not location or response.status not in range(300, 400):
                    yield response
                    return
            target = _parse_url(target.geturl(), location)
        raise TransferFailed(f"The file host redirected more than {MAX_REDIRECTS} times.")

    def _connect(self, target: SplitResult, opened: contextlib.ExitStack) -> http.client.HTTPConnection:
        """Return a connection to the host of a URL, if that host may be contacted; nothing is sent yet."""
        host = target.hostname
        if not host or not (target.scheme == "https" or (target.scheme == "http" and self.private_allowed)):
            raise _not_https(target)
        proxy = _proxy_for(host) if target.scheme == "https" else None
        # A proxy resolves names itself, so only a host that is written as an address can be checked here.
        self._check_host(target, private=is_private(host) if proxy else resolves_privately(host))
        connection = opened.enter_context(contextlib.closing(self._new_connection(target, host, proxy)))
        connection.connect()
        if proxy is None:
            # Connecting resolved the name a second time, perhaps to another address.
            self._check_host(target, private=is_private(connection.sock.getpeername()[0]))
        connection.sock.settimeout(self.read_timeout_s)
        return connection

    def _new_connection(self, target: SplitResult, host: str, proxy: SplitResult | None) -> http.client.HTTPConnection:
        timeout_s = self.connect_timeout_s
        if target.scheme == "http":
            return http.client.HTTPConnection(host, target.port or 80, timeout=timeout_s)
        port = target.port or 443
        if proxy is None:
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self.tls)
        connection = http.client.HTTPSConnection(
            str(proxy.hostname), proxy.port or 80, timeout=timeout_s, context=self.tls
        )
        connection.set_tunnel(host, port, headers=_proxy_credentials(proxy))
        return connection

    def _check_host(self, target: SplitResult, *, private: bool) -> None:
        if private and not self.private_allowed:
            raise TransferFailed(
                f"The file is on host {target.hostname}, which is this machine or in a private network; such a host is "
                "contacted only when the Airflow connection's own host is there too."
            )
        if not private and target.scheme == "http":
            raise _not_https(target)


def read_some(response: http.client.HTTPResponse, at_most: int) -> bytes:
    """Return the next bytes of a body as soon as any arrive; no bytes at its end.

    :param response: the response that `FileClient.get` yielded.
    :param at_most: maximum number of bytes.
    :raises TransferInterrupted: when the connection failed.
    """
    with _transfer_errors():
        return response.read1(at_most)


@contextlib.contextmanager
def _transfer_errors() -> Iterator[None]:
    """Turn the errors of a connection into ours. Their texts may hold the signed URL; their types do not."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise TransferFailed(f"The certificate of the file host is not trusted: {error.verify_message}.") from None
    except (UnicodeError, http.client.InvalidURL):
        raise TransferFailed(_MALFORMED_URL) from None
    except (OSError, ValueError, http.client.HTTPException) as error:  # http.client lets some ValueErrors through
        raise TransferInterrupted(f"The connection to the file host failed ({type(error).__name__}).") from None


def _parse_url(url: str, location: str = "") -> SplitResult:
    """Return the parts of a URL, or of the URL that a redirect from it leads to."""
    try:
        target = urlsplit(urljoin(url, location))
        _ = target.port  # raises ValueError when it is not a number
    except ValueError:
        raise TransferFailed(_MALFORMED_URL) from None
    return target


def _not_https(target: SplitResult) -> TransferFailed:
    return TransferFailed(
        f"The URL of the file has the scheme {target.scheme or 'none'!r} (host {target.hostname}); only https is read."
    )


def _request_target(target: SplitResult) -> str:
    """Return the path and query for the request line: forbidden characters are escaped, escapes are kept."""
    path = target.path or "/"
    return quote(f"{path}?{target.query}" if target.query else path, safe=string.punctuation)


def _proxy_for(host: str) -> SplitResult | None:
    """Return the proxy that the environment names for https to this host, if any."""
    proxies = urllib.request.getproxies()
    url = proxies.get("https") or proxies.get("all")
    if not url or urllib.request.proxy_bypass(host):
        return None
    proxy = urlsplit(url if "://" in url else f"http://{url}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise TransferFailed(f"HTTPS_PROXY names a proxy of scheme {proxy.scheme!r}; only http:// proxies work.")
    return proxy


def _proxy_credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
