"""What an Airflow connection of type ``wan`` says about an account at a gateway."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_wan.api.gateways import APIYI, DASHSCOPE, GATEWAYS, Account, Gateway, GatewayName, gateway_of_host
from airflow_wan.exceptions import WanConnectionError
from airflow_wan.get_provider_info import get_provider_info
from airflow_wan.net.addresses import is_loopback
from airflow_wan.redaction import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.providers.common.compat.sdk import Connection

# Where the path of an API begins in a URL that was copied from a manual or from another client's settings. APIYI's own
# begin with "/wan".
_API_PATH = re.compile(r"(?P<wan>/wan)?/(?:api/v\d|v1(?:beta)?|compatible-(?:mode|api)|services/aigc)(?:/.*)?$")
_ONLY_WAN = re.compile(r"/wan$")
_APIYI_DOMAIN = "apiyi.com"

_EXTRAS = tuple(get_provider_info()["connection-types"][0]["conn-fields"])

_PAGES_FOR_PEOPLE = re.compile(r"^(?:docs?|help|www\.alibabacloud|bailian)\.|(?:^|\.)console\.")

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
    base_url = _without_api_path(base_url, gateway) or gateway.default_base_url
    parts = urlsplit(base_url)
    if connection.port and not parts.port:
        base_url = parts._replace(netloc=f"{parts.netloc}:{connection.port}").geturl()
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
        warnings=tuple(_warnings(conn_id, base_url, extra)),
    )


def _warnings(conn_id: str, base_url: str, extra: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is strange in a connection that can be used."""
    parts = urlsplit(base_url)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        yield f"Connection {conn_id!r} sends its API key unencrypted: {base_url} is not https."
    for name in map(str, extra):
        if name in _EXTRAS:
            continue
        known = name.lower().removeprefix("extra__wan__").replace("-", "_").replace(" ", "_")
        nearest = difflib.get_close_matches(known, _EXTRAS, n=1, cutoff=0.5)
        meant = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(_EXTRAS)}."
        shown = clean_text(name)[:80]
        yield f"Connection {conn_id!r} has the unknown field {shown!r} in its extra, which is ignored; {meant}"


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
    """Return the connection's host as a URL; "" where none is set, for Airflow may give None or ""."""
    host = (connection.host or "").strip().strip("\"'`<>,;").strip()
    if re.match(r"https?%3a", host, re.IGNORECASE):
        host = unquote(host)
    host = re.sub(r"^(?:https?://)+(?=https?://)", "", host, flags=re.IGNORECASE)
    if not host.strip("/"):
        return ""
    if "@" in host or "?" in host or "#" in host:
        # The base URL is kept with each purchase and each trigger, as plain text.
        raise _UnusableError("has a user, a password or a query in its host, where only a URL may be")
    if any(mark in host for mark in "{}<>$"):
        raise _UnusableError(f"has the host {host!r}, which has a name to fill in, such as the id of your workspace")
    base_url = host if "://" in host else _with_scheme(host.lstrip("/"), connection.schema)
    if not _is_base_url(base_url):
        raise _UnusableError(f"has the host {base_url!r}, which is not a URL with a scheme (https://…)")
    parts = urlsplit(base_url)
    netloc = parts.netloc.lower().rstrip(".")
    if _PAGES_FOR_PEOPLE.search(netloc):
        raise _UnusableError(f"has the host {base_url!r}, which has pages for people, and is not the gateway's API")
    return parts._replace(netloc=netloc, path=re.sub(r"/{2,}", "/", parts.path).rstrip("/")).geturl()


def _with_scheme(host: str, schema: str | None) -> str:
    """Return a host that was written without a scheme as a URL: by https, unless it is this machine."""
    scheme = (schema or "").strip().lower()
    if scheme not in ("http", "https"):
        scheme = "http" if is_loopback(urlsplit(f"//{host}").hostname) else "https"
    return f"{scheme}://{host}"


def _without_api_path(base_url: str, gateway: Gateway) -> str:
    """Return a base URL without a path of the API, which other clients want in it; a proxy's own path stays."""
    parts = urlsplit(base_url)
    path = parts.path
    if found := _API_PATH.search(path):
        path = path[: found.start()] + ((found["wan"] or "") if gateway is DASHSCOPE else "")
    if (parts.hostname or "").endswith(_APIYI_DOMAIN):
        path = _ONLY_WAN.sub("", path)
    return parts._replace(path=path.rstrip("/")).geturl()


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
