"""What an Airflow connection of type ``wan`` says about an account at a gateway."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_wan.api.gateways import APIYI, GATEWAYS, Account, Gateway, GatewayName, gateway_of_host
from airflow_wan.exceptions import WanConnectionError
from airflow_wan.net.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Connection

log = logging.getLogger(__name__)

_API_PATHS = ("/api/v1", "/v1")

# What an extra field counts, and its greatest value: timers and sockets take no number of any size.
_SECONDS = (86_400.0, "seconds")
_SPEED = (1e9, "bytes per second")


class _UnusableError(Exception):
    """The connection cannot be used; the message is the end of a sentence that begins with the connection."""


def read_account(connection: Connection, conn_id: str, extra: Mapping[str, Any]) -> Account | WanConnectionError:
    """Return the account that an Airflow connection describes, or the error that says why it cannot be used.

    The error is not raised here: an error report may show the variables of each function that an error passed, and the
    repr of a connection shows its password.

    :param connection: the connection.
    :param conn_id: its id, for messages.
    :param extra: its extra, as a dict.
    """
    try:
        return _account(connection, conn_id, extra)
    except _UnusableError as error:
        return WanConnectionError(how_to_set(conn_id, str(error)))


def _account(connection: Connection, conn_id: str, extra: Mapping[str, Any]) -> Account:
    if connection.conn_type != "wan":
        # The id may come from a record or a template: another connection's password must never be sent to a gateway.
        raise _UnusableError(f"has the type {connection.conn_type!r}, not 'wan'")
    api_key = (connection.password or "").strip()
    if not api_key:
        raise _UnusableError("has no API key (field 'password')")
    if not _fits_header(api_key):
        raise _UnusableError("has an API key with a space, a line break or a non-ASCII character in it")
    base_url = _base_url(connection)
    gateway = _gateway(extra.get("gateway"), base_url)
    base_url = base_url or gateway.default_base_url
    parts = urlsplit(base_url)
    if connection.port and not parts.port:
        base_url = parts._replace(netloc=f"{parts.netloc}:{connection.port}").geturl()
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        log.warning("Connection %r sends its API key unencrypted: %s is not https.", conn_id, base_url)
    workspace = str(extra.get("workspace") or "").strip()
    if not _fits_header(workspace):
        raise _UnusableError(f"has {workspace=} in its extra, which is not a workspace id")
    system_token = str(extra.get("system_token") or "").strip()
    if not _fits_header(system_token):
        raise _UnusableError("has a system_token with a space, a line break or a non-ASCII character in its extra")
    return Account(
        gateway=gateway,
        base_url=base_url,
        api_key=api_key,
        system_token=system_token or None,
        workspace=workspace or None,
        connect_timeout=_positive(extra, "connect_timeout", 10.0, _SECONDS),
        read_timeout=_positive(extra, "read_timeout", 60.0, _SECONDS),
        total_timeout=_positive(extra, "total_timeout", 180.0, _SECONDS),
        least_speed=_positive(extra, "least_speed", 1024.0, _SPEED),
    )


def how_to_set(conn_id: str, problem: str) -> str:
    """Return a message that names a connection's problem and says how to set the connection.

    :param conn_id: the connection's id.
    :param problem: what is wrong, as the end of a sentence: ``is not defined``.
    """
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    return (
        f"The Airflow connection {conn_id!r} {problem}. Set it under Admin > Connections (type 'Wan': the API "
        "key as password, the base URL such as https://api.apiyi.com as host), or in the environment: "
        f'{variable}=\'{{"conn_type": "wan", "password": "<API key>"}}\'.'
    )


def _base_url(connection: Connection) -> str:
    """Return the connection's host without a path of the API; "" where none is set, for Airflow may give None or ""."""
    base_url = (connection.host or "").strip().rstrip("/")
    for path in _API_PATHS:  # other clients of these gateways want their base URL with it
        base_url = base_url.removesuffix(path)
    if "@" in base_url or "?" in base_url:
        # The base URL is kept with each purchase and each trigger, as plain text.
        raise _UnusableError("has a user, a password or a query in its host, where only a URL may be")
    if base_url and not _is_base_url(base_url):
        raise _UnusableError(f"has the host {base_url!r}, which is not a URL with a scheme (https://…)")
    return base_url


def _fits_header(text: str) -> bool:
    """Return whether text can be sent in a header; the HTTP library would quote what cannot in its own error."""
    return text.isascii() and text.isprintable() and " " not in text


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable() and " " not in text


def _gateway(name: object, base_url: str) -> Gateway:
    if not name:
        return gateway_of_host(base_url) if base_url else APIYI
    try:
        return GATEWAYS[GatewayName(str(name).strip().lower())]
    except ValueError:
        allowed = " or ".join(GATEWAYS)
        raise _UnusableError(f"has the gateway {name!r} in its extra; it must be {allowed}") from None


def _positive(extra: Mapping[str, Any], name: str, default: float, quantity: tuple[float, str]) -> float:
    """Return the number in an extra field.

    :param quantity: the greatest number that is allowed, and what the number counts.
    """
    value = extra.get(name)
    if value is None or value == "":
        return default
    greatest, unit = quantity
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if not 0 < number <= greatest:
        raise _UnusableError(
            f"has {name}={value!r} in its extra; it must be a positive number of {unit}, at most {greatest:g}"
        )
    return number
