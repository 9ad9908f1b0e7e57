"""WanHook: an Airflow connection of type ``wan`` → a client for its gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret

from airflow_wan.api.accounts import Remark, read_account
from airflow_wan.api.arguments import show
from airflow_wan.doctor.findings import Finding, Kind, Severity, has_problem
from airflow_wan.exceptions import WanConnectionError
from airflow_wan.get_provider_info import get_provider_info
from airflow_wan.hooks.account import fields_of, how_to_set, name_of
from airflow_wan.net.wire_logs import redact_wire_logs
from airflow_wan.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Connection

    from airflow_wan.api.client import AsyncWanClient, WanClient
    from airflow_wan.api.gateways import Account

__all__ = ["WanHook"]


class WanHook(BaseHook):
    """Reaches a Wan gateway with the key, host and timeouts of an Airflow connection.

    The connection: ``password`` is the API key, ``host`` the base URL (APIYI's when empty), and the extra may hold
    ``gateway`` (``apiyi`` or ``dashscope``; told from the host when absent), ``workspace`` (DashScope),
    ``system_token`` (APIYI, opens its list of tasks), ``connect_timeout``, ``read_timeout`` and ``total_timeout`` (s),
    and ``least_speed`` (bytes/s).

    The connection is looked up once for each hook, when it is first needed.

    The key goes to the connection's own host, and nowhere else, unless a person asks `examine` for other regions.

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
        return self._account_of(connection, connection.extra_dejson)

    async def _read_async(self) -> Account | WanConnectionError:
        self._check_id()
        try:
            connection = await get_async_connection(self.wan_conn_id)
        except AirflowNotFoundException:
            # `dag.test()` cannot look up asynchronously, and says then that there is no such connection.
            connection = await asyncio.to_thread(self._look_up)
        return self._account_of(connection, await get_async_extra_dejson(connection))

    def _account_of(self, connection: Connection, extra: Mapping[str, Any]) -> Account | WanConnectionError:
        """Return the account, or the error that says why the connection cannot be used.

        The error is not raised here: an error report may show the variables of each function that an error passed, and
        the repr of a connection shows its password.
        """
        found = read_account(fields_of(connection, self.wan_conn_id, extra))
        return WanConnectionError(how_to_set(self.wan_conn_id, found.text)) if isinstance(found, Remark) else found

    def _look_up(self) -> Connection:
        self._check_id()
        try:
            return self.get_connection(self.wan_conn_id)
        except AirflowNotFoundException as error:
            problem = f"{name_of(self.wan_conn_id)} is not defined."
            raise WanConnectionError(how_to_set(self.wan_conn_id, problem)) from error

    def _check_id(self) -> None:
        conn_id: object = self.wan_conn_id  # a template may have rendered anything
        if not isinstance(conn_id, str) or not conn_id:
            raise WanConnectionError(f"wan_conn_id must be the id of an Airflow connection, got {show(conn_id)}.")

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

    def examine(self, *, ask_other_regions: bool = False) -> list[Finding]:
        """Return what is found about the connection, the worst first; see `airflow_wan.doctor.examination.examine`.

        :param ask_other_regions: whether a key that DashScope refuses is tried at the hosts of its other regions.
        """
        from airflow_wan.doctor.examination import examine  # noqa: PLC0415 - httpx loads when first used

        try:
            connection = self._look_up()
        except WanConnectionError:
            return [Finding(Kind.NOT_DEFINED, f"{name_of(self.wan_conn_id)} is not defined.")]
        fields = fields_of(connection, self.wan_conn_id, connection.extra_dejson)
        account = read_account(fields)
        if not isinstance(account, Remark):
            _mask(account)
        return examine(fields, ask_other_regions=ask_other_regions)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether videos can be bought with the connection as far as can be seen for nothing, and what is found.

        The findings are those of `examine`, without the notes.
        """
        findings = [finding for finding in self.examine() if finding.severity is not Severity.NOTE]
        told = [f.title if f.severity is Severity.GOOD else f"{f.title} {f.advice}" for f in findings]
        return not has_problem(findings), " ".join(told)


def _mask(account: Account) -> None:
    """Have Airflow hide an account's secrets in logs."""
    for secret in account.secrets:
        mask_secret(secret)


def _async_client(account: Account) -> AsyncWanClient:
    """Return a client; called in a thread, for importing httpx and building the TLS context block for a while."""
    from airflow_wan.api.client import AsyncWanClient  # noqa: PLC0415 - httpx loads when first used

    return AsyncWanClient(account)
