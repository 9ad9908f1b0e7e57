"""Tells why a request got no answer, from what the network, TLS or a proxy did."""

from __future__ import annotations

import socket
import ssl
from enum import StrEnum
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator


class Trouble(StrEnum):
    """Why there is no answer."""

    UNKNOWN_NAME = "unknown_name"
    """The name of the host cannot be resolved."""
    REFUSED = "refused"
    """Nothing listens at the host's port, or no way leads there."""
    TOO_LATE = "too_late"
    BROKEN_OFF = "broken_off"
    """The connection ended before an answer was there, or what came is no HTTP."""
    PROXY = "proxy"
    """A proxy of the environment did not connect to the host."""
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_OTHER_NAME = "tls_other_name"
    TLS_DATES = "tls_dates"
    """The certificate is not valid yet, or no longer."""
    NO_TLS = "no_tls"
    """What answers does not speak TLS."""
    TLS_FAILS = "tls_fails"


# OpenSSL's x509_vfy.h.
_DATES = (9, 10)
_OTHER_NAME = (62, 64)

# What OpenSSL says when the bytes that come are none of TLS.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})


def trouble_of(error: BaseException) -> Trouble:
    """Return why there is no answer.

    :param error: the error of httpx, with the error of the operating system or of TLS in its chain.
    """
    if isinstance(error, httpx.ProxyError):
        return Trouble.PROXY
    for one in _chain(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return _trouble_of_certificate(one)
        if isinstance(one, ssl.SSLError):
            return Trouble.NO_TLS if one.reason in _NO_TLS else Trouble.TLS_FAILS
        if isinstance(one, (socket.gaierror, UnicodeError)):
            return Trouble.UNKNOWN_NAME
        if isinstance(one, (TimeoutError, httpx.TimeoutException)):
            return Trouble.TOO_LATE
        if isinstance(one, ConnectionError):
            return Trouble.REFUSED if isinstance(one, ConnectionRefusedError) else Trouble.BROKEN_OFF
    return Trouble.REFUSED if isinstance(error, httpx.ConnectError) else Trouble.BROKEN_OFF


def _trouble_of_certificate(error: ssl.SSLCertVerificationError) -> Trouble:
    if error.verify_code in _OTHER_NAME:
        return Trouble.TLS_OTHER_NAME
    return Trouble.TLS_DATES if error.verify_code in _DATES else Trouble.TLS_UNTRUSTED


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it, the innermost first."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    yield from reversed(chain)
