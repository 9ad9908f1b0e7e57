"""The web application: routes of both gateways, of the result files and of the test controls."""

from __future__ import annotations

import asyncio
import hmac
import math
import re
import uuid
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_wan.emulator import catalogue, faulty_answers, records, results
from airflow_wan.emulator.apiyi import Apiyi
from airflow_wan.emulator.bodies import BodyTooLargeError, BoundedBodies
from airflow_wan.emulator.clock import Clock
from airflow_wan.emulator.connections import DroppedResponse
from airflow_wan.emulator.counts import Counts
from airflow_wan.emulator.dashscope import DashScope
from airflow_wan.emulator.dates import DateMiddleware
from airflow_wan.emulator.durations import Draw
from airflow_wan.emulator.faults import CallKind, Fault, FaultKind, Faults
from airflow_wan.emulator.gateway import Answer
from airflow_wan.emulator.gateway_names import GatewayName
from airflow_wan.emulator.latency import Latency, LatencyMiddleware
from airflow_wan.emulator.media import Fetcher
from airflow_wan.emulator.regions import region_of
from airflow_wan.emulator.rendering import RenderPool
from airflow_wan.emulator.tasks import Caller, State, Task, TaskStore
from airflow_wan.emulator.throttle import Throttle
from airflow_wan.emulator.uploads import LARGEST_FORM_BYTES, UploadStore
from airflow_wan.emulator.validation import Failure, Refusal, RefusalKind, parse_json, validate_create

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from airflow_wan.emulator.gateway import Gateway
    from airflow_wan.emulator.settings import Settings
    from airflow_wan.emulator.validation import Order

_CREATE_PATH = "/api/v1/services/aigc/video-generation/video-synthesis"
# Alibaba docs, first and last frame: the path of kf2v models.
_FRAMES_CREATE_PATH = "/api/v1/services/aigc/image2video/video-synthesis"
_STORE_PATH = "/dashscope-instant"
_BEARER = re.compile(r"Bearer\s+(\S+)")
_KEY_PREFIX = "sk-"
# How long a poll may wait for an mp4: well below the read timeout of any client.
_LONGEST_POLL_S = 10.0
_MB = 1024 * 1024
# Neither gateway documents a limit. Ten images of 10 MB as base64 have 134 MB.
_LARGEST_CREATE_BYTES = 150 * _MB
_LARGEST_CONTROL_BYTES = _MB

# One of the models that APIYI has besides those of this emulator.
_OTHER_MODEL = "gpt-4o"

_APIYI = Apiyi()
_DASHSCOPE = DashScope()


@dataclass(frozen=True)
class _Call:
    """One request to a gateway."""

    request: Request
    body: bytes
    request_id: str

    @property
    def key(self) -> str:
        """The API key of the request, or an empty text."""
        match = _BEARER.fullmatch(self.request.headers.get("authorization", ""))
        return match[1] if match else ""

    @property
    def caller(self) -> Caller:
        """The account of the API key."""
        return Caller.of(self.key)


