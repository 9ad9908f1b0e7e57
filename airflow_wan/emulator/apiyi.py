"""APIYI's answers: a create as DashScope answers it, a flat poll with lower-case states, errors in its own envelope."""

# ruff: noqa: ARG002  # both gateways have one interface; APIYI's bodies leave out what some of its arguments say

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from airflow_wan.emulator.gateway import Answer
from airflow_wan.emulator.gateway_names import GatewayName
from airflow_wan.emulator.tasks import Snapshot, State, Task
from airflow_wan.emulator.validation import Refusal, RefusalKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# APIYI docs: submitted -> in_progress -> completed | failed. There is no cancel, and no word for an upstream task that
# was canceled; gateways of the new-api family say failed then.
_STATUS = {
    State.PENDING: "submitted",
    State.RUNNING: "in_progress",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELED: "failed",
}

# HTTP status and envelope type of each refused create. From APIYI docs: 400 for a wrong parameter, 500 for missing
# media, and the names of the types. It is unknown which type belongs to which error; build_request_failed and
# parse_request_failed are used as in the new-api family of gateways.
_REFUSALS = {
    # The status is unknown; AccessDenied is 403 at DashScope, whose sentence APIYI repeats.
    RefusalKind.NOT_ASYNC: (403, "shell_api_error"),
    RefusalKind.NOT_JSON: (400, "parse_request_failed"),
    RefusalKind.WRONG_TYPE: (400, "parse_request_failed"),
    RefusalKind.NO_MODEL: (400, "parse_request_failed"),
    # APIYI docs give the sentence "no available channel"; its status is unknown.
    RefusalKind.UNKNOWN_MODEL: (400, "shell_api_error"),
    RefusalKind.NO_INPUT: (400, "task_error"),
    RefusalKind.NO_IMAGE: (500, "build_request_failed"),
    RefusalKind.WRONG_VALUE: (400, "task_error"),
}


# USD a second (APIYI's price list, RMB x 0.14). What is charged for other models is not documented.
_USD_PER_SECOND = {
    ("wan2.7", "720P"): 0.084,
    ("wan2.7", "1080P"): 0.14,
    ("happyhorse-1.1", "720P"): 0.126,
    ("happyhorse-1.1", "1080P"): 0.224,
}
_QUOTA_OF_A_USD = 500_000


