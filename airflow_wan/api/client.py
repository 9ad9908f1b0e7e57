"""WanClient and AsyncWanClient: they send the requests of `gateways` and give the answers to the readers in `tasks`.

No request is repeated here. Callers may repeat reads; they must not repeat a create.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import httpx

from airflow_wan.api.answers import Answer
from airflow_wan.api.failures import read_error
from airflow_wan.api.gateways import (
    Account,
    ApiCall,
    cancel_call,
    create_call,
    list_call,
    owner_list_call,
    policy_call,
    task_call,
)
from airflow_wan.api.tasks import CHINA_TIME, ListedTask, WanTask, read_created, read_list, read_owner_list, read_task
from airflow_wan.api.uploads import read_policy, send_file
from airflow_wan.exceptions import GatewayUnavailable, SubmitAmbiguous, SubmitNotSent, VideoTaskLost, WanError

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import BinaryIO

    from airflow_wan.api.requests import VideoRequest

# Raised before any byte of the request can have reached the gateway: name lookup, connection, TLS, our own client.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)

CLOCK_SLACK_S = 300.0
"""How much the gateway's clock may differ from ours, in seconds."""

OWNER_PAGE_ROWS = 100
"""Rows of a page of the list that APIYI shows to a system token."""

MAX_LIST_PAGES = 20
"""Longest list of tasks that is read, in pages."""


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context that all clients of the process share: to build one takes about 20 ms."""
    return httpx.create_ssl_context()


class WanClient:
    """Synchronous client for one account; a context manager.

    :param account: the account, with the address of its gateway and its key.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._http = httpx.Client(**_client_options(account))

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    def create(self, request: VideoRequest) -> WanTask:
        """Submit a video, which costs money: one POST, sent once whatever the answer is.

        :param request: the request.
        :returns: the new task.
        :raises SubmitNotSent: when the request provably did not reach the gateway.
        :raises SubmitAmbiguous: when the gateway may have accepted the request.
        :raises WanError: of the class that the answer means, when the gateway refused the request.
        """
        call = create_call(self._account.gateway, request.body)
        try:
            response = self._http.send(_build_request(self._http, call))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            kind = SubmitNotSent if isinstance(error, _NOT_SENT) else SubmitAmbiguous
            raise kind(_no_answer(error, self._account)) from None
        return read_created(_to_answer(response))

    def get_task(self, wan_task_id: str) -> WanTask:
        """Return a task, with a new signed URL if it succeeded.

        :param wan_task_id: the id of the task.
        :raises GatewayUnavailable: when the task cannot be read for now.
        :raises WanError: of the class that the answer means, when the gateway refuses to tell.
        """
        return read_task(self._send(task_call(self._account.gateway, wan_task_id), wan_task_id), wan_task_id)

    def list_tasks(self, model: str, *, since: float, until: float) -> list[ListedTask]:
        """Return the account's tasks of a model that were created between two moments.

        DashScope lists them to the API key, APIYI to the account's system token.

        :param model: the model id.
        :param since: begin, as a Unix time in seconds.
        :param until: end, as a Unix time in seconds.
        :raises WanError: when the list cannot be read, or is longer than `MAX_LIST_PAGES`.
        """
        rows = self._list_as_owner if self._account.has_system_list else self._list
        # `since` is rounded down to the precision of the gateway's times.
        begin = int(since) if self._account.has_system_list else int(since * 1000) / 1000
        return [
            row
            for row in rows(model, since, until)
            if row.model in (None, model) and begin <= row.created_at <= until + CLOCK_SLACK_S
        ]

    def cost_of(self, wan_task_id: str) -> float | None:
        """Return what a succeeded task has cost in USD, if the gateway tells it (APIYI, to a system token).

        :param wan_task_id: the id of the task.
        :raises WanError: when the gateway cannot be asked.
        """
        if not self._account.has_system_list:
            return None
        rows = read_owner_list(self._send(owner_list_call(1, page_size=1, task_id=wan_task_id), wan_task_id))
        return next((row.cost_usd for row in rows if row.wan_task_id == wan_task_id), None)

    def _list_as_owner(self, model: str, since: float, until: float) -> list[ListedTask]:
        window = {
            "start_timestamp": str(int(since - CLOCK_SLACK_S)),
            "end_timestamp": str(int(until + CLOCK_SLACK_S) + 1),
        }
        found: dict[str, ListedTask] = {}
        for page in range(1, MAX_LIST_PAGES + 1):
            call = owner_list_call(page, page_size=OWNER_PAGE_ROWS, model_name=model, **window)
            rows = {row.wan_task_id: row for row in read_owner_list(self._send(call))}
            if not rows.keys() - found.keys():  # the number of pages is not documented
                return list(found.values())
            found |= rows
        raise WanError(f"The list of tasks has more than {MAX_LIST_PAGES} pages.")

    def _list(self, model: str, since: float, until: float) -> list[ListedTask]:
        # The gateway does not document in which time zone it reads the two times. A begin in UTC and an end in UTC+8
        # include all tasks in either case. The times of the rows are Unix times, and filtered below.
        start = datetime.fromtimestamp(since - CLOCK_SLACK_S, tz=UTC)
        end = datetime.fromtimestamp(until + CLOCK_SLACK_S, tz=CHINA_TIME)
        found: list[ListedTask] = []
        for page in range(1, MAX_LIST_PAGES + 1):
            rows, pages = read_list(self._send(list_call(model=model, start=start, end=end, page=page)))
            found += rows
            if page >= pages:
                return found
        raise WanError(f"The list of tasks has more than {MAX_LIST_PAGES} pages.")

    def cancel(self, wan_task_id: str) -> None:
        """Cancel a queued task (DashScope only).

        :param wan_task_id: the id of the task.
        :raises WanError: when it was not canceled: it runs already, or the gateway cannot be reached.
        """
        _check_canceled(self._send(cancel_call(self._account.gateway, wan_task_id), wan_task_id), wan_task_id)

    def upload(self, file: BinaryIO, *, model: str, name: str, size: int) -> str:
        """Upload a file to the gateway's temporary store (DashScope only); this costs nothing.

        :param file: the file, seekable; it is read while it is sent.
        :param model: the model id. Only its tasks can use the file.
        :param name: the file's name, of which only the suffix is used.
        :param size: its size, in bytes.
        :returns: its ``oss://`` URL, which is valid for 48 h.
        :raises WanError: when the gateway or its store refuses the file, or cannot be reached.
        """
        policy = read_policy(self._send(policy_call(model)), self._account)
        return send_file(policy, file, name=name, size=size, account=self._account, tls=tls_context())

    def _send(self, call: ApiCall, wan_task_id: str | None = None) -> Answer:
        """Send a request that costs nothing."""
        try:
            return _to_answer(self._http.send(_build_request(self._http, self._authorized(call))))
        except httpx.HTTPError as error:
            raise GatewayUnavailable(_no_answer(error, self._account), wan_task_id=wan_task_id) from None

    def _authorized(self, call: ApiCall) -> ApiCall:
        """Return the call with the system token in place of the API key, if it is the owner's."""
        if not call.as_owner:
            return call
        return replace(call, headers={**call.headers, "Authorization": str(self._account.system_token)})


