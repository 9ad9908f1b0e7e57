"""WanHook: an Airflow connection of type ``wan`` → a client for its gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret

from airflow_wan.api.failures import NO_SUCH_TASK_CODES, NOT_A_GATEWAY
from airflow_wan.api.tasks import TaskStatus
from airflow_wan.exceptions import AuthenticationFailed, RateLimited, VideoTaskLost, WanConnectionError, WanError
from airflow_wan.get_provider_info import get_provider_info
from airflow_wan.hooks.account import how_to_set, read_account
from airflow_wan.net.wire_logs import redact_wire_logs
from airflow_wan.redaction import redact

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_wan.api.client import AsyncWanClient, WanClient
    from airflow_wan.api.gateways import Account

__all__ = ["WanHook"]

# No task has this id: asking for it tells whether the key is good, and costs nothing.
_NO_TASK = "00000000-0000-4000-8000-000000000000"


class WanHook(BaseHook):
    """Reaches a Wan gateway with the key, host and timeouts of an Airflow connection.

    The connection: ``password`` is the API key, ``host`` the base URL (APIYI's when empty), and the extra may hold
    ``gateway`` (``apiyi`` or ``dashscope``; told from the host when absent), ``workspace`` (DashScope),
    ``system_token`` (APIYI, opens its list of tasks), ``connect_timeout``, ``read_timeout`` and ``total_timeout`` (s),
    and ``least_speed`` (bytes/s).

    The connection is looked up once for each hook, when it is first needed.

    The key goes to the connection's own host, and nowhere else.

    :param wan_conn_id: id of the Airflow connection, which must be of type ``wan``.
    :param base_url: the base URL to which an earlier request of the same connection went. If the connection leads
        elsewhere by now, it cannot be used: its key may be another company's, and is not sent to the old host.
    """

    conn_name_attr = "wan_conn_id"
    default_conn_name = "wan_default"
    conn_type = "wan"
    hook_name = "Wan"

    def __init__(self, wan_conn_id: str = default_conn_name, *, base_url: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wan_conn_id = wan_conn_id
        self.base_url = base_url
        self._account: Account | None = None
        redact_wire_logs()  # every use of the network, of stores too, begins with a hook

    @property
    def account(self) -> Account:
        """The account that the connection leads to.

        :raises WanConnectionError: when there is no such connection, or it cannot be used.
        """
        if self._account is None:
            self._account = self._check(self._read())
            _mask(self._account)
        return self._account

    async def get_async_account(self) -> Account:
        """Return `account`, looked up without blocking the event loop."""
        if self._account is None:
            self._account = self._check(await self._read_async())
            await asyncio.to_thread(_mask, self._account)
        return self._account

    def _read(self) -> Account | WanConnectionError:
        connection = self._look_up()
        return read_account(connection, self.wan_conn_id, connection.extra_dejson)

    async def _read_async(self) -> Account | WanConnectionError:
        try:
            connection = await get_async_connection(self.wan_conn_id)
        except AirflowNotFoundException:
            # `dag.test()` cannot look up asynchronously, and says then that there is no such connection.
            connection = await asyncio.to_thread(self._look_up)
        return read_account(connection, self.wan_conn_id, await get_async_extra_dejson(connection))

    def _look_up(self) -> Connection:
        try:
            return self.get_connection(self.wan_conn_id)
        except AirflowNotFoundException as error:
            raise WanConnectionError(how_to_set(self.wan_conn_id, "is not defined")) from error

    def _check(self, found: Account | WanConnectionError) -> Account:
        if isinstance(found, WanConnectionError):
            raise found
        return self.checked(found)

    def checked(self, account: Account) -> Account:
        """Return an account of this hook's connection if it is at the base URL of the earlier request.

        That base URL was read from a record or an event, which others than the connection's owner can write.

        :raises WanConnectionError: when it is not.
        """
        if self.base_url is None or self.base_url == account.base_url:
            return account
        raise WanConnectionError(
            f"The Airflow connection {self.wan_conn_id!r} now leads to {account.base_url}, but the Wan task was "
            f"submitted to {self.base_url}, and may be billed. The key was not sent there. Set the connection's host "
            "and key back until that task is done, then clear this task."
        )

    def for_purchase(self, wan_conn_id: str, base_url: str) -> WanHook:
        """Return the hook for an earlier purchase, without another look-up if this hook's connection made it.

        :param wan_conn_id: the Airflow connection that the purchase was made with.
        :param base_url: the base URL that it was made at.
        :raises WanConnectionError: when this hook's connection now leads elsewhere.
        """
        hook = WanHook(wan_conn_id, base_url=base_url)
        if wan_conn_id == self.wan_conn_id:
            hook._account = hook.checked(self.account)
        return hook

    def renewed(self) -> WanHook:
        """Return a hook of the same connection that looks it up again: its key may have been corrected."""
        return WanHook(self.wan_conn_id, base_url=self.base_url)

    def get_conn(self) -> WanClient:
        """Return a synchronous client; use it as a context manager."""
        from airflow_wan.api.client import WanClient  # noqa: PLC0415 - httpx loads when first used, not at DAG parse

        return WanClient(self.account)

    async def get_async_conn(self) -> AsyncWanClient:
        """Return an asynchronous client for triggers; use it as an async context manager."""
        account = await self.get_async_account()
        return await asyncio.to_thread(_async_client, account)

    def cancel_task(self, wan_task_id: str, *, wanted: bool) -> None:
        """Cancel a Wan task if the gateway can, and log whether it may be billed. One attempt; raises nothing.

        This is what a kill does: on a worker, and, in a thread, in the triggerer.

        :param wan_task_id: the task.
        :param wanted: whether the DAG author wants a kill to cancel the Wan task.
        """
        if not wanted:
            self.log.info("Wan task %s is left running at the gateway, and may be billed.", wan_task_id)
            return
        try:
            if not self.account.gateway.can_cancel:
                self.log.warning(
                    "Wan task %s goes on and may be billed: %s cannot cancel.", wan_task_id, self.account.gateway.title
                )
                return
            with self.get_conn() as client:
                client.cancel(wan_task_id)
        except Exception as error:  # noqa: BLE001 - whatever fails, the process is about to end
            self.log.warning(
                "Wan task %s could not be canceled and may go on and be billed: %s", wan_task_id, redact(str(error))
            )
        else:
            self.log.info("Wan task %s is canceled; it will not be billed.", wan_task_id)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the labels of the connection form, for Airflow 3.0 and 3.1; later ones read the provider's info."""
        (connection_type,) = get_provider_info()["connection-types"]
        behaviour: dict[str, Any] = connection_type["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

    def test_connection(self) -> tuple[bool, str]:
        """Ask the gateway for a task that does not exist, which costs nothing.

        Only the gateway's own words for "there is no such task" are good news: any web server answers something.
        """
        try:
            account = self.account
            place = f"{account.gateway.title} at {account.base_url}"
            good, message = self._ask_for_no_task(place)
        except WanConnectionError as error:
            return False, str(error)
        return good, " ".join((message, *account.warnings))

    def _ask_for_no_task(self, place: str) -> tuple[bool, str]:
        try:
            with self.get_conn() as client:
                task = client.get_task(_NO_TASK)
        except AuthenticationFailed as error:
            if error.message.startswith(NOT_A_GATEWAY):
                return False, _no_gateway(place, error)
            return False, f"{place} refuses the key: {error}"
        except VideoTaskLost as error:
            known = (error.code or "").lower() in NO_SUCH_TASK_CODES
            return (True, _good(place)) if known else (False, _no_gateway(place, error))
        except RateLimited as error:
            return False, f"{place} answers, but too many requests are sent to it; test again later: {error.message}"
        except WanError as error:
            if error.http_status is None:
                return False, f"{place} cannot be reached: {error.message}"
            if error.code or error.http_status in (502, 503, 504):
                return False, f"{place} has an outage: {error.message}"
            return False, _no_gateway(place, error)
        return (True, _good(place)) if task.status is TaskStatus.UNKNOWN else (False, _no_gateway(place, None))


def _good(place: str) -> str:
    return f"{place} answers and did not refuse the key."


def _no_gateway(place: str, error: WanError | None) -> str:
    found = error.message if error else "It says that it has a task of an id that nobody was given."
    return f"The host is wrong, it seems: what answers is not {place}. Check the host and the extra 'gateway'. {found}"


def _mask(account: Account) -> None:
    """Have Airflow hide an account's secrets in logs."""
    for secret in account.secrets:
        mask_secret(secret)


def _async_client(account: Account) -> AsyncWanClient:
    """Return a client; called in a thread, for importing httpx and building the TLS context block for a while."""
    from airflow_wan.api.client import AsyncWanClient  # noqa: PLC0415 - httpx loads when first used

    return AsyncWanClient(account)
