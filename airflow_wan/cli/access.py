"""Finds the account that a command uses: of an Airflow connection, or with a key from the environment or a prompt.

================================================ ====================================================================
what is looked at, the first that there is       what it is
================================================ ====================================================================
``--conn-id``                                    an Airflow connection: ``AIRFLOW_CONN_…``, a secrets backend, or
                                                 Airflow's database if there is one
``WAN_API_KEY``                                  a key, with ``WAN_BASE_URL`` and ``WAN_GATEWAY`` if it is not APIYI's
``DASHSCOPE_API_KEY``                            a key for DashScope, with ``DASHSCOPE_HTTP_BASE_URL``, as for its SDK
``APIYI_API_KEY``                                a key for APIYI
``AIRFLOW_CONN_WAN_DEFAULT``                     the connection that operators use by default
a hidden prompt                                  a key, if there is somebody to type it
================================================ ====================================================================
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from airflow_wan.api.accounts import ConnectionFields, Remark, read_account
from airflow_wan.api.base_urls import UnusableError, read_base_url
from airflow_wan.api.gateways import APIYI, GATEWAYS, Account, Gateway, GatewayName, is_official
from airflow_wan.exceptions import InvalidVideoRequest, WanConnectionError
from airflow_wan.hooks.account import fields_of
from airflow_wan.hooks.wan import WanHook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_wan.cli.options import Access
    from airflow_wan.cli.screen import Screen
    from airflow_wan.doctor.findings import Finding

log = logging.getLogger(__name__)

_KEYS = (
    ("WAN_API_KEY", "WAN_BASE_URL", None),
    ("DASHSCOPE_API_KEY", "DASHSCOPE_HTTP_BASE_URL", GatewayName.DASHSCOPE),
    ("APIYI_API_KEY", "APIYI_BASE_URL", GatewayName.APIYI),
)
"""The variables with a key, those with the address that it belongs to, and the gateway of each."""

_HOW = (
    "Set DASHSCOPE_API_KEY or APIYI_API_KEY in the environment, or name an Airflow connection of type 'wan' with "
    "--conn-id."
)


class CommandHook(WanHook):
    """A hook of the account that a command was given, whichever connection a record names.

    :param account: the account.
    :param name: where it comes from: the id of a connection, the name of a variable, or ``prompt``.
    :param base_url: see `WanHook`.
    """

    def __init__(self, account: Account, name: str, *, base_url: str | None = None) -> None:
        super().__init__(name, base_url=base_url)
        self._given = account
        self._account = self.checked(account)

    def checked(self, account: Account) -> Account:
        """See `WanHook.checked`."""
        if self.base_url is None or self.base_url == account.base_url:
            return account
        raise WanConnectionError(
            f"The Wan task was submitted to {self.base_url}, and may be billed, but this command leads to "
            f"{account.base_url}. The key was not sent there. Run the command with the account that submitted it."
        )

    def for_purchase(self, wan_conn_id: str, base_url: str) -> CommandHook:
        """See `WanHook.for_purchase`."""
        return CommandHook(self._given, wan_conn_id, base_url=base_url)

    def renewed(self) -> CommandHook:
        """Return the hook: neither a variable nor what was typed changes while a command runs."""
        return self


def find_hook(access: Access, screen: Screen) -> CommandHook:
    """Return the hook of the account that a command uses; the screen prints none of its secrets.

    :param access: what the command line says.
    :param screen: what must not show the secrets.
    :raises WanConnectionError: when there is no account, or it cannot be used.
    """
    name, fields = find_fields(access)
    account = read_account(fields)
    if isinstance(account, Remark):
        raise WanConnectionError(f"{account.text} {_HOW}")
    screen.hide(*account.secrets)
    return CommandHook(account, name)


def find_gateway(access: Access) -> tuple[Gateway, str]:
    """Return the gateway of a command that needs no key, and the address of that gateway."""
    gateway = _gateway(access)
    if gateway is None and (access.conn_id or any(os.environ.get(name) for name, _, _ in _KEYS)):
        account = read_account(find_fields(access)[1])
        if isinstance(account, Account):
            return account.gateway, account.base_url
    gateway = gateway or APIYI
    return gateway, access.base_url or gateway.default_base_url


def examine_account(access: Access, screen: Screen, *, ask_other_regions: bool) -> list[Finding]:
    """Return what is found about the account that a command uses, the worst first.

    :param access: what the command line says.
    :param screen: what must not show the secrets.
    :param ask_other_regions: whether a key that DashScope refuses is tried in its other regions.
    """
    from airflow_wan.doctor.examination import examine  # noqa: PLC0415 - for one command only
    from airflow_wan.doctor.findings import Finding, Kind  # noqa: PLC0415 - likewise

    try:
        _, fields = find_fields(access)
    except WanConnectionError as error:
        return [Finding(Kind.NOT_DEFINED, error.message)]
    screen.hide(*(secret for secret in (fields.api_key, fields.extra.get("system_token")) if secret))
    return examine(fields, ask_other_regions=ask_other_regions)


def find_fields(access: Access) -> tuple[str, ConnectionFields]:
    """Return what is known of the account that a command uses, and where it comes from.

    :param access: what the command line says.
    :raises WanConnectionError: when there is none, or the command line leaves open which one is meant.
    """
    if access.conn_id:
        return access.conn_id, _of_connection(access.conn_id, access)
    gateway = _gateway(access)
    found = list(_keys(gateway))
    if len(found) > 1:
        names = " and ".join(name for name, _, _ in found)
        raise WanConnectionError(f"{names} are set: say with --gateway which account is meant.")
    if found:
        ((name, base_url, named),) = found
        return name, _of_key(os.environ[name], name, access.base_url or base_url, gateway.name if gateway else named)
    if os.environ.get(f"AIRFLOW_CONN_{WanHook.default_conn_name.upper()}"):
        return WanHook.default_conn_name, _of_connection(WanHook.default_conn_name, access)
    key = _asked_for(access, gateway)
    return "prompt", _of_key(key, "the prompt", access.base_url or "", gateway.name if gateway else "")


def _gateway(access: Access) -> Gateway | None:
    """Return the gateway that the command line names, by its name or by its address."""
    if access.gateway is not None:
        try:
            return GATEWAYS[GatewayName(access.gateway.strip().lower())]
        except ValueError:
            raise InvalidVideoRequest([f"--gateway must be {' or '.join(GATEWAYS)}, got {access.gateway!r}."]) from None
    if not access.base_url:
        return None
    try:
        named, base_url = read_base_url(access.base_url)
    except UnusableError:
        return None  # whoever reads the account says so
    return named if is_official(base_url) else None  # any other host may be a relay of either


def _keys(wanted: Gateway | None) -> Iterator[tuple[str, str, str]]:
    """Yield the variable of each key that fits, its address, and its gateway's name; the most particular one alone."""
    for name, base_url_name, gateway in _KEYS:
        named = gateway or os.environ.get("WAN_GATEWAY", "")
        if not os.environ.get(name) or (wanted is not None and named not in ("", wanted.name)):
            continue
        yield name, os.environ.get(base_url_name, ""), named
        if gateway is None:
            return


