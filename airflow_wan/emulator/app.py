"""The web application: routes of both gateways, of the result files and of the test controls."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_wan.emulator import journal, results, sabotage
from airflow_wan.emulator.apiyi import Apiyi
from airflow_wan.emulator.clock import Clock
from airflow_wan.emulator.dashscope import DashScope
from airflow_wan.emulator.faults import CallKind, Fault, FaultKind, Faults
from airflow_wan.emulator.media import Fetcher
from airflow_wan.emulator.orders import Failure, GatewayName, Refusal, RefusalKind, read_order
from airflow_wan.emulator.studio import Studio
from airflow_wan.emulator.tasks import Caller, State, Task, TaskStore
from airflow_wan.emulator.throttle import Throttle
from airflow_wan.emulator.uploads import UploadStore
from airflow_wan.emulator.wire import Dropped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from airflow_wan.emulator.gateway import Answer, Gateway
    from airflow_wan.emulator.orders import Order
    from airflow_wan.emulator.settings import Settings

_CREATE = "/api/v1/services/aigc/video-generation/video-synthesis"
_STORE = "/dashscope-instant"
_BEARER = re.compile(r"Bearer\s+(\S+)")
_KEY_PREFIX = "sk-"
# A poll waits this long for an mp4; well below the read timeout of any client.
_LONGEST_POLL_S = 10.0

APIYI = Apiyi()
DASHSCOPE = DashScope()


@dataclass(frozen=True)
class Call:
    """One request of a gateway's client."""

    request: Request
    body: bytes
    request_id: str

    @property
    def key(self) -> str:
        """The bearer's key, or nothing."""
        match = _BEARER.fullmatch(self.request.headers.get("authorization", ""))
        return match[1] if match else ""

    @property
    def caller(self) -> Caller:
        """The key's owner."""
        return Caller.of(self.key)