class Emulator:
    """The state of one emulator; a web server runs its `app`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.tasks = TaskStore()
        self.requests = records.RequestLog()
        self.faults = Faults()
        self.uploads = UploadStore(self.clock)
        self._render_pool = RenderPool(self.clock)
        self._signer = results.Signer()
        self.counts = Counts()
        self._throttle = Throttle()
        self._draw = Draw(settings.durations, settings.running_s)
        self.latency = Latency(settings.latency_s)
        self.app = Starlette(
            routes=self._routes(),
            middleware=[
                Middleware(DateMiddleware, clock=self.clock),
                Middleware(LatencyMiddleware, latency=self.latency),
                Middleware(BoundedBodies, limit_bytes=_limit_bytes),
            ],
            exception_handlers={HTTPException: _no_route, BodyTooLargeError: _too_large},
        )

    def reset(self) -> None:
        """Forget all tasks, requests, counts, uploads, faults and clock changes."""
        self.faults.clear()
        self.tasks.clear()
        self.requests.clear()
        self.uploads.clear()
        self.clock.reset()
        self.latency.seconds = self.settings.latency_s
        self.counts.clear()
        self._throttle.clear()
        self._draw.reset()

    def close(self) -> None:
        """Stop rendering."""
        self._render_pool.close()

    def _routes(self) -> list[Route]:
        create, poll, cancel, listing = CallKind.CREATE, CallKind.POLL, CallKind.CANCEL, CallKind.LIST
        return [
            Route(f"/wan{_CREATE_PATH}", self._served(_APIYI, create, self._create_at(_APIYI)), methods=["POST"]),
            Route("/v1/tasks/{task_id}", self._served(_APIYI, poll, self._poll_at(_APIYI)), methods=["GET"]),
            Route(
                "/api/task/self", self._served(_APIYI, listing, self._list_as_owner, for_owner=True), methods=["GET"]
            ),
            Route("/v1/videos", self._served(_APIYI, create, self._drop_media), methods=["POST"]),
            *(
                Route(path, self._served(_DASHSCOPE, create, self._create_at(_DASHSCOPE)), methods=["POST"])
                for path in (_CREATE_PATH, _FRAMES_CREATE_PATH)
            ),
            Route(
                "/api/v1/tasks/{task_id}", self._served(_DASHSCOPE, poll, self._poll_at(_DASHSCOPE)), methods=["GET"]
            ),
            Route("/api/v1/tasks/{task_id}/cancel", self._served(_DASHSCOPE, cancel, self._cancel), methods=["POST"]),
            # The docs end the path with a slash, the SDK does not.
            Route("/api/v1/tasks/", self._served(_DASHSCOPE, listing, self._list), methods=["GET"]),
            Route("/api/v1/tasks", self._served(_DASHSCOPE, listing, self._list), methods=["GET"]),
            Route("/api/v1/uploads", self._told(_DASHSCOPE, self._policy), methods=["GET"]),
            Route("/api/v1/quotas", self._told(_DASHSCOPE, self._quotas), methods=["GET"]),
            Route("/v1/models", self._told(_APIYI, self._models), methods=["GET"]),
            Route("/api/user/self", self._told(_APIYI, self._account, for_owner=True), methods=["GET"]),
            Route(_STORE_PATH, self.uploads.receive, methods=["POST"]),
            Route("/result/{name}", self._download, methods=["GET", "HEAD"]),
            Route("/_emulator/ledger", self._ledger, methods=["GET"]),
            Route("/_emulator/requests", self._requests, methods=["GET"]),
            Route("/_emulator/counts", self._list_counts, methods=["GET"]),
            Route("/_emulator/uploads", self._list_uploads, methods=["GET"]),
            Route("/_emulator/clock", self._advance, methods=["POST"]),
            Route("/_emulator/latency", self._set_latency, methods=["POST"]),
            Route("/_emulator/faults", self._add_faults, methods=["POST"]),
            Route("/_emulator/faults", self._list_faults, methods=["GET"]),
            Route("/_emulator/faults", self._clear_faults, methods=["DELETE"]),
            Route("/_emulator/faults/release", self._release, methods=["POST"]),
            Route("/_emulator/reset", self._reset, methods=["POST"]),
        ]

    def _served(
        self, gateway: Gateway, kind: CallKind, handle: Callable[[_Call], Answer], *, for_owner: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint of a gateway's handler: it adds the request log, the check of the key, and the faults.

        :param kind: the kind of request, by which faults choose.
        :param for_owner: whether it wants the account's system token instead of an API key.
        """

        async def endpoint(request: Request) -> Response:
            self.counts.received(kind)
            call = _Call(request, await request.body(), str(uuid.uuid4()))
            if kind is not CallKind.CREATE:
                return counted(await answered(call))
            entry = self.requests.add(request.method, request.url.path, request.headers, call.body)
            response = counted(await answered(call))
            if not isinstance(response, DroppedResponse):
                entry["status"] = response.status_code
            return response

        def counted(response: Response) -> Response:
            if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
                self.counts.throttled(kind)
            return response

        async def answered(call: _Call) -> Response:
            def answer_without_fault() -> Response:
                refuse = self._owner_rejection if for_owner else self._rejection
                answer = refuse(gateway, kind, call) or handle(call)
                return _json(answer, {**gateway.headers(call.request_id), **answer.headers})

            if kind is CallKind.POLL and self.settings.finishes_at_once:
                await self._wait_for_video(gateway, call)
            active = self.faults.take(kind)
            if active is None:
                return answer_without_fault()
            faulty = faulty_answers.FaultyCall(self.faults, active, call.request, call.request_id, answer_without_fault)
            return await faulty_answers.gateway_answer(faulty, gateway)

        return endpoint

    def _told(
        self, gateway: Gateway, handle: Callable[[_Call], Answer], *, for_owner: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint of what a gateway tells an account: of the parts of `_served`, it has the key's check."""

        async def endpoint(request: Request) -> Response:
            call = _Call(request, b"", str(uuid.uuid4()))
            refuse = self._owner_rejection if for_owner else self._rejection
            answer = refuse(gateway, None, call) or handle(call)
            return _json(answer, gateway.headers(call.request_id))

        return endpoint

    def _rejection(self, gateway: Gateway, kind: CallKind | None, call: _Call) -> Answer | None:
        if not self._is_valid_key(call.key) or not self._is_of_region(gateway, call):
            return gateway.unauthorized(key_given=bool(call.key), request_id=call.request_id)
        if gateway.name is GatewayName.DASHSCOPE and kind in self._calls_per_s:
            admits = self._throttle.admits((call.caller, kind), self._calls_per_s[kind])
            return None if admits else self._throttled(gateway, call)
        return None

    @property
    def _calls_per_s(self) -> dict[CallKind, int | None]:
        """What each account may call, whatever the model."""
        settings = self.settings
        return {
            CallKind.POLL: settings.read_qps,
            CallKind.LIST: settings.list_qps,
            CallKind.CANCEL: settings.cancel_qps,
        }

    def _throttled(self, gateway: Gateway, call: _Call) -> Answer:
        answer = gateway.throttled(call.request_id)
        if self.settings.retry_after is None:
            return answer
        return replace(answer, headers={"Retry-After": str(self.settings.retry_after)})

    def _owner_rejection(self, gateway: Gateway, _: CallKind | None, call: _Call) -> Answer | None:
        """Answer a request without a valid system token, which is the whole value of `Authorization`."""
        token, expected = call.request.headers.get("authorization", ""), self.settings.system_token
        looks_like_one = bool(token) and " " not in token and not token.startswith(_KEY_PREFIX)
        if looks_like_one and (expected is None or hmac.compare_digest(token.encode(), expected.encode())):
            return None
        return gateway.unauthorized(key_given=bool(token), request_id=call.request_id)

    def _is_valid_key(self, key: str) -> bool:
        if self.settings.api_key is not None:
            return hmac.compare_digest(key.encode(), self.settings.api_key.encode())
        return key.startswith(_KEY_PREFIX) and key not in self.settings.rejected_keys

    def _is_of_region(self, gateway: Gateway, call: _Call) -> bool:
        """Whether a key belongs to the region of the host that the request names."""
        region = dict(self.settings.key_regions).get(call.key)
        is_regional = gateway.name is GatewayName.DASHSCOPE and region is not None
        return not is_regional or region == region_of(call.request.headers.get("host", ""))

    def _create_at(self, gateway: Gateway) -> Callable[[_Call], Answer]:
        def create(call: _Call) -> Answer:
            if call.request.headers.get("x-dashscope-async") != "enable":
                message = "current user api does not support synchronous calls"
                return gateway.refused(Refusal(RefusalKind.NOT_ASYNC, message), call.request_id)
            order = validate_create(call.body, gateway.name)
            if isinstance(order, Refusal):
                return gateway.refused(order, call.request_id)
            if gateway.name is GatewayName.APIYI and call.key in self.settings.ungrouped_keys:
                return gateway.refused(Refusal(RefusalKind.UNKNOWN_MODEL, order.model), call.request_id)
            is_limited = gateway.name is GatewayName.DASHSCOPE
            what = (call.caller, CallKind.CREATE, order.model)
            if is_limited and not self._throttle.admits(what, self.settings.create_qps):
                return self._throttled(gateway, call)
            return gateway.created(self._accept(order, gateway, call))

        return create

    def _accept(self, order: Order, gateway: Gateway, call: _Call) -> Task:
        active = self.faults.take(CallKind.CREATE, outcome=True)
        fault = active.fault if active else None
        if fault is not None and fault.kind is FaultKind.TASK_FAILED:
            order = replace(order, certain_failure=Failure(fault.code, fault.message))
        now, settings = self.clock.now(), self.settings
        task = Task(
            order=order,
            gateway=gateway.name,
            caller=call.caller,
            created_at=now,
            may_start_at=now + settings.pending_s / settings.speed,
            running_s=self._draw.next_s() / settings.speed,
            expires_at=now + settings.task_ttl_s,
            work=self._render_pool.start(order, self._fetcher(order, gateway, call)),
            is_canceled_at_start=fault is not None and fault.kind is FaultKind.TASK_CANCELED,
            request_id=call.request_id,
        )
        if task.is_canceled_at_start:
            task.work.cancel()
        if fault is not None and fault.kind is FaultKind.TASK_UNKNOWN:
            task.expires_at = now + fault.after_s
        self.tasks.add(task, settings.running if gateway.name is GatewayName.DASHSCOPE else None)
        return task

    def _fetcher(self, order: Order, gateway: Gateway, call: _Call) -> Fetcher:
        """Return the fetcher of the media; it resolves `oss://` URLs only for DashScope, if a header asks for it."""
        resolves = call.request.headers.get("x-dashscope-ossresourceresolve") == "enable"
        uploaded = None
        if gateway.name is GatewayName.DASHSCOPE and resolves:
            uploaded = partial(self.uploads.content, caller=call.caller, model=order.model)
        return Fetcher(gateway.name, self.settings.media_mirrors, uploaded)

    async def _wait_for_video(self, gateway: Gateway, call: _Call) -> None:
        """Wait for the mp4 of the task that is polled, so that its first poll finds it finished."""
        now = self.clock.now()
        task = self.tasks.find(call.request.path_params["task_id"], gateway.name, call.caller, now)
        if task is not None and task.at(now).state is State.RUNNING and not task.work.done():
            await asyncio.wait([asyncio.wrap_future(task.work)], timeout=_LONGEST_POLL_S)

    def _poll_at(self, gateway: Gateway) -> Callable[[_Call], Answer]:
        def poll(call: _Call) -> Answer:
            now = self.clock.now()
            task_id = call.request.path_params["task_id"]
            task = self.tasks.find(task_id, gateway.name, call.caller, now)
            if task is None:
                return gateway.no_task(task_id, call.request_id)
            snapshot = task.at(now)
            url = self._result_url(call.request, task, now) if snapshot.state is State.SUCCEEDED else None
            return gateway.task(task, snapshot, url, call.request_id, now)

        return poll

    def _drop_media(self, _: _Call) -> Answer:
        return _APIYI.media_dropped()

    def _cancel(self, call: _Call) -> Answer:
        now = self.clock.now()
        task = self.tasks.find(call.request.path_params["task_id"], _DASHSCOPE.name, call.caller, now)
        if task is None or not task.cancel(now):
            return _DASHSCOPE.not_cancelable(call.request_id)
        return _DASHSCOPE.canceled(call.request_id)

    def _list(self, call: _Call) -> Answer:
        now = self.clock.now()
        tasks = self.tasks.of(_DASHSCOPE.name, call.caller, now)
        return _DASHSCOPE.listed(tasks, call.request.query_params, now, call.request_id, self.settings)

    def _list_as_owner(self, call: _Call) -> Answer:
        now = self.clock.now()
        return _APIYI.listed(self.tasks.at(_APIYI.name, now), call.request.query_params, now)

    def _policy(self, call: _Call) -> Answer:
        request = call.request
        model = request.query_params.get("model", "")
        if request.query_params.get("action") != "getPolicy" or not model:
            message = "action=getPolicy and a model are required."
            return _DASHSCOPE.refused(Refusal(RefusalKind.WRONG_VALUE, message), call.request_id)
        host = f"{request.url.scheme}://{request.url.netloc}{_STORE_PATH}"
        return Answer(200, {"request_id": call.request_id, "data": self.uploads.grant(call.caller, model, host)})

    def _quotas(self, call: _Call) -> Answer:
        models = list(catalogue.ALIBABA)
        return _DASHSCOPE.quotas(call.request.query_params, models, call.request_id, self.settings)

    def _models(self, call: _Call) -> Answer:
        is_in_group = call.key not in self.settings.ungrouped_keys
        return _APIYI.models([_OTHER_MODEL, *(catalogue.APIYI if is_in_group else ())])

    def _account(self, _: _Call) -> Answer:
        return _APIYI.account(self.settings.balance_usd)

    def _result_url(self, request: Request, task: Task, now: float) -> str:
        base = f"{request.url.scheme}://{request.url.netloc}"
        return self._signer.url(base, f"/result/{task.id}.mp4", now + self.settings.url_ttl_s)

    async def _download(self, request: Request) -> Response:
        self.counts.received(CallKind.DOWNLOAD)
        request_id = uuid.uuid4().hex.upper()[:24]

        def serve_by(serve: results.Serve = results.serve) -> Response:
            return self._file(request, request_id, serve)

        active = self.faults.take(CallKind.DOWNLOAD)
        if active is None:
            return serve_by()
        faulty = faulty_answers.FaultyCall(self.faults, active, request, request_id, serve_by)
        return await faulty_answers.download_answer(faulty, serve_by)

    def _file(self, request: Request, request_id: str, serve: results.Serve) -> Response:
        now = self.clock.now()
        refusal = results.refuse(request, self._signer, now, request_id)
        if refusal is not None:
            return refusal
        task = self.tasks.get(request.path_params["name"].removesuffix(".mp4"), now)
        snapshot = task.at(now) if task else None
        if snapshot is None or snapshot.video is None or snapshot.ended_at is None:
            return results.missing(request_id)
        return serve(request, snapshot.video.content, snapshot.ended_at, request_id)

    async def _ledger(self, _: Request) -> Response:
        return JSONResponse(records.ledger(self.tasks, self.clock.now()))

    async def _requests(self, _: Request) -> Response:
        return JSONResponse(self.requests.entries())

    async def _list_counts(self, _: Request) -> Response:
        return JSONResponse(self.counts.rows())

    async def _list_uploads(self, _: Request) -> Response:
        return JSONResponse(self.uploads.rows())

    async def _advance(self, request: Request) -> Response:
        try:
            body = parse_json(await request.body())
            self.clock.advance(body.get("advance_s") if isinstance(body, dict) else None)
        except ValueError as error:
            return JSONResponse({"error": f'POST {{"advance_s": <seconds>}}. {error}'}, 400)
        return JSONResponse({"now": self.clock.now()})

    async def _set_latency(self, request: Request) -> Response:
        try:
            body: Any = parse_json(await request.body())
            seconds = float(body["latency_s"])
        except (ValueError, TypeError, KeyError, OverflowError):
            seconds = -1.0
        if not 0 <= seconds < math.inf:
            return JSONResponse({"error": 'POST {"latency_s": <seconds, 0 or more>}'}, 400)
        self.latency.seconds = seconds
        return JSONResponse({"latency_s": seconds})

    async def _add_faults(self, request: Request) -> Response:
        try:
            body = parse_json(await request.body())
            faults = [Fault.from_json(value) for value in (body if isinstance(body, list) else [body])]
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


def _json(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(dict(answer.body), answer.status, headers)


def _limit_bytes(path: str) -> int:
    if path.startswith("/_emulator/"):
        return _LARGEST_CONTROL_BYTES
    return LARGEST_FORM_BYTES if path == _STORE_PATH else _LARGEST_CREATE_BYTES


async def _too_large(_: Request, error: Exception) -> Response:
    assert isinstance(error, BodyTooLargeError)  # noqa: S101  # the handler of this class
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _no_route(request: Request, _: Exception) -> Response:
    """Answer as the gateway that the path would belong to; both treat a wrong method as a wrong path."""
    gateway: Gateway = _DASHSCOPE if request.url.path.startswith("/api/") else _APIYI
    request_id = str(uuid.uuid4())
    answer = gateway.no_route(request.method, request.url.path, request_id)
    return _json(answer, gateway.headers(request_id))