class AsyncWanClient:
    """Asynchronous client for one account; it cannot submit, because a trigger may run twice.

    :param account: the account, with the address of its gateway and its key.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._http = httpx.AsyncClient(**_client_options(account))

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get_task(self, wan_task_id: str) -> WanTask:
        """Return a task; see `WanClient.get_task`."""
        return read_task(await self._send(task_call(self._account.gateway, wan_task_id), wan_task_id), wan_task_id)

    async def cancel(self, wan_task_id: str) -> None:
        """Cancel a queued task; see `WanClient.cancel`."""
        _check_canceled(await self._send(cancel_call(self._account.gateway, wan_task_id), wan_task_id), wan_task_id)

    async def _send(self, call: ApiCall, wan_task_id: str) -> Answer:
        """Send a request that costs nothing."""
        try:
            return _to_answer(await self._http.send(_build_request(self._http, call)))
        except httpx.HTTPError as error:
            raise GatewayUnavailable(_no_answer(error, self._account), wan_task_id=wan_task_id) from None


def _client_options(account: Account) -> dict[str, Any]:
    return {
        "base_url": account.base_url,
        "headers": account.headers(),
        "timeout": httpx.Timeout(account.read_timeout, connect=account.connect_timeout),
        "verify": tls_context(),
    }


def _build_request(http: httpx.Client | httpx.AsyncClient, call: ApiCall) -> httpx.Request:
    return http.build_request(call.method, call.path, headers=call.headers, params=call.params or None, json=call.json)


def _to_answer(response: httpx.Response) -> Answer:
    try:
        payload = response.json()
    except (ValueError, RecursionError):
        payload = None
    headers = {name.lower(): value for name, value in response.headers.items()}
    # The text is only for messages. `response.text` would use any charset that the answer names, and some raise errors.
    return Answer(response.status_code, headers, payload, response.content.decode("utf-8", "replace"))


def _no_answer(error: Exception, account: Account) -> str:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"No answer from {account.gateway.title} at {account.base_url} ({reason})."


def _check_canceled(answer: Answer, wan_task_id: str) -> None:
    if answer.ok:
        return
    error = read_error(answer, wan_task_id)
    if isinstance(error, VideoTaskLost):
        # The gateway refuses to cancel most likely because the task runs already: it is not lost.
        error = WanError(error.message, code=error.code, request_id=error.request_id, wan_task_id=wan_task_id)
    raise error
