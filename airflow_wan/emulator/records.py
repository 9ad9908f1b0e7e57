"""What the emulator records for tests: the create requests it received, and which tasks would have been billed."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_wan.emulator.tasks import State, TaskStore
from airflow_wan.emulator.validation import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT_REQUESTS = 1000
# The limit for the bodies of all requests together; beyond it, the oldest requests are removed.
_KEPT_BYTES = 256 * 1024 * 1024
# Without `authorization`: an API key must not end up in a test report.
_KEPT_HEADERS = (
    "accept",
    "accept-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "x-dashscope-async",
    "x-dashscope-ossresourceresolve",
    "x-dashscope-workspace",
)


class RequestLog:
    """The last create requests, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[dict[str, Any]] = deque()
        self._sizes: deque[int] = deque()
        self._kept_bytes = 0

    def add(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Record one create request.

        :returns: the entry, to which the caller adds the `status` of the answer; it stays None if there is no answer.
        """
        entry = {
            "method": method,
            "path": path,
            "headers": {name: headers[name] for name in _KEPT_HEADERS if name in headers},
            "bearer": headers.get("authorization", "").startswith("Bearer "),
            "body": _json_or_text(body),
            "status": None,
        }
        self._entries.append(entry)
        self._sizes.append(len(body))
        self._kept_bytes += len(body)
        while len(self._entries) > _KEPT_REQUESTS or self._kept_bytes > _KEPT_BYTES:
            self._entries.popleft()
            self._kept_bytes -= self._sizes.popleft()
        return entry

    def entries(self) -> list[dict[str, Any]]:
        """Return a copy of every entry."""
        return [dict(entry) for entry in self._entries]

    def clear(self) -> None:
        """Remove every entry."""
        self._entries.clear()
        self._sizes.clear()
        self._kept_bytes = 0


def ledger(tasks: TaskStore, now: float) -> list[dict[str, Any]]:
    """Return one row for each accepted create, oldest first; failed and canceled tasks are not billed."""
    rows = []
    for task in tasks.all(now):
        snapshot = task.at(now)
        rows.append(
            {
                "time": _iso(task.created_at),
                "scheduled_time": _iso(snapshot.scheduled_at),
                "end_time": _iso(snapshot.ended_at),
                "gateway": task.gateway.value,
                "model": task.order.model,
                "task_id": task.id,
                "request_id": task.request_id,
                "resolution": task.order.resolution,
                "seconds": snapshot.video.duration_s if snapshot.video else task.order.duration_s,
                "key_last4": task.caller.last4,
                "status": snapshot.state.value,
                # APIYI docs say so; for DashScope itself it is not verified.
                "billed": snapshot.state not in (State.FAILED, State.CANCELED),
            }
        )
    return rows


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


def _json_or_text(body: bytes) -> object:
    try:
        return parse_json(body)
    except ValueError:
        return body.decode(errors="replace")