class Emulator:
    """The state behind the routes; `app` is what a web server runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.tasks = TaskStore()
        self.journal = journal.Journal()
        self.faults = Faults()
        self.uploads = UploadStore(self.clock)
        self._studio = Studio(self.clock)
        self._signer = results.Signer()
        self._throttle = Throttle()
        self.app = Starlette(routes=self._routes(), exception_handlers={HTTPException: _no_route})

    def reset(self) -> None:
        """Forget all tasks, requests, faults and clock changes."""
        self.faults.clear()
        self.tasks.clear()
        self.journal.clear()
        self.uploads.clear()
        self.clock.reset()
        self._throttle.clear()

    def close(self) -> None:
        """Stop the renders."""
        self._studio.close()

    def _routes(self) -> list[Route]:
        create, poll, cancel, listing = CallKind.CREATE, CallKind.POLL, CallKind.CANCEL, CallKind.LIST
        return [
            Route(f"/wan{_CREATE}", self._served(APIYI, create, self._create_at(APIYI)), methods=["POST"]),
            Route("/v1/tasks/{task_id}", self._served(APIYI, poll, self._poll_at(APIYI)), methods=["GET"]),
            Route("/v1/videos", self._served(APIYI, create, self._drop_media), methods=["POST"]),
            Route(_CREATE, self._served(DASHSCOPE, create, self._create_at(DASHSCOPE)), methods=["POST"]),
            Route("/api/v1/tasks/{task_id}", self._served(DASHSCOPE, poll, self._poll_at(DASHSCOPE)), methods=["GET"]),
            Route("/api/v1/tasks/{task_id}/cancel", self._served(DASHSCOPE, cancel, self._cancel), methods=["POST"]),
            # The docs end the path with a slash, the SDK does not.
            Route("/api/v1/tasks/", self._served(DASHSCOPE, listing, self._list), methods=["GET"]),
            Route("/api/v1/tasks", self._served(DASHSCOPE, listing, self._list), methods=["GET"]),
            Route("/api/v1/uploads", self._policy, methods=["GET"]),
            Route(_STORE, self.uploads.receive, methods=["POST"]),
            Route("/result/{name}", self._download, methods=["GET", "HEAD"]),
            Route("/_emulator/ledger", self._ledger, methods=["GET"]),
            Route("/_emulator/requests", self._requests, methods=["GET"]),
            Route("/_emulator/uploads", self._list_uploads, methods=["GET"]),
            Route("/_emulator/clock", self._advance, methods=["POST"]),
            Route("/_emulator/faults", self._add_faults, methods=["POST"]),
            Route("/_emulator/faults", self._list_faults, methods=["GET"]),
            Route("/_emulator/faults", self._clear_faults, methods=["DELETE"]),
            Route("/_emulator/faults/release", self._release, methods=["POST"]),
            Route("/_emulator/reset", self._reset, methods=["POST"]),
        ]

    def _served(
        self, gateway: Gateway, kind: CallKind, handle: Callable[[Call], Answer]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Wrap a handler in what all calls of a gateway share.

        Every request of either gateway passes here and `kind` says which it is: the place where one goes wrong.
        """

        async def endpoint(request: Request) -> Response:
            call = Call(request, await request.body(), str(uuid.uuid4()))
            if kind is not CallKind.CREATE:
                return await answered(call)
            entry = self.journal.note(request.method, request.url.path, request.headers, call.body)
            response = await answered(call)
            if not isinstance(response, Dropped):
                entry["status"] = response.status_code
            return response

        async def answered(call: Call) -> Response:
            def true() -> Response:
                answer = self._turned_away(gateway, kind, call) or handle(call)
                return JSONResponse(dict(answer.body), answer.status, headers=gateway.headers(call.request_id))

            if kind is CallKind.POLL and self.settings.running_s == 0:
                await self._rendered(gateway, call)
            planted = self.faults.take(kind)
            if planted is None:
                return true()
            struck = sabotage.Struck(self.faults, planted, call.request, call.request_id, true)
            return await sabotage.gateway_answer(struck, gateway)

        return endpoint

    def _turned_away(self, gateway: Gateway, kind: CallKind, call: Call) -> Answer | None:
        if not self._is_good_key(call.key):
            return gateway.unauthorized(key_given=bool(call.key), request_id=call.request_id)
        is_limited = gateway.name is GatewayName.DASHSCOPE and kind is not CallKind.CREATE
        if self.settings.qps_limit and is_limited and not self._throttle.admits(call.caller.digest, kind):
            return gateway.throttled(call.request_id)
        return None

    def _is_good_key(self, key: str) -> bool:
        if self.settings.api_key is not None:
            return hmac.compare_digest(key.encode(), self.settings.api_key.encode())
        return key.startswith(_KEY_PREFIX) and key not in self.settings.rejected_keys

    def _create_at(self, gateway: Gateway) -> Callable[[Call], Answer]:
        def create(call: Call) -> Answer:
            if call.request.headers.get("x-dashscope-async") != "enable":
                sentence = "current user api does not support synchronous calls"
                return gateway.refused(Refusal(RefusalKind.NOT_ASYNC, sentence), call.request_id)
            order = read_order(call.body, gateway.name)
            if isinstance(order, Refusal):
                return gateway.refused(order, call.request_id)
            return gateway.created(self._accept(order, gateway, call))

        return create

    def _accept(self, order: Order, gateway: Gateway, call: Call) -> Task:
        planted = self.faults.take(CallKind.CREATE, outcome=True)
        fault = planted.fault if planted else None
        if fault is not None and fault.kind is FaultKind.TASK_FAILED:
            order = replace(order, doom=Failure(fault.code, fault.message))
        now = self.clock.now()
        starts_at = now + self.settings.pending_s
        task = Task(
            order=order,
            gateway=gateway.name,
            caller=call.caller,
            created_at=now,
            starts_at=starts_at,
            ready_at=starts_at + self.settings.running_s,
            expires_at=now + self.settings.task_ttl_s,
            work=self._studio.start(order, self._fetcher(order, gateway, call)),
            request_id=call.request_id,
        )
        if fault is not None and fault.kind is FaultKind.TASK_CANCELED:
            task.canceled_at = starts_at
            task.work.cancel()
        if fault is not None and fault.kind is FaultKind.TASK_UNKNOWN:
            task.expires_at = now + fault.after_s
        self.tasks.add(task)
        return task

    def _fetcher(self, order: Order, gateway: Gateway, call: Call) -> Fetcher:
        """Return what fetches the media; `oss://` ones only for DashScope, and only if a header asks for it."""
        resolves = call.request.headers.get("x-dashscope-ossresourceresolve") == "enable"
        uploaded = None
        if gateway.name is GatewayName.DASHSCOPE and resolves:
            uploaded = partial(self.uploads.content, caller=call.caller, model=order.model)
        return Fetcher(gateway.name, self.settings.media_mirrors, uploaded)

    async def _rendered(self, gateway: Gateway, call: Call) -> None:
        """Wait for the mp4 of the task that is asked for, so that its first poll finds it finished."""
        now = self.clock.now()
        task = self.tasks.find(call.request.path_params["task_id"], gateway.name, call.caller, now)
        if task is not None and now >= task.starts_at and not task.work.done():
            await asyncio.wait([asyncio.wrap_future(task.work)], timeout=_LONGEST_POLL_S)

    def _poll_at(self, gateway: Gateway) -> Callable[[Call], Answer]:
        def poll(call: Call) -> Answer:
            now = self.clock.now()
            task_id = call.request.path_params["task_id"]
            task = self.tasks.find(task_id, gateway.name, call.caller, now)
            if task is None:
                return gateway.no_task(task_id, call.request_id)
            snapshot = task.at(now)
            url = self._result_url(call.request, task, now) if snapshot.state is State.SUCCEEDED else None
            return gateway.task(task, snapshot, url, call.request_id, now)

        return poll

    def _drop_media(self, call: Call) -> Answer:  # noqa: ARG002
        return APIYI.media_dropped()

    def _cancel(self, call: Call) -> Answer:
        now = self.clock.now()
        task = self.tasks.find(call.request.path_params["task_id"], DASHSCOPE.name, call.caller, now)
        if task is None or not task.cancel(now):
            return DASHSCOPE.not_cancelable(call.request_id)
        return DASHSCOPE.canceled(call.request_id)

    def _list(self, call: Call) -> Answer:
        now = self.clock.now()
        tasks = self.tasks.of(DASHSCOPE.name, call.caller, now)
        return DASHSCOPE.listed(tasks, call.request.query_params, now, call.request_id)

    async def _policy(self, request: Request) -> Response:
        call = Call(request, b"", str(uuid.uuid4()))
        if not self._is_good_key(call.key):
            return _json(DASHSCOPE.unauthorized(key_given=bool(call.key), request_id=call.request_id))
        model = request.query_params.get("model", "")
        if request.query_params.get("action") != "getPolicy" or not model:
            sentence = "Required are action=getPolicy and a model."
            return _json(DASHSCOPE.refused(Refusal(RefusalKind.WRONG_VALUE, sentence), call.request_id))
        host = f"{request.url.scheme}://{request.url.netloc}{_STORE}"
        return JSONResponse(
            {"request_id": call.request_id, "data": self.uploads.grant(call.caller, model, host)},
        )

    def _result_url(self, request: Request, task: Task, now: float) -> str:
        base = f"{request.url.scheme}://{request.url.netloc}"
        return self._signer.url(base, f"/result/{task.id}.mp4", now + self.settings.url_ttl_s)

    async def _download(self, request: Request) -> Response:
        request_id = uuid.uuid4().hex.upper()[:24]

        def served(serve: results.Serve = results.serve) -> Response:
            return self._file(request, request_id, serve)

        planted = self.faults.take(CallKind.DOWNLOAD)
        if planted is None:
            return served()
        struck = sabotage.Struck(self.faults, planted, request, request_id, true=served)
        return await sabotage.download_answer(struck, served)

    def _file(self, request: Request, request_id: str, serve: results.Serve) -> Response:
        now = self.clock.now()
        refusal = results.refuse(request, self._signer, now, request_id)
        if refusal is not None:
            return refusal
        task = self.tasks.get(request.path_params["name"].removesuffix(".mp4"))
        film = task.at(now).film if task else None
        if task is None or film is None:
            return results.missing(request_id)
        return serve(request, film.content, task.ready_at, request_id)

    async def _ledger(self, _: Request) -> Response:
        return JSONResponse(journal.ledger(self.tasks, self.clock.now()))

    async def _requests(self, _: Request) -> Response:
        return JSONResponse(self.journal.entries())

    async def _list_uploads(self, _: Request) -> Response:
        return JSONResponse(self.uploads.rows())

    async def _advance(self, request: Request) -> Response:
        try:
            seconds = float((await request.json())["advance_s"])
        except (ValueError, TypeError, KeyError, json.JSONDecodeError):
            return JSONResponse({"error": 'POST {"advance_s": <seconds>}'}, 400)
        self.clock.advance(seconds)
        return JSONResponse({"now": self.clock.now()})

    async def _add_faults(self, request: Request) -> Response:
        try:
            told = await request.json()
            faults = [Fault.read(words) for words in (told if isinstance(told, list) else [told])]
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(self.faults.add(faults))

    async def _list_faults(self, _: Request) -> Response:
        return JSONResponse(self.faults.rows())

    async def _clear_faults(self, _: Request) -> Response:
        self.faults.clear()
        return JSONResponse({})

    async def _release(self, _: Request) -> Response:
        return JSONResponse({"released": self.faults.release()})

    async def _reset(self, _: Request) -> Response:
        self.reset()
        return JSONResponse({})


def _json(answer: Answer) -> Response:
    return JSONResponse(dict(answer.body), answer.status)


async def _no_route(request: Request, _: Exception) -> Response:
    """Answer in the envelope of the gateway the path would belong to; a wrong method is a wrong path to both."""
    gateway: Gateway = DASHSCOPE if request.url.path.startswith("/api/") else APIYI
    request_id = str(uuid.uuid4())
    answer = gateway.no_route(request.method, request.url.path, request_id)
    return JSONResponse(dict(answer.body), answer.status, headers=gateway.headers(request_id))
