"""Answers with a fault, each made from the answer that the request would have got without it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from airflow_wan.emulator import results
from airflow_wan.emulator.connections import Connection, DroppedResponse, InterruptedResponse
from airflow_wan.emulator.faults import FaultKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from airflow_wan.emulator.connections import Interruption
    from airflow_wan.emulator.faults import ActiveFault, Fault, Faults
    from airflow_wan.emulator.gateway import Answer, Gateway

_WAITS = (FaultKind.DELAY, FaultKind.HOLD)
_LIES_OF_LISTS = (FaultKind.ROWS_MISSING, FaultKind.ROWS_CUT, FaultKind.WRONG_PAGE_COUNT)
_SLOW_TICK_S = 0.05
_CORRUPT_EVERY_BYTES = 100_000
_OTHER_FILES = {FaultKind.CHANGED: results.serve_changed, FaultKind.NO_VALIDATORS: results.serve_without_validators}


@dataclass(frozen=True)
class FaultyCall:
    """A request that a fault strikes.

    :param handle: does what the request asks for, and returns the answer without the fault.
    """

    faults: Faults
    active: ActiveFault
    request: Request
    request_id: str
    handle: Callable[[], Response]

    @property
    def fault(self) -> Fault:
        """The fault that strikes it."""
        return self.active.fault


async def gateway_answer(call: FaultyCall, gateway: Gateway) -> Response:
    """Return what the client of a gateway gets."""
    fault = call.fault
    if fault.kind in _WAITS:
        return await _late_answer(call)
    whole = call.handle() if fault.is_accepted else Response()
    headers = gateway.headers(call.request_id)
    if fault.kind is FaultKind.MALFORMED_JSON:
        half = bytes(whole.body[: len(whole.body) // 2])
        return Response(half, whole.status_code, headers=headers, media_type="application/json")
    if fault.kind in _LIES_OF_LISTS:
        return JSONResponse(_lying(json.loads(bytes(whole.body)), fault), whole.status_code, headers=headers)
    answer = _gateway_error(call, gateway)
    if answer is None:
        return _common_answer(fault)
    if fault.kind is FaultKind.THROTTLED and fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    return JSONResponse(dict(answer.body), answer.status, headers=headers)


def _lying(body: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """Return the body of a list with the rows or the count of pages that the fault wants; an error has neither."""
    if fault.kind is FaultKind.WRONG_PAGE_COUNT:
        return body | ({"total_page": fault.pages} if "total_page" in body else {})
    return {name: _rows_left(value, fault) for name, value in body.items()}


def _rows_left(value: object, fault: Fault) -> object:
    if isinstance(value, dict):  # APIYI has its rows one level deeper
        return _lying(value, fault)
    if not isinstance(value, list):
        return value
    if fault.kind is FaultKind.ROWS_CUT:
        return value[: fault.rows]
    return [row for number, row in enumerate(value, 1) if number % fault.every]


async def download_answer(call: FaultyCall, serve_by: Callable[[results.Serve], Response]) -> Response:
    """Return what the client of the file store gets.

    :param serve_by: returns the answer when the given function serves the file.
    """
    match call.fault.kind:
        case FaultKind.DELAY:
            return await _late_answer(call)
        case FaultKind.SERVER_ERROR:
            message = "We encountered an internal error. Please try again."
            return results.xml_error(500, "InternalError", message, call.request_id)
        case FaultKind.UNAVAILABLE:
            return results.xml_error(503, "ServiceUnavailable", "Please try again later.", call.request_id)
        case FaultKind.EXPIRED:
            return results.expired(call.request_id)
        case FaultKind.FORBIDDEN:
            return PlainTextResponse("Forbidden", 403)
        case FaultKind.EMPTY:
            return Response(media_type="video/mp4")
        case FaultKind.TRUNCATED | FaultKind.RESET | FaultKind.WRONG_LENGTH | FaultKind.HOLD | FaultKind.SLOW:
            return _interrupted(call)
        case FaultKind.CORRUPT:
            return _corrupted(call.handle())
        case FaultKind.CHANGED | FaultKind.NO_VALIDATORS:
            return serve_by(_OTHER_FILES[call.fault.kind])
        case _:
            return _common_answer(call.fault)


async def _late_answer(call: FaultyCall) -> Response:
    """Return the answer without a fault, after the wait that the fault asks for."""
    whole = call.handle() if call.fault.is_accepted else None
    delay_s = call.fault.delay_s if call.fault.kind is FaultKind.DELAY else None
    with call.faults.holding(call.active) as released:
        is_connected = await Connection.of(call.request.scope).wait(call.request.receive, released, delay_s)
    if not is_connected:
        return DroppedResponse()
    return whole or call.handle()


def _gateway_error(call: FaultyCall, gateway: Gateway) -> Answer | None:
    """Return an answer that each gateway words in its own way, or None if the fault is of another kind."""
    fault, request_id = call.fault, call.request_id
    match fault.kind:
        case FaultKind.SERVER_ERROR:
            return gateway.broken(500, request_id)
        case FaultKind.UNAVAILABLE:
            return gateway.broken(503, request_id)
        case FaultKind.NOT_FOUND:
            return gateway.no_route(call.request.method, call.request.url.path, request_id)
        case FaultKind.UNAUTHORIZED:
            return gateway.unauthorized(key_given=True, request_id=request_id)
        case FaultKind.THROTTLED:
            return gateway.throttled(request_id)
        case FaultKind.INSUFFICIENT_BALANCE:
            return gateway.out_of_balance(request_id, as_throttling=fault.status == HTTPStatus.TOO_MANY_REQUESTS)
        case FaultKind.FREE_QUOTA_USED_UP:
            return gateway.free_quota_used_up(request_id)
        case FaultKind.UNKNOWN_STATUS:
            return gateway.in_state(call.request.path_params["task_id"], fault.word, request_id)
        case _:
            return None


def _common_answer(fault: Fault) -> Response:
    """Return an answer that is the same for gateways and the file store."""
    match fault.kind:
        case FaultKind.DROP_CONNECTION:
            return DroppedResponse(reset=fault.reset)
        case FaultKind.BAD_GATEWAY:
            return _proxy_page(502, "502 Bad Gateway")
        case FaultKind.GATEWAY_TIMEOUT:
            return _proxy_page(504, "504 Gateway Time-out")
        case FaultKind.HTML:
            return _proxy_page(200, "Welcome")
        case _:
            raise NotImplementedError(fault.kind)


def _proxy_page(status: int, title: str) -> Response:
    return HTMLResponse(
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
        status,
    )


def _corrupted(whole: Response) -> Response:
    """Return the answer with the first byte of every 100,000 inverted."""
    body = bytearray(whole.body)
    for index in range(0, len(body), _CORRUPT_EVERY_BYTES):
        body[index] ^= 0xFF
    whole.body = bytes(body)
    return whole


def _interrupted(call: FaultyCall) -> Response:
    """Return an answer that stops, stalls or crawls on its way."""
    fault, whole = call.fault, call.handle()
    size = len(whole.body)
    # At least the last byte is missing: a complete file would be no fault.
    cut = max(0, min(size // 2 if fault.at_bytes is None else fault.at_bytes, size - 1))

    async def hold(stopped: Interruption) -> None:
        with call.faults.holding(call.active) as released:
            is_connected = await stopped.connection.wait(stopped.receive, released)
        if is_connected:
            await stopped.send({"type": "http.response.body", "body": stopped.rest})

    async def send_slowly(stopped: Interruption) -> None:
        chunk_bytes = max(1, round(fault.bytes_per_s * _SLOW_TICK_S))
        rest = stopped.rest
        with call.faults.holding(call.active) as released:
            while rest and not released.is_set():
                if not await stopped.connection.wait(stopped.receive, released, chunk_bytes / fault.bytes_per_s):
                    return
                await stopped.send({"type": "http.response.body", "body": rest[:chunk_bytes], "more_body": True})
                rest = rest[chunk_bytes:]
        await stopped.send({"type": "http.response.body", "body": rest})

    match fault.kind:
        case FaultKind.TRUNCATED:
            return InterruptedResponse(whole, cut, _close)
        case FaultKind.RESET:
            return InterruptedResponse(whole, cut, _reset)
        case FaultKind.WRONG_LENGTH:
            promised_bytes = max(0, size + fault.off_by)
            whole.headers["Content-Length"] = str(promised_bytes)
            return InterruptedResponse(whole, promised_bytes, _close_after_rest)
        case FaultKind.SLOW:
            return InterruptedResponse(whole, 0, send_slowly)
        case _:
            return InterruptedResponse(whole, min(fault.at_bytes or 0, size), hold)


async def _close(stopped: Interruption) -> None:
    await stopped.connection.close(stopped.receive)


async def _close_after_rest(stopped: Interruption) -> None:
    await stopped.connection.close(stopped.receive, tail=stopped.rest)


async def _reset(stopped: Interruption) -> None:
    await stopped.connection.reset(stopped.receive)
