"""Reads an account at a gateway from the fields of a connection, wherever that is kept."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_wan.api.base_urls import Flaw, UnusableError, read_base_url
from airflow_wan.api.gateways import GATEWAYS, Account, Gateway, GatewayName
from airflow_wan.get_provider_info import get_provider_info
from airflow_wan.net.addresses import is_loopback
from airflow_wan.redaction import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ConnectionFields", "Flaw", "Remark", "oddities", "read_account"]

CONNECTION_TYPE = "wan"

_EXTRAS = tuple(get_provider_info()["connection-types"][0]["conn-fields"])
_MAX_SHOWN_CHARS = 80

# What people call the field that says where the key goes, slips of the pen in "gateway" among it.
_NAMES_A_HOST = re.compile(
    r"g\w?a\w?t\w?e?w\w?a?y|gtw|url|host|endpoint|api_?base|region|server|provider", re.IGNORECASE
)

# What an extra field counts, and its greatest value: timers and sockets take no number of any size.
_SECONDS = (86_400.0, "seconds")
_SPEED = (1e9, "bytes per second")


@dataclass(frozen=True, slots=True)
class ConnectionFields:
    """What a connection says: an Airflow connection, or the settings of a command.

    :param name: the connection, as the beginning of a sentence: ``The Airflow connection 'wan_default'``.
    :param api_key: the key; never shown.
    :param host: the base URL, as somebody has pasted it; APIYI's when empty.
    :param scheme: ``http`` or ``https`` for a host without a scheme.
    :param port: the port, if the host names none.
    :param extra: the fields that docs/connection.md calls extra; it may hold a token, and is never shown.
    :param connection_type: the type of the connection, which must be ``wan``.
    """

    name: str
    api_key: str | None = field(repr=False)
    host: str | None = None
    scheme: str | None = None
    port: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    connection_type: str = CONNECTION_TYPE


@dataclass(frozen=True, slots=True)
class Remark:
    """What is wrong or strange in a connection.

    :param flaw: what it is.
    :param text: one or two sentences that begin with the connection.
    """

    flaw: Flaw
    text: str


def read_account(fields: ConnectionFields) -> Account | Remark:
    """Return the account that a connection describes, or why it cannot be used.

    Nothing is raised: an error report may show the variables of each function that an error passed.
    """
    try:
        return _account(fields)
    except UnusableError as error:
        return Remark(error.flaw, f"{fields.name} {error.problem}.")


def oddities(fields: ConnectionFields, base_url: str) -> Iterator[Remark]:
    """Yield what is strange in a connection that can be used.

    :param fields: what it says.
    :param base_url: the base URL that was read from it.
    """
    parts = urlsplit(base_url)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        yield Remark(Flaw.NOT_ENCRYPTED, f"{fields.name} sends its API key unencrypted: {base_url} is not https.")
    for name in map(str, fields.extra):
        if name in _EXTRAS:
            continue
        known = name.lower().removeprefix("extra__wan__").replace("-", "_").replace(" ", "_")
        nearest = difflib.get_close_matches(known, _EXTRAS, n=1, cutoff=0.5)
        meant = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(_EXTRAS)}."
        shown = clean_text(name)[:_MAX_SHOWN_CHARS]
        yield Remark(
            Flaw.UNKNOWN_EXTRA, f"{fields.name} has the unknown field {shown!r} in its extra, which is ignored; {meant}"
        )


def _account(fields: ConnectionFields) -> Account:
    if fields.connection_type != CONNECTION_TYPE:
        # The id may come from a record or a template: another connection's password must never be sent to a gateway.
        raise UnusableError(Flaw.OTHER_TYPE, f"has the type {fields.connection_type!r}, not {CONNECTION_TYPE!r}")
    api_key = (fields.api_key or "").strip()
    if not api_key:
        raise UnusableError(Flaw.NO_KEY, "has no API key (field 'password')")
    if not _fits_header(api_key):
        raise UnusableError(Flaw.UNFIT_KEY, "has an API key with a space, a line break or a non-ASCII character in it")
    extra = fields.extra
    if not isinstance(extra, Mapping):
        raise UnusableError(Flaw.UNFIT_EXTRA, "has an extra that is no JSON object")
    gateway, base_url = read_base_url(
        fields.host or "", scheme=fields.scheme, port=fields.port, gateway=_gateway(extra.get("gateway"))
    )
    workspace = str(extra.get("workspace") or "").strip()
    if not _fits_header(workspace):
        raise UnusableError(Flaw.UNFIT_EXTRA, f"has {workspace=} in its extra, which is not a workspace id")
    system_token = str(extra.get("system_token") or "").strip()
    if not _fits_header(system_token):
        raise UnusableError(
            Flaw.UNFIT_EXTRA, "has a system_token with a space, a line break or a non-ASCII character in its extra"
        )
    if not (fields.host or "").strip() and not extra.get("gateway"):
        _check_is_left_to_us(extra)
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
        warnings=tuple(remark.text for remark in oddities(fields, base_url)),
    )


def _check_is_left_to_us(extra: Mapping[str, Any]) -> None:
    """Check that a connection without a host and a gateway means the usual one: a guess would send it the key.

    :raises UnusableError: when something in its extra is likely meant to name another one.
    """
    for name in map(str, extra):
        if (name == "workspace" and extra[name]) or (name not in _EXTRAS and _NAMES_A_HOST.search(name)):
            shown = clean_text(name)[:_MAX_SHOWN_CHARS]
            raise UnusableError(
                Flaw.UNFIT_EXTRA,
                f"has {shown!r} in its extra, and neither a host nor the extra 'gateway': which gateway is meant? "
                "The key is sent nowhere until that is said",
            )


def _fits_header(text: str) -> bool:
    """Return whether text can be sent in a header; the HTTP library would quote what cannot in its own error."""
    return text.isascii() and text.isprintable() and " " not in text


def _gateway(name: object) -> Gateway | None:
    if not name:
        return None
    try:
        return GATEWAYS[GatewayName(str(name).strip().lower())]
    except ValueError:
        allowed = " or ".join(GATEWAYS)
        raise UnusableError(Flaw.UNFIT_EXTRA, f"has the gateway {name!r} in its extra; it must be {allowed}") from None


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
        raise UnusableError(
            Flaw.UNFIT_EXTRA,
            f"has {name}={value!r} in its extra; it must be a positive number of {unit}, at most {greatest:g}",
        )
    return number
