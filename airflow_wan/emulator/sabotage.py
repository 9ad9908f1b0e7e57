"""Faults carried out: each answer that goes wrong, made from the one that would have been given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from airflow_wan.emulator import results
from airflow_wan.emulator.faults import FaultKind
from airflow_wan.emulator.wire import Dropped, Faltering, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from airflow_wan.emulator.faults import Fault, Faults, Planted
    from airflow_wan.emulator.gateway import Answer, Gateway
    from airflow_wan.emulator.wire import Stop

_WAITS = (FaultKind.DELAY, FaultKind.HOLD)
_SLOW_TICK_S = 0.05
_OTHERWISE = {FaultKind.CHANGED: results.serve_changed, FaultKind.NO_VALIDATORS: results.serve_bare}


@dataclass(frozen=True)
class Struck:
    """A request that meets a fault; `true` does what was asked and returns the answer without the fault."""

    faults: Faults
    planted: Planted
    request: Request
    request_id: str
    true: Callable[[], Response]

    @property
    def fault(self) -> Fault:
        """The fault it meets."""
        return self.planted.fault


async def gateway_answer(struck: Struck, gateway: Gateway) -> Response:
    """Return what the client of a gateway gets."""
    fault = struck.fault
    if fault.kind in _WAITS:
        return await _late(struck)
    true = struck.true() if fault.lets_through else Response()
    headers = gateway.headers(struck.request_id)
    if fault.kind is FaultKind.MALFORMED_JSON:
        half = bytes(true.body[: len(true.body) // 2])
        return Response(half, true.status_code, headers=headers, media_type="application/json")
    answer = _worded(struck, gateway)
    if answer is None:
        return _any_answer(fault)
    if fault.kind is FaultKind.THROTTLED and fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    return JSONResponse(dict(answer.body), answer.status, headers=headers)


async def download_answer(struck: Struck, served: Callable[[results.Serve], Response]) -> Response:
    """Return what the client of the file store gets; `served` returns the answer with the file served in some way."""
    request_id = struck.request_id
    match struck.fault.kind:
        case FaultKind.DELAY:
            return await _late(struck)
        case FaultKind.SERVER_ERROR:
            sentence = "We encountered an internal error. Please try again."
            return results.xml_error(500, "InternalError", sentence, request_id)
        case FaultKind.UNAVAILABLE:
            return results.xml_error(503, "ServiceUnavailable", "Please try again later.", request_id)
        case FaultKind.EXPIRED:
            return results.expired(request_id)
        case FaultKind.FORBIDDEN:
            return PlainTextResponse("Forbidden", 403)
        case FaultKind.EMPTY:
            return Response(media_type="video/mp4")
        case FaultKind.TRUNCATED | FaultKind.RESET | FaultKind.WRONG_LENGTH | FaultKind.HOLD | FaultKind.SLOW:
            return _faltering(struck)
        case FaultKind.CORRUPT:
            return _flipped(struck.true())
        case FaultKind.CHANGED | FaultKind.NO_VALIDATORS:
            return served(_OTHERWISE[struck.fault.kind])
        case _:
            return _any_answer(struck.fault)


async def _late(struck: Struck) -> Response:
    """Return the true answer after the wait that the fault asks for."""
    early = struck.true() if struck.fault.lets_through else None
    seconds = struck.fault.delay_s if struck.fault.kind is FaultKind.DELAY else None
    with struck.faults.holding(struck.planted) as released:
        is_there = await Wire.under(struck.request.scope).wait(struck.request.receive, released, seconds)
    if not is_there:
        return Dropped()
    return early or struck.true()


def _worded(struck: Struck, gateway: Gateway) -> Answer | None:
    """Return the answers that each gateway has its own words for."""
    fault, request_id = struck.fault, struck.request_id
    match fault.kind:
        case FaultKind.SERVER_ERROR:
            return gateway.broken(500, request_id)
        case FaultKind.UNAVAILABLE:
            return gateway.broken(503, request_id)
        case FaultKind.UNAUTHORIZED:
            return gateway.unauthorized(key_given=True, request_id=request_id)
        case FaultKind.THROTTLED:
            return gateway.throttled(request_id)
        case FaultKind.INSUFFICIENT_BALANCE:
            return gateway.out_of_balance(request_id, as_throttling=fault.status == 429)  # noqa: PLR2004
        case FaultKind.UNKNOWN_STATUS:
            return gateway.in_state(struck.request.path_params["task_id"], fault.word, request_id)
        case _:
            return None


def _any_answer(fault: Fault) -> Response:
    """Return the answers that look the same wherever they come from."""
    match fault.kind:
        case FaultKind.DROP_CONNECTION:
            return Dropped(reset=fault.reset)
        case FaultKind.BAD_GATEWAY:
            return _page(502, "Bad Gateway")
        case FaultKind.GATEWAY_TIMEOUT:
            return _page(504, "Gateway Time-out")
        case FaultKind.HTML:
            return _page(200, "Welcome")
        case _:
            raise NotImplementedError(fault.kind)


def _page(status: int, title: str) -> Response:
    heading = title if status == 200 else f"{status} {title}"  # noqa: PLR2004
    return HTMLResponse(
        f"<html>\r\n<head><title>{heading}</title></head>\r\n<body>\r\n<center><h1>{heading}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
        status,
    )


def _flipped(true: Response) -> Response:
    """Return the answer with one byte in a hundred thousand flipped, and at least the first."""
    body = bytearray(true.body)
    for place in range(0, len(body), 100_000):
        body[place] ^= 0xFF
    true.body = bytes(body)
    return true


def _faltering(struck: Struck) -> Response:
    """Return the file's bytes as they come over a bad line."""
    fault, true = struck.fault, struck.true()
    size = len(true.body)
    # A whole file would be no fault: at least its last byte is missing.
    cut = max(0, min(size // 2 if fault.at_bytes is None else fault.at_bytes, size - 1))

    async def wait(stop: Stop) -> None:
        with struck.faults.holding(struck.planted) as released:
            is_there = await stop.wire.wait(stop.receive, released)
        if is_there:
            await stop.send({"type": "http.response.body", "body": stop.rest})

    async def trickle(stop: Stop) -> None:
        at_once = max(1, round(fault.bytes_per_s * _SLOW_TICK_S))
        rest = stop.rest
        with struck.faults.holding(struck.planted) as released:
            while rest and not released.is_set():
                if not await stop.wire.wait(stop.receive, released, at_once / fault.bytes_per_s):
                    return
                await stop.send({"type": "http.response.body", "body": rest[:at_once], "more_body": True})
                rest = rest[at_once:]
        await stop.send({"type": "http.response.body", "body": rest})

    match fault.kind:
        case FaultKind.TRUNCATED:
            return Faltering(true, cut, _close)
        case FaultKind.RESET:
            return Faltering(true, cut, _reset)
        case FaultKind.WRONG_LENGTH:
            told = max(0, size + fault.off_by)
            true.headers["Content-Length"] = str(told)
            return Faltering(true, told, _close_after_rest)
        case FaultKind.SLOW:
            return Faltering(true, 0, trickle)
        case _:
            return Faltering(true, min(fault.at_bytes or 0, size), wait)


async def _close(stop: Stop) -> None:
    await stop.wire.close(stop.receive)


async def _close_after_rest(stop: Stop) -> None:
    await stop.wire.close(stop.receive, tail=stop.rest)


async def _reset(stop: Stop) -> None:
    await stop.wire.reset(stop.receive)
