"""WanClient and AsyncWanClient: two thin shells over the same request builders and readers. httpx stays in here.

No call is ever repeated in here. Reads may be repeated by whoever waits; a create never is.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import httpx

from airflow_wan.api.failures import classify_read, read_failed_answer
from airflow_wan.api.gateways import Account, ApiCall, cancel_call, create_call, list_call, policy_call, task_call
from airflow_wan.api.tasks import CHINA_TIME, Answer, ListedTask, WanTask, read_created, read_list, read_task
from airflow_wan.api.uploads import read_policy, send_file
from airflow_wan.exceptions import GatewayUnavailable, SubmitAmbiguous, SubmitNotSent, VideoTaskLost, WanError

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import BinaryIO

    from airflow_wan.api.requests import VideoRequest

# Raised before a byte of the request can have reached the gateway: name lookup, connection, TLS, our own client.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)

CLOCK_SLACK = 300.0
"""s by which the gateway's clock may differ from ours."""

MAX_LIST_PAGES = 20
"""Pages of a list that are read; a longer one is not searched."""


@functools.cache
def tls_context() -> ssl.SSLContext:
    """The one TLS context of the process: building it costs some 20 ms, far more than a client."""
    return httpx.create_ssl_context()


class WanClient:
    """Synchronous calls to one account's gateway; use it as a context manager.

    :param account: where requests go and with which key.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._http = httpx.Client(**_client_options(account))

    def __enter__(self) -> Self:
        """Open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    def create(self, request: VideoRequest) -> WanTask:
        """Submit a video: one POST, which may cost money, and is sent once whatever comes back.

        :raises SubmitNotSent: when it provably did not reach the gateway.
        :raises SubmitAmbiguous: when the gateway may have accepted it.
        :raises WanError: by the gateway's code, when it was refused.
        """
        try:
            answer = _taken_apart(self._http.send(_built(self._http, create_call(self._account.gateway, request.body))))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _submit_error(error, self._account) from None
        return read_created(answer)

    def get_task(self, wan_task_id: str) -> WanTask:
        """Read a task, with a fresh signed URL if it succeeded.

        :raises GatewayUnavailable: when it cannot be read for now.
        :raises WanError: by the gateway's code, when it refuses.
        """
        return read_task(self._ask(task_call(self._account.gateway, wan_task_id), wan_task_id), wan_task_id)

    def list_tasks(self, model: str, *, since: float, until: float) -> list[ListedTask]:
        """The account's tasks of a model made between two moments (DashScope).

        :param model: the model id.
        :param since: unix time in s.
        :param until: unix time in s.
        :raises WanError: when the list cannot be had, or is longer than `MAX_LIST_PAGES`.
        """
        # The time zone of the window is not documented. From the one reading's begin to the other's end it holds the
        # moments under both; the rows' own times are unambiguous.
        start = datetime.fromtimestamp(since - CLOCK_SLACK, tz=UTC)
        end = datetime.fromtimestamp(until + CLOCK_SLACK, tz=CHINA_TIME)
        found: list[ListedTask] = []
        for page in range(1, MAX_LIST_PAGES + 1):
            rows, pages = read_list(self._ask(list_call(model=model, start=start, end=end, page=page)))
            # The gateway writes whole milliseconds.
            found += [row for row in rows if int(since * 1000) / 1000 <= row.created_at <= until + CLOCK_SLACK]
            if page >= pages:
                return found
        raise WanError(f"The list of tasks has more than {MAX_LIST_PAGES} pages.")

    def cancel(self, wan_task_id: str) -> None:
        """Ask the gateway to cancel a task that is still queued (DashScope).

        :raises WanError: when it did not: the task runs already, or could not be reached.
        """
        _check_canceled(self._ask(cancel_call(self._account.gateway, wan_task_id), wan_task_id), wan_task_id)

    def upload(self, file: BinaryIO, *, model: str, name: str, size: int) -> str:
        """Put a file into the gateway's temporary store for a task of this model (DashScope); costs nothing.

        :param file: the file, seekable; it is sent piece by piece.
        :param model: the model id that alone may use it.
        :param name: the file's name; only its suffix is kept.
        :param size: its size, bytes.
        :returns: its ``oss://`` URL, which works for 48 h.
        :raises WanError: when the gateway or its store refuses, or for now cannot be reached.
        """
        policy = read_policy(self._ask(policy_call(model)), self._account)
        return send_file(policy, file, name=name, size=size, account=self._account, tls=tls_context())

    def _ask(self, call: ApiCall, wan_task_id: str | None = None) -> Answer:
        """Send what costs nothing."""
        try:
            return _taken_apart(self._http.send(_built(self._http, call)))
        except httpx.HTTPError as error:
            raise _read_error(error, self._account, wan_task_id) from None


class AsyncWanClient:
    """Asynchronous reads and cancels for the event loop; there is no create here: a trigger may run twice.

    :param account: where requests go and with which key.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._http = httpx.AsyncClient(**_client_options(account))

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get_task(self, wan_task_id: str) -> WanTask:
        """Read a task; see `WanClient.get_task`."""
        answer = await self._ask(task_call(self._account.gateway, wan_task_id), wan_task_id)
        return read_task(answer, wan_task_id)

    async def cancel(self, wan_task_id: str) -> None:
        """Cancel a queued task; see `WanClient.cancel`."""
        _check_canceled(await self._ask(cancel_call(self._account.gateway, wan_task_id), wan_task_id), wan_task_id)

    async def _ask(self, call: ApiCall, wan_task_id: str) -> Answer:
        """See `WanClient._ask`."""
        try:
            return _taken_apart(await self._http.send(_built(self._http, call)))
        except httpx.HTTPError as error:
            raise _read_error(error, self._account, wan_task_id) from None


def _client_options(account: Account) -> dict[str, Any]:
    return {
        "base_url": account.base_url,
        "headers": account.headers(),
        "timeout": httpx.Timeout(account.read_timeout, connect=account.connect_timeout),
        "verify": tls_context(),
    }


def _built(http: httpx.Client | httpx.AsyncClient, call: ApiCall) -> httpx.Request:
    return http.build_request(call.method, call.path, headers=call.headers, params=call.params or None, json=call.json)


def _taken_apart(response: httpx.Response) -> Answer:
    try:
        payload = response.json()
    except (ValueError, RecursionError):
        payload = None
    # httpx headers are looked up without regard to case; a plain dict of lower-case names serves the readers.
    headers = {name.lower(): value for name, value in response.headers.items()}
    # Only for messages. `response.text` would believe any charset that the answer names, and some raise errors.
    return Answer(response.status_code, headers, payload, response.content.decode("utf-8", "replace"))


def _submit_error(error: Exception, account: Account) -> WanError:
    what = _in_words(error, account)
    return SubmitNotSent(what) if isinstance(error, _NOT_SENT) else SubmitAmbiguous(what)


def _read_error(error: Exception, account: Account, wan_task_id: str | None) -> WanError:
    return GatewayUnavailable(_in_words(error, account), wan_task_id=wan_task_id)


def _in_words(error: Exception, account: Account) -> str:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"No answer from {account.gateway.title} at {account.base_url} ({reason})."


def _check_canceled(answer: Answer, wan_task_id: str) -> None:
    if answer.ok:
        return
    failed = read_failed_answer(answer.http_status, answer.headers, answer.payload, answer.text)
    error = classify_read(failed, wan_task_id)
    if isinstance(error, VideoTaskLost):
        # Refused, most likely because the task runs already: that is not to be lost.
        error = WanError(error.message, code=error.code, request_id=error.request_id, wan_task_id=wan_task_id)
    raise error
