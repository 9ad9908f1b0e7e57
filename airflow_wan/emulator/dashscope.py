"""DashScope's answers: nested `output`, upper-case states, times in UTC+8, errors as code and message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from airflow_wan.emulator.catalogue import Mode
from airflow_wan.emulator.gateway import Answer
from airflow_wan.emulator.gateway_names import GatewayName
from airflow_wan.emulator.regions import HOME
from airflow_wan.emulator.tasks import Snapshot, State, Task
from airflow_wan.emulator.validation import Refusal, RefusalKind
from airflow_wan.emulator.video import FPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_wan.emulator.settings import Settings

_BEIJING = timezone(timedelta(hours=8))
_DAY_S = 24 * 60 * 60
_LIST_TIME = "%Y%m%d%H%M%S"
_FILTERS = ("task_id", "model_name", "status", "api_key_id", "region")
_UNAVAILABLE = 503

# HTTP status and code of each refused create (Alibaba docs, error codes). A field test got 400 for an unknown model,
# although the table of error codes has 404 ModelNotFound.
_REFUSALS = {
    RefusalKind.NOT_ASYNC: (403, "AccessDenied"),
    RefusalKind.NOT_JSON: (400, "BadRequest.IllegalInput"),
    RefusalKind.WRONG_TYPE: (400, "InvalidParameter"),
    RefusalKind.NO_MODEL: (400, "BadRequest.EmptyModel"),
    RefusalKind.UNKNOWN_MODEL: (400, "InvalidParameter"),
    RefusalKind.NO_INPUT: (400, "BadRequest.EmptyInput"),
    RefusalKind.NO_IMAGE: (400, "InvalidParameter"),
    RefusalKind.WRONG_VALUE: (400, "InvalidParameter"),
}


class DashScope:
    """The answers of Alibaba's own gateway."""

    name: Final = GatewayName.DASHSCOPE

    def headers(self, request_id: str) -> dict[str, str]:  # noqa: ARG002  # every body contains the id
        """Return no headers, because none is documented."""
        return {}

    def unauthorized(self, *, key_given: bool, request_id: str) -> Answer:
        """Answer a request without a valid key."""
        message = "Invalid API-key provided." if key_given else "No API-key provided."
        return _error(401, "InvalidApiKey", message, request_id)

    def throttled(self, request_id: str) -> Answer:
        """Answer a request that exceeds the rate limit."""
        return _error(429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later.", request_id)

    def out_of_balance(self, request_id: str, *, as_throttling: bool) -> Answer:
        """Answer a create that the account cannot pay for (Alibaba docs, error codes)."""
        if as_throttling:
            return _error(429, "PostpaidBillOverdue", "The postpaid bill is overdue.", request_id)
        sentence = "Access denied, please make sure your account is in good standing."
        return _error(400, "Arrearage", sentence, request_id)

    def free_quota_used_up(self, request_id: str) -> Answer:
        """Answer a create when the free quota is used up (Alibaba docs, error codes)."""
        sentence = (
            "The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, "
            'please disable the "use free tier only" mode in the management console.'
        )
        return _error(403, "AllocationQuota.FreeTierOnly", sentence, request_id)

    def broken(self, status: int, request_id: str) -> Answer:
        """Answer with status 500 or 503 (Alibaba docs, error codes)."""
        code = "ModelUnavailable" if status == _UNAVAILABLE else "InternalError"
        return _error(status, code, "An internal error has occurred, please try again later.", request_id)

    def no_route(self, method: str, path: str, request_id: str) -> Answer:
        """Answer a request for a path that does not exist."""
        return _error(404, "NotFound", f"Not found: {method} {path}", request_id)

    def refused(self, refusal: Refusal, request_id: str) -> Answer:
        """Answer a create that is not accepted."""
        status, code = _REFUSALS[refusal.kind]
        message = refusal.message
        if refusal.kind is RefusalKind.UNKNOWN_MODEL:
            message = f"Model not exist: {refusal.message}"
        if refusal.kind is RefusalKind.NOT_JSON:
            message = "The input parameter requires json format."
        return _error(status, code, message, request_id)

    def created(self, task: Task) -> Answer:
        """Answer a create that is accepted."""
        return Answer(
            200,
            {"output": {"task_id": task.id, "task_status": State.PENDING.value}, "request_id": task.request_id},
        )

    def task(self, task: Task, snapshot: Snapshot, url: str | None, request_id: str, now: float) -> Answer:  # noqa: ARG002  # APIYI's progress needs `now`
        """Answer a poll."""
        output: dict[str, Any] = {
            "task_id": task.id,
            "task_status": snapshot.state.value,
            "submit_time": _local_time(task.created_at),
        }
        if snapshot.scheduled_at is not None:
            output["scheduled_time"] = _local_time(snapshot.scheduled_at)
        if snapshot.ended_at is not None:
            output["end_time"] = _local_time(snapshot.ended_at)
        if url is not None:
            output |= {"orig_prompt": task.order.prompt, "video_url": url}
        if snapshot.failure is not None:
            output |= {"code": snapshot.failure.code, "message": snapshot.failure.message}
        body: dict[str, Any] = {"request_id": request_id, "output": output}
        if snapshot.video is not None:
            body["usage"] = _usage(task, snapshot)
        return Answer(200, body)

    def no_task(self, task_id: str, request_id: str) -> Answer:
        """Answer a poll for an unknown task: 200 and UNKNOWN, for every reason."""
        return self.in_state(task_id, "UNKNOWN", request_id)

    def in_state(self, task_id: str, word: str, request_id: str) -> Answer:
        """Answer a poll with any word as the state of the task."""
        return Answer(200, {"request_id": request_id, "output": {"task_id": task_id, "task_status": word}})

    def canceled(self, request_id: str) -> Answer:
        """Answer a cancel that succeeded."""
        return Answer(200, {"request_id": request_id})

    def not_cancelable(self, request_id: str) -> Answer:
        """Answer a cancel of a task that is no longer PENDING, or is unknown (which is undocumented)."""
        return _error(
            400,
            "UnsupportedOperation",
            "Failed to cancel the task, please confirm if the task is in PENDING status.",
            request_id,
        )

    def listed(
        self, tasks: Sequence[Task], query: Mapping[str, str], now: float, request_id: str, settings: Settings
    ) -> Answer:
        """Answer a list request.

        :param tasks: the caller's tasks, newest first.
        :param query: the parameters of the request.
        :param now: the emulator's time in seconds since the epoch.
        :param settings: what the reference leaves open about the list.
        """
        try:
            start, end = _span(query, now, timezone(timedelta(hours=settings.list_utc_offset_h)))
            page_no, page_size = int(query.get("page_no", 1)), int(query.get("page_size", 10))
        except ValueError:
            return _error(400, "InvalidParameter", "start_time and end_time must be YYYYMMDDhhmmss.", request_id)
        if end - start > _DAY_S or page_no < 1 or page_size < 1:
            return _error(400, "InvalidParameter", "The time span must not exceed 24 hours.", request_id)
        page_size = min(page_size, settings.list_largest_page)
        known_at = now - settings.list_delay_s
        end = min(end, known_at)
        chosen = [task for task in tasks if start <= task.created_at <= end]
        asked = {name: query[name] for name in _FILTERS if query.get(name)}
        if asked:
            chosen = [task for task in chosen if asked.items() <= _row(task, task.at(known_at)).items()]
        if settings.list_order == "oldest first":
            chosen.reverse()
        first = (page_no - 1) * page_size
        return Answer(
            200,
            {
                "total": len(chosen),
                "total_page": ceil(len(chosen) / page_size),
                "page_no": page_no,
                "page_size": page_size,
                "request_id": request_id,
                settings.list_key: [_row(task, task.at(known_at)) for task in chosen[first : first + page_size]],
            },
        )

    def quotas(self, query: Mapping[str, str], models: Sequence[str], request_id: str, settings: Settings) -> Answer:
        """Answer a request for the key's limits (Alibaba docs, "List model quotas").

        :param query: the parameters of the request: an exact `model`, or a part of its `name`, and the page.
        :param models: all models.
        """
        chosen = [one for one in models if query.get("model", one) == one and query.get("name", "") in one]
        try:
            page_no, page_size = int(query.get("page_no", 1)), int(query.get("page_size", 20))
        except ValueError:
            page_no = page_size = 0
        if page_no < 1 or page_size < 1:
            return _error(400, "InvalidParameter", "page_no and page_size must be whole numbers.", request_id)
        first = (page_no - 1) * page_size
        limit = {
            "request_limit": settings.create_qps,
            "request_limit_period": 1,
            "usage_limit": None,
            "usage_limit_field": None,
            "usage_limit_period": None,
            "async_user_queue_limit": None,
            "async_user_concurrency_limit": settings.running,
        }
        rows = [
            {"model": model, "workspace_id": "ws-emulated", "model_limit": limit, "workspace_limit": None}
            for model in chosen[first : first + page_size]
        ]
        output = {"total": len(chosen), "page_no": page_no, "page_size": page_size, "quotas": rows}
        return Answer(200, {"request_id": request_id, "output": output})


def _usage(task: Task, snapshot: Snapshot) -> dict[str, Any]:
    video = snapshot.video
    assert video is not None  # noqa: S101  # only a task with a video has usage
    usage: dict[str, Any] = {
        "duration": video.duration_s + video.input_duration_s,
        "input_video_duration": video.input_duration_s,
        "output_video_duration": video.duration_s,
        "video_count": 1,
        "SR": int(task.order.resolution.removesuffix("P")),
    }
    # Alibaba docs, wan2.6: a request with a `size` has no ratio.
    if task.order.mode in (Mode.TEXT, Mode.REFERENCE, Mode.ANY) and task.order.size is None:
        usage["ratio"] = task.order.ratio
    if task.order.spec.tells_fps:
        usage |= {"fps": FPS, "duration": float(usage["duration"])}
    if task.order.model.startswith("wan2.6-"):
        usage["size"] = f"{video.width_px}*{video.height_px}"
    return usage


def _row(task: Task, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "status": snapshot.state.value,
        "model_name": task.order.model,
        "gmt_create": _milliseconds(task.created_at),
        # The unit of these two is undocumented; assumed to be that of gmt_create.
        "start_time": _milliseconds(snapshot.scheduled_at),
        "end_time": _milliseconds(snapshot.ended_at),
        "region": HOME,
        "request_id": task.request_id,
        "api_key_id": task.caller.digest[:8],
        "caller_uid": task.caller.digest[8:24],
        "caller_parent_id": task.caller.digest[8:24],
        "user_api_unique_key": f"apikey:v1:aigc:{task.order.model}",
    }


def _span(query: Mapping[str, str], now: float, zone: timezone) -> tuple[float, float]:
    end = _parsed(query["end_time"], zone) if query.get("end_time") else now
    start = _parsed(query["start_time"], zone) if query.get("start_time") else end - _DAY_S
    return start, end


def _parsed(text: str, zone: timezone) -> float:
    return datetime.strptime(text, _LIST_TIME).replace(tzinfo=zone).timestamp()


def _local_time(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC).astimezone(_BEIJING)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


def _milliseconds(at: float | None) -> int | None:
    return None if at is None else int(at * 1000)


def _error(status: int, code: str, message: str, request_id: str) -> Answer:
    return Answer(status, {"code": code, "message": message, "request_id": request_id})
