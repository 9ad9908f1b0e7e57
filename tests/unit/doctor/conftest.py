"""What the doctor's tests share: connections, TLS servers for any names, and servers that answer as a test says."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from certificates import self_signed
from file_host import FileHost, host, names, proxied  # noqa: F401 - fixtures
from raw_server import RawServer

from airflow_wan.api import client
from airflow_wan.api.accounts import ConnectionFields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "sk-doctor-tests-0123456789"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the proxies of the developer's machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def connection() -> Callable[..., ConnectionFields]:
    """Return a function that makes a connection to a host, with a valid key and these extra fields."""

    def to(where: str, gateway: str | None = None, *, key: str | None = KEY, **extra: Any) -> ConnectionFields:
        return ConnectionFields("The connection", key, where, extra=extra | ({"gateway": gateway} if gateway else {}))

    return to


@pytest.fixture
def raw_server() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


@pytest.fixture
def tls_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FileHost]]:
    """Return a function that starts an https server with a certificate for these names, which may be trusted."""
    with ExitStack() as running:

        def start(*of: str, trusted: bool = True, ends_in_days: int = 1) -> FileHost:
            addresses = [name for name in of if name[0].isdigit()]
            private, pem = self_signed(sorted({*of} - {*addresses}), addresses, ends_in_days=ends_in_days)
            chain = tmp_path / "chain.pem"
            chain.write_bytes(private + pem)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain)
            if trusted:  # by the means that users have
                monkeypatch.setenv("SSL_CERT_FILE", str(chain))
            client.tls_context.cache_clear()
            return running.enter_context(FileHost(context))

        yield start
    client.tls_context.cache_clear()