class Apiyi:
    """The answers of APIYI's gateway."""

    name: Final = GatewayName.APIYI

    def headers(self, request_id: str) -> dict[str, str]:
        """Return APIYI's own request id and that of the upstream gateway."""
        return {"X-Shellapi-Request-Id": request_id, "X-Request-Id": str(uuid.uuid4())}

    def unauthorized(self, *, key_given: bool, request_id: str) -> Answer:
        """Answer a request without a valid key."""
        return _error(401, f"无效的令牌 (request id: {request_id})", "shell_api_error")

    def throttled(self, request_id: str) -> Answer:
        """Answer a request that exceeds the rate limit; only the status 429 is documented."""
        return _error(429, f"Too many requests (request id: {request_id})", "shell_api_error")

    def out_of_balance(self, request_id: str, *, as_throttling: bool) -> Answer:
        """Answer a create that the account cannot pay for; the docs say 429, the one-api family 403."""
        error = {
            "message": "user [25359] quota [12000] preConsumedQuota [210000] is not enough",
            "localized_message": "Insufficient user quota",
            "type": "shell_api_error",
            "param": "",
            "code": "insufficient_user_quota",
        }
        return Answer(429 if as_throttling else 403, {"error": error})

    def free_quota_used_up(self, request_id: str) -> Answer:
        """Answer as for any account that cannot pay: APIYI has no free quota."""
        return self.out_of_balance(request_id, as_throttling=False)

    def broken(self, status: int, request_id: str) -> Answer:
        """Answer as a third party has reported: no message, and the status of the upstream gateway as a text."""
        error = {
            "message": "",
            "type": "shell_api_error",
            "param": str(status),
            "code": "bad_response_status_code",
        }
        return Answer(status, {"error": error})

    def no_route(self, method: str, path: str, request_id: str) -> Answer:
        """Answer a request for a path that does not exist, in the words of the one-api family."""
        return _error(404, f"Invalid URL ({method} {path})", "invalid_request_error")

    def media_dropped(self) -> Answer:
        """Answer `POST /v1/videos`, which does not forward `media` (APIYI docs; the status is unknown)."""
        return _error(400, "[InvalidParameter] Field required: input.media", "task_error")

    def refused(self, refusal: Refusal, request_id: str) -> Answer:
        """Answer a create that is not accepted."""
        status, kind = _REFUSALS[refusal.kind]
        message = refusal.message
        if refusal.kind is RefusalKind.UNKNOWN_MODEL:
            message = f"当前分组 Wan&HappyHorse 下对于模型 {refusal.message} 无可用渠道: 该模型无可用渠道"
        if kind == "task_error":
            # A code in brackets is documented for failed tasks; for a refused create it is assumed.
            message = f"[InvalidParameter] {message}"
        return _error(status, message, kind)

    def created(self, task: Task) -> Answer:
        """Answer a create that is accepted."""
        return Answer(
            200,
            {"output": {"task_id": task.id, "task_status": State.PENDING.value}, "request_id": task.request_id},
        )

    def task(self, task: Task, snapshot: Snapshot, url: str | None, request_id: str, now: float) -> Answer:
        """Answer a poll with the four documented fields, or with a failure made of documented names."""
        body: dict[str, Any] = {
            "status": _STATUS[snapshot.state],
            "progress": _progress(task, snapshot, now),
            "task_id": task.id,
        }
        if url is not None:
            body["result_url"] = url
        if snapshot.failure is not None:
            message = f"[{snapshot.failure.code}] {snapshot.failure.message}"
            body |= {"error": {"message": message}, "fail_reason": message}
        return Answer(200, body)

    def listed(self, tasks: Sequence[Task], query: Mapping[str, str], now: float) -> Answer:
        """Answer a request for the task table, with the documented filters and fields (FAQ, cost look-up).

        :param tasks: all tasks of APIYI, newest first.
        :param query: the parameters of the request.
        :param now: the emulator's time in seconds since the epoch.
        """
        try:
            page, page_size = int(query.get("p", 1)), int(query.get("page_size", 10))
            start, end = float(query.get("start_timestamp", 0)), float(query.get("end_timestamp", now))
        except ValueError:
            return _error(400, "p, page_size and the timestamps must be numbers", "parse_request_failed")
        rows = [_row(task, task.at(now)) for task in tasks if start <= int(task.created_at) <= end]
        rows = [
            row
            for row in rows
            if all(row[name] == query[name] for name in ("task_id", "model_name") if query.get(name))
        ]
        first = (max(1, page) - 1) * max(1, page_size)
        return Answer(200, {"data": {"items": rows[first : first + max(1, page_size)]}})

    def models(self, models: Sequence[str]) -> Answer:
        """Answer a request for the models that a key may use, as gateways of the new-api family do.

        APIYI itself does not document it.
        """
        rows = [{"id": model, "object": "model", "created": 1626777600, "owned_by": "custom"} for model in models]
        return Answer(200, {"success": True, "object": "list", "data": rows})

    def account(self, balance_usd: float) -> Answer:
        """Answer a request for the account's balance (APIYI docs, balance query)."""
        data = {
            "id": 19489,
            "username": "emulated",
            "quota": round(balance_usd * _QUOTA_OF_A_USD),
            "used_quota": 0,
            "request_count": 0,
            "group": "default",
        }
        return Answer(200, {"success": True, "message": None, "data": data})

    def no_task(self, task_id: str, request_id: str) -> Answer:
        """Answer a poll for an unknown task; it is undocumented, so the answer is that of new-api."""
        return Answer(400, {"code": "task_not_exist", "message": "task_not_exist", "data": None})

    def in_state(self, task_id: str, word: str, request_id: str) -> Answer:
        """Answer a poll with any word as the state of the task."""
        return Answer(200, {"status": word, "progress": 30, "task_id": task_id})


def _row(task: Task, snapshot: Snapshot) -> dict[str, Any]:
    seconds = snapshot.video.duration_s if snapshot.video else task.order.duration_s
    rate = next(
        (
            usd
            for (family, resolution), usd in _USD_PER_SECOND.items()
            if task.order.model.startswith(family) and task.order.resolution == resolution
        ),
        0.0,
    )
    return {
        "task_id": task.id,
        "status": _STATUS[snapshot.state],
        # Charged at the create, and still shown after the task has failed and costs nothing.
        "quota": round(rate * (seconds or 0) * _QUOTA_OF_A_USD),
        "submit_time": int(task.created_at),
        "finish_time": int(snapshot.ended_at or 0),
        "model_name": task.order.model,
    }


def _progress(task: Task, snapshot: Snapshot, now: float) -> int:
    """Return one of the documented values 0, 10, 30 and 100; it is unknown when 0 becomes 10."""
    if snapshot.ended_at is not None:
        return 100
    if snapshot.state is State.RUNNING:
        return 30
    return 0 if now < (task.created_at + task.may_start_at) / 2 else 10


def _error(status: int, message: str, kind: str) -> Answer:
    return Answer(status, {"error": {"message": message, "type": kind}})
