"""WanHook: an Airflow connection of type ``wan`` → a client for its gateway."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret

from airflow_wan.api.gateways import APIYI, GATEWAYS, Account, Gateway, GatewayName, gateway_of_host
from airflow_wan.exceptions import WanConnectionError
from airflow_wan.get_provider_info import get_provider_info
from airflow_wan.net.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Connection

    from airflow_wan.api.client import AsyncWanClient, WanClient

log = logging.getLogger(__name__)

# No task has this id: asking for it tells whether the key is good, and costs nothing.
_NO_TASK = "00000000-0000-4000-8000-000000000000"


_API_PATHS = ("/api/v1", "/v1")


class WanHook(BaseHook):
    """Reaches a Wan gateway with the key, host and timeouts of an Airflow connection.

    The connection: ``password`` is the API key, ``host`` the base URL (APIYI's when empty), and the extra may hold
    ``gateway`` (``apiyi`` or ``dashscope``; told from the host when absent), ``workspace`` (DashScope),
    ``connect_timeout`` and ``read_timeout`` (s).

    :param wan_conn_id: id of the Airflow connection.
    :param base_url: where an earlier request of the same connection went; a task is asked for where it was submitted,
        even if the connection's host has changed since.
    """

    conn_name_attr = "wan_conn_id"
    default_conn_name = "wan_default"
    conn_type = "wan"
    hook_name = "Wan"

    def __init__(self, wan_conn_id: str = default_conn_name, *, base_url: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wan_conn_id = wan_conn_id
        self._base_url = base_url
        self._account: Account | None = None

    @property
    def account(self) -> Account:
        """Where the connection leads.

        :raises WanConnectionError: when there is no such connection, or it cannot be used.
        """
        if self._account is None:
            connection = self._look_up()
            self._account = self._pinned(read_account(connection, self.wan_conn_id, connection.extra_dejson))
        return self._account

    async def get_async_account(self) -> Account:
        """Where the connection leads, looked up without blocking the event loop; see `account`."""
        if self._account is None:
            from airflow.providers.common.compat.connection import (  # noqa: PLC0415 - only triggers need it
                get_async_connection,
                get_async_extra_dejson,
            )

            try:
                connection = await get_async_connection(self.wan_conn_id)
            except AirflowNotFoundException:
                # `dag.test()` has no asynchronous line to Airflow and takes what it cannot ask for as absent.
                connection = await asyncio.to_thread(self._look_up)
            extra = await get_async_extra_dejson(connection)
            self._account = self._pinned(read_account(connection, self.wan_conn_id, extra))
        return self._account

    def _look_up(self) -> Connection:
        try:
            return self.get_connection(self.wan_conn_id)
        except AirflowNotFoundException as error:
            raise WanConnectionError(_how_to_set(self.wan_conn_id, "is not defined")) from error

    def _pinned(self, account: Account) -> Account:
        """The account at the base URL that was asked for; a key is never sent to another company's host."""
        if self._base_url is None or self._base_url == account.base_url:
            return account
        if gateway_of_host(self._base_url) is not gateway_of_host(account.base_url):
            raise WanConnectionError(
                f"The Airflow connection {self.wan_conn_id!r} now leads to {account.base_url}, but the Wan task was "
                f"submitted to {self._base_url}. Set the connection's host and key back until that task is done."
            )
        return replace(account, base_url=self._base_url)

    def get_conn(self) -> WanClient:
        """A synchronous client; use it as a context manager."""
        from airflow_wan.api.client import WanClient  # noqa: PLC0415 - httpx loads when first used, not at DAG parse

        account = self.account
        mask_secret(account.api_key)
        return WanClient(account)

    async def get_async_conn(self) -> AsyncWanClient:
        """An asynchronous client for triggers; use it as an async context manager."""
        account = await self.get_async_account()
        return await asyncio.to_thread(_async_client, account)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Labels of the connection form, for Airflow 3.0 and 3.1; later versions read them from the provider's info."""
        (connection_type,) = get_provider_info()["connection-types"]
        behaviour: dict[str, Any] = connection_type["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

    def test_connection(self) -> tuple[bool, str]:
        """Ask the gateway for a task that does not exist: free, and only a wrong key is refused."""
        from airflow_wan.exceptions import AuthenticationFailed, WanError  # noqa: PLC0415

        try:
            account = self.account
            with self.get_conn() as client:
                client.get_task(_NO_TASK)
        except WanConnectionError as error:
            return False, str(error)
        except AuthenticationFailed as error:
            return False, f"{account.gateway.title} at {account.base_url} refuses the key: {error}"
        except WanError as error:
            if error.http_status is None:
                return False, f"{account.gateway.title} at {account.base_url} cannot be reached: {error.message}"
            if error.http_status >= 500:  # noqa: PLR2004
                return False, f"{account.gateway.title} at {account.base_url} is in trouble: {error.message}"
        return True, f"{account.gateway.title} at {account.base_url} answers and did not refuse the key."


def _async_client(account: Account) -> AsyncWanClient:
    """Runs in a thread: importing httpx and building the TLS context would hold up the event loop."""
    from airflow_wan.api.client import AsyncWanClient  # noqa: PLC0415

    return AsyncWanClient(account)


def read_account(connection: Connection, conn_id: str, extra: Mapping[str, Any]) -> Account:
    """What an Airflow connection says about an account.

    :raises WanConnectionError: when the key is empty, the host is no URL, or an extra field has no sensible value.
    """
    api_key = (connection.password or "").strip()
    if not api_key:
        raise WanConnectionError(_how_to_set(conn_id, "has no API key (field 'password')"))
    if not _fits_header(api_key):
        raise WanConnectionError(
            _how_to_set(conn_id, "has an API key with a space, a line break or a non-ASCII character in it")
        )
    # Lookups through the execution API give '' where nothing is set.
    base_url = (connection.host or "").strip().rstrip("/")
    for path in _API_PATHS:  # as other clients of these gateways want their base URL
        base_url = base_url.removesuffix(path)
    if "@" in base_url or "?" in base_url:
        # The base URL is written down with each purchase and each trigger, in plain text.
        raise WanConnectionError(
            _how_to_set(conn_id, "has a user, a password or a query in its host; only a URL may be")
        )
    if base_url and not _is_base_url(base_url):
        raise WanConnectionError(
            _how_to_set(conn_id, f"has the host {base_url!r}, which is no URL with a scheme (https://…)")
        )
    gateway = _gateway(conn_id, extra.get("gateway"), base_url)
    base_url = base_url or gateway.default_base_url
    parts = urlsplit(base_url)
    if connection.port and not parts.port:
        base_url = parts._replace(netloc=f"{parts.netloc}:{connection.port}").geturl()
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        log.warning("Connection %r sends its API key unencrypted: %s is not https.", conn_id, base_url)
    workspace = str(extra.get("workspace") or "").strip()
    if not _fits_header(workspace):
        raise WanConnectionError(_how_to_set(conn_id, f"has {workspace=} in its extra, which is no workspace id"))
    return Account(
        gateway=gateway,
        base_url=base_url,
        api_key=api_key,
        workspace=workspace or None,
        connect_timeout=_seconds(conn_id, extra, "connect_timeout", 10.0),
        read_timeout=_seconds(conn_id, extra, "read_timeout", 60.0),
    )


def _fits_header(text: str) -> bool:
    """Whether text can be sent as part of a header; what cannot would be quoted in the HTTP library's own error."""
    return text.isascii() and text.isprintable() and " " not in text


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable() and " " not in text


def _gateway(conn_id: str, name: object, base_url: str) -> Gateway:
    if not name:
        return gateway_of_host(base_url) if base_url else APIYI
    try:
        return GATEWAYS[GatewayName(str(name).strip().lower())]
    except ValueError:
        allowed = " or ".join(GATEWAYS)
        raise WanConnectionError(
            _how_to_set(conn_id, f"has the gateway {name!r} in its extra; it must be {allowed}")
        ) from None


def _seconds(conn_id: str, extra: Mapping[str, Any], name: str, default: float) -> float:
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise WanConnectionError(_how_to_set(conn_id, f"has {name}={value!r} in its extra; it must be seconds over 0"))
    return seconds


def _how_to_set(conn_id: str, what_is_wrong: str) -> str:
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    return (
        f"The Airflow connection {conn_id!r} {what_is_wrong}. Set it under Admin > Connections (type 'Wan': the API "
        "key as password, the base URL such as https://api.apiyi.com as host), or in the environment: "
        f'{variable}=\'{{"conn_type": "wan", "password": "<API key>"}}\'.'
    )
