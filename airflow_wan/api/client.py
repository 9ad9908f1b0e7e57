"""WanClient and AsyncWanClient: they send the requests of `gateways` and give the answers to the readers in `tasks`.

No request is repeated here. Callers may repeat reads; they must not repeat a create.

An error report may show the whole chain of an exception, and the variables of the functions that it passed. So no error
is raised while one of httpx is handled, and no variable here shows a key or a signed URL.
"""

from __future__ import annotations

import asyncio
import functools
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from airflow_wan.api.answers import Answer
from airflow_wan.api.exchange import AsyncProgress, Overhead, Progress, TooLateError, read_body, read_body_async
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
from airflow_wan.api.tasks import (
    CHINA_TIME,
    ListedTask,
    ListPage,
    WanTask,
    check_canceled,
    read_created,
    read_list,
    read_owner_list,
    read_task,
)
from airflow_wan.api.trouble import Trouble, trouble_of
from airflow_wan.api.uploads import read_policy, send_file
from airflow_wan.exceptions import (
    GatewayUnavailable,
    InvalidVideoRequest,
    SubmitAmbiguous,
    SubmitNotSent,
    WanConnectionError,
    WanError,
)
from airflow_wan.net.deadline import Deadline
from airflow_wan.net.wire_logs import redact_wire_logs
from airflow_wan.redaction import KeyMask

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Generator
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

# `StreamError` is what httpx calls a body that cannot be read, and is not one of its `HTTPError`.
_HTTP_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)

_AS_OWNER = "airflow_wan_as_owner"
"""The extension of a request that goes with the system token; httpcore does not know it."""

C = TypeVar("C", httpx.Client, httpx.AsyncClient)

_READ_AT_ONCE_BYTES = 64 * 1024
"""Longest answer that is parsed on the event loop, in bytes. A page of 100 tasks has 41 kB, which takes 3 ms."""

_MOST_CONNECTIONS = 256
"""Most connections of one asynchronous client. Its caller bounds how many calls are under way."""

_IDLE_CONNECTIONS = 16
"""Most connections that an idle client keeps open."""

CLOCK_SLACK_S = 300.0
"""How much the gateway's clock may differ from ours, in seconds."""

OWNER_PAGE_ROWS = 20
"""Rows of a page of the list that APIYI shows to a system token: few, for a row may hold a task's whole answer."""

LARGEST_PAGE_ROWS = 100
"""Rows of a page that DashScope is asked for; who asks for more than it likes gets fewer."""

TASKS_KEPT_S = 24 * 3600.0
"""Seconds for which both gateways keep a task."""

MAX_LIST_PAGES = 20
"""Longest list of tasks that is read, in pages."""


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context that all clients of the process share: to build one takes about 20 ms.

    :raises WanConnectionError: when the certificates that the environment names cannot be loaded.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise WanConnectionError(
        f"The certificates by which the hosts of TLS connections are checked cannot be loaded ({reason}). Check "
        "SSL_CERT_FILE and SSL_CERT_DIR in the environment of this process."
    )