def _of_key(key: str, name: str, base_url: str, gateway: str) -> ConnectionFields:
    if not base_url and gateway in list(GATEWAYS):
        base_url = GATEWAYS[GatewayName(gateway)].default_base_url
    extra = {"gateway": gateway} if gateway else {}
    return ConnectionFields(name=f"The account of {name}", api_key=key, host=base_url, extra=extra)


def _asked_for(access: Access, gateway: Gateway | None) -> str:
    """Return the key that a person types; nothing of it is shown.

    :raises WanConnectionError: when nobody is there to type it.
    """
    if not sys.stdin.isatty():
        raise WanConnectionError(f"There is no API key. {_HOW}")
    import getpass  # noqa: PLC0415 - for a person only

    place = access.base_url or (gateway or APIYI).title
    try:
        return getpass.getpass(f"API key for {place}: ", stream=sys.stderr)
    except EOFError:  # Ctrl-D
        raise WanConnectionError(f"No API key was typed. {_HOW}") from None


def _of_connection(conn_id: str, access: Access) -> ConnectionFields:
    connection = _look_up(conn_id)
    if connection is None:
        raise WanConnectionError(
            f"The Airflow connection {conn_id!r} is not defined. Set AIRFLOW_CONN_{conn_id.upper()}="
            '\'{"conn_type": "wan", "password": "<API key>"}\' in the environment, or define it in Airflow.'
        )
    fields = fields_of(connection, conn_id, connection.extra_dejson)
    account, gateway = read_account(fields), _gateway(access)
    if isinstance(account, Account) and (
        gateway not in (None, account.gateway) or access.base_url not in (None, account.base_url)
    ):
        raise WanConnectionError(
            f"The Airflow connection {conn_id!r} leads to {account.gateway.title} at {account.base_url}, and its key "
            "is sent nowhere else: leave --gateway and --base-url out, or change the connection."
        )
    return fields


def _look_up(conn_id: str) -> Any:
    """Return an Airflow connection; None if it is not defined. A database that does not exist is not made."""
    from airflow import settings  # noqa: PLC0415 - heavy, and only for connections
    from airflow.configuration import ensure_secrets_loaded  # noqa: PLC0415 - likewise
    from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple  # noqa: PLC0415 - likewise

    if get_base_airflow_version_tuple() < (3, 2) and getattr(settings, "engine", None) is None:
        # There, connections need its logging and all of its models; but the logs stay where they are.
        import structlog  # noqa: PLC0415 - likewise

        handlers, structure = logging.getLogger().handlers[:], structlog.get_config()
        settings.initialize()
        logging.getLogger().handlers = handlers
        structlog.configure(**structure)
    for backend in ensure_secrets_loaded():
        kind = type(backend).__name__
        if kind == "MetastoreBackend" and not _open_database():
            continue
        try:
            connection = backend.get_connection(conn_id=conn_id)
        except Exception as error:  # noqa: BLE001 - each secrets backend, and each database, has its own errors
            log.warning("%s cannot be asked for connections (%s).", kind, type(error).__name__)
            continue
        if connection is not None:
            return connection
    return None


def _open_database() -> bool:
    """Return whether there is a database of Airflow's; it can be read then."""
    from airflow import settings  # noqa: PLC0415 - heavy
    from airflow.configuration import conf  # noqa: PLC0415 - heavy

    url: str = conf.get("database", "sql_alchemy_conn", fallback="")
    scheme, _, path = url.partition(":///")
    if not url or (scheme.startswith("sqlite") and not os.path.exists(path)):  # noqa: PTH110 - a path of SQLAlchemy's
        return False
    if getattr(settings, "engine", None) is None:
        settings.configure_vars()
        settings.configure_orm()
    return True