class WanClient:
    """Synchronous client for one account; a context manager.

    :param account: the account, with the address of its gateway and its key.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._key_mask = KeyMask(*account.secrets)
        self._http = _open(httpx.Client, account)
        self._overhead = Overhead()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections.

        After an interrupt, that is left to Python: the interrupt may have come as httpcore took its lock, which nobody
        gives back then, and closing would wait for it without end.
        """
        if kind is None or issubclass(kind, Exception):
            self._http.close()

    def create(self, request: VideoRequest) -> WanTask:
        """Submit a video, which costs money: one POST, sent once whatever the answer is.

        :param request: the request.
        :returns: the new task.
        :raises InvalidVideoRequest: when the request cannot be written as JSON.
        :raises SubmitNotSent: when the request provably did not reach the gateway.
        :raises SubmitAmbiguous: when the gateway may have accepted the request.
        :raises WanError: of the class that the answer means, when the gateway refused the request.
        """
        answer = self._exchange(create_call(self._account.gateway, request.body), partial=True)
        if isinstance(answer, NoAnswer):
            raise (SubmitAmbiguous if answer.sent else SubmitNotSent)(answer.reason)
        return read_created(answer)

    def get_task(self, wan_task_id: str) -> WanTask:
        """Return a task, with a new signed URL if it succeeded.

        :param wan_task_id: the id of the task.
        :raises VideoTaskLost: when no task can have this id.
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

    def recent_tasks(self, model: str | None = None) -> list[ListedTask]:
        """Return the account's tasks of the last 24 h, which are all that a gateway keeps.

        :param model: the only model id whose tasks are returned; None for all models.
        :raises WanError: when the list cannot be read, or is longer than `MAX_LIST_PAGES`.
        """
        if self._account.has_system_list:
            now = time.time()
            return self._list_as_owner(model, now - TASKS_KEPT_S, now)
        return self._pages(model=model, start=None, end=None, page_size=LARGEST_PAGE_ROWS)

    def cost_of(self, wan_task_id: str) -> float | None:
        """Return what a succeeded task has cost in USD, if the gateway tells it (APIYI, to a system token).

        :param wan_task_id: the id of the task.
        :raises WanError: when the gateway cannot be asked.
        """
        if not self._account.has_system_list:
            return None
        rows = read_owner_list(self._send(owner_list_call(1, page_size=1, task_id=wan_task_id), wan_task_id))
        return next((row.cost_usd for row in rows if row.wan_task_id == wan_task_id), None)

    def _list_as_owner(self, model: str | None, since: float, until: float) -> list[ListedTask]:
        window = {
            "start_timestamp": str(int(since - CLOCK_SLACK_S)),
            "end_timestamp": str(int(until + CLOCK_SLACK_S) + 1),
            **({"model_name": model} if model else {}),
        }
        found: dict[str, ListedTask] = {}
        for page in range(1, MAX_LIST_PAGES + 1):
            call = owner_list_call(page, page_size=OWNER_PAGE_ROWS, **window)
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
        return self._pages(model=model, start=start, end=end)

    def _pages(self, **window: Any) -> list[ListedTask]:
        """Return the rows of all pages of DashScope's list; see `list_call` for what is listed."""
        found: list[ListedTask] = []
        for page in range(1, MAX_LIST_PAGES + 1):
            listed = read_list(self._send(list_call(page=page, **window)))
            found += listed.rows
            if page >= (1 if listed.total_pages is None else listed.total_pages):
                return found
        raise WanError(f"The list of tasks has more than {MAX_LIST_PAGES} pages.")

    def cancel(self, wan_task_id: str) -> None:
        """Cancel a queued task (DashScope only).

        :param wan_task_id: the id of the task.
        :raises WanError: when it was not canceled: it runs already, or the gateway cannot be reached.
        """
        check_canceled(self._send(cancel_call(self._account.gateway, wan_task_id), wan_task_id), wan_task_id)

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

    def ask(self, call: ApiCall) -> Answer | NoAnswer:
        """Send a request that only reads, and return whatever comes of it.

        :param call: the request, a GET.
        """
        if call.method != "GET":
            raise ValueError(call.method)
        return self._exchange(call)

    def _send(self, call: ApiCall, wan_task_id: str | None = None) -> Answer:
        """Send a request that costs nothing."""
        answer = self._exchange(call)
        if isinstance(answer, NoAnswer):
            raise GatewayUnavailable(answer.reason, wan_task_id=wan_task_id)
        return answer

    def _exchange(self, call: ApiCall, *, partial: bool = False) -> Answer | NoAnswer:
        """Send a request within the account's total time; errors of the network are returned, and not raised.

        :param call: the request.
        :param partial: whether an answer counts of which only a part arrived, if that part names a task.
        """
        content = bytearray()
        with Deadline(self._account.total_timeout) as deadline:
            progress = Progress(deadline, self._overhead)
            if self._socket is not None:
                deadline.watch(self._socket)
            request = _build_request(self._http, call, {"trace": progress})
            try:
                response = self._http.send(request, stream=True)
                try:
                    read_body(response, self._overhead, content)
                finally:
                    response.close()
            except (*_HTTP_ERRORS, TooLateError) as error:
                answer = self._answer(response, content) if partial and content else None
                return answer if answer and answer.task_ids else self._no_answer(error, progress)
            finally:
                self._socket = progress.socket or self._socket
        answer = self._answer(response, content)
        # A body of no stated length seems complete when its connection is shut down.
        cut_off = deadline.passed and answer.payload is None and not (partial and answer.task_ids)
        return self._no_answer(TooLateError(), progress) if cut_off else answer

    def _answer(self, response: httpx.Response, content: bytearray) -> Answer:
        return Answer.read(response.status_code, response.headers.raw, bytes(content), self._key_mask)

    def _no_answer(self, error: Exception, progress: Progress) -> NoAnswer:
        account = self._account
        # A socket may find that its time is over a moment before the timer of the deadline does.
        if progress.deadline.passed or not progress.deadline.remaining_s:
            return NoAnswer(_too_late(account), Trouble.TOO_LATE, sent=progress.sent)
        sent = progress.sent and not isinstance(error, _NOT_SENT)
        return NoAnswer(_failed(error, account, self._key_mask), trouble_of(error), sent=sent)


class AsyncWanClient:
    """Asynchronous client for one account; it cannot submit, because a trigger may run twice.

    :param account: the account, with the address of its gateway and its key.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._key_mask = KeyMask(*account.secrets)
        self._http = _open(httpx.AsyncClient, account)

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

    async def list_page(
        self, page: int, *, page_size: int, start: datetime | None = None, end: datetime | None = None
    ) -> ListPage:
        """Return one page of the list of the account's tasks of all models (DashScope only).

        :param page: number of the page, from 1.
        :param page_size: how many rows are asked for.
        :param start: begin of at most 24 h, in the time zone that the gateway is believed to use.
        :param end: their end, likewise.
        :raises WanError: when the list cannot be read.
        """
        return read_list(await self._send(list_call(page=page, page_size=page_size, start=start, end=end)))

    async def cancel(self, wan_task_id: str) -> None:
        """Cancel a queued task; see `WanClient.cancel`."""
        check_canceled(await self._send(cancel_call(self._account.gateway, wan_task_id), wan_task_id), wan_task_id)

    async def _send(self, call: ApiCall, wan_task_id: str | None = None) -> Answer:
        """Send a request that costs nothing."""
        answer = await self._exchange(call)
        if isinstance(answer, str):
            raise GatewayUnavailable(answer, wan_task_id=wan_task_id)
        return answer

    async def _exchange(self, call: ApiCall) -> Answer | str:
        """Send a request within the account's total time; return why if there is no answer."""
        try:
            async with asyncio.timeout(self._account.total_timeout):
                overhead = Overhead()
                request = _build_request(self._http, call, {"trace": AsyncProgress(overhead)})
                response = await self._http.send(request, stream=True)
                try:
                    content = await read_body_async(response, overhead)
                finally:
                    await response.aclose()
        except TimeoutError:
            return _too_late(self._account)
        except _HTTP_ERRORS as error:
            return _failed(error, self._account, self._key_mask)
        read = functools.partial(Answer.read, response.status_code, response.headers.raw, content, self._key_mask)
        return read() if len(content) <= _READ_AT_ONCE_BYTES else await asyncio.to_thread(read)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """That a request got no answer.

    :param reason: why, as a sentence.
    :param trouble: the kind of the reason.
    :param sent: whether the request may have been sent.
    """

    reason: str
    trouble: Trouble
    sent: bool = field(kw_only=True)


class _KeyHeader(httpx.Auth):
    """Adds key or system token to each request, so that no variable of httpx or of this module holds it for longer."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        as_owner = request.extensions.get(_AS_OWNER)
        request.headers["Authorization"] = (
            str(self._account.system_token) if as_owner else f"Bearer {self._account.api_key}"
        )
        yield request


class _NoCookies(CookieJar):
    """Keeps no cookies: to parse a stranger's would take time, and none is ever needed."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Ignore the cookies of an answer."""


def _open(kind: type[C], account: Account) -> C:
    """Return an HTTP client for an account.

    :raises WanConnectionError: when the base URL or a proxy of the environment cannot be used.
    """
    redact_wire_logs(*account.secrets)
    try:
        return kind(
            base_url=account.base_url,
            headers=account.headers(),
            auth=_KeyHeader(account),
            cookies=_NoCookies(),
            timeout=httpx.Timeout(account.read_timeout, connect=min(account.connect_timeout, account.total_timeout)),
            limits=httpx.Limits(max_connections=_MOST_CONNECTIONS, max_keepalive_connections=_IDLE_CONNECTIONS),
            verify=tls_context(),
        )
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        reason = type(error).__name__  # the text may hold the proxy's password
    raise WanConnectionError(
        f"The HTTP client for {account.gateway.title} at {account.base_url} cannot be made ({reason}). Check that "
        "host, and the proxies that the environment names: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY."
    )


def _build_request(http: httpx.Client | httpx.AsyncClient, call: ApiCall, extensions: dict[str, Any]) -> httpx.Request:
    """Return an HTTP request.

    :raises InvalidVideoRequest: when its body cannot be written as JSON.
    """
    try:
        return http.build_request(
            call.method,
            call.path,
            headers=call.headers,
            params=call.params or None,
            json=call.json,
            extensions=extensions | {_AS_OWNER: call.as_owner},
        )
    except (TypeError, ValueError, RecursionError) as error:
        problem = type(error).__name__
    raise InvalidVideoRequest([f"it cannot be written as JSON in UTF-8 ({problem}). Nothing was sent."])


def _failed(error: Exception, account: Account, key_mask: KeyMask) -> str:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"No answer from {account.gateway.title} at {account.base_url} ({key_mask.hide(reason)})."


def _too_late(account: Account) -> str:
    return (
        f"No answer from {account.gateway.title} at {account.base_url} within {account.total_timeout:g} s, the "
        "longest that a call may take (total_timeout)."
    )
