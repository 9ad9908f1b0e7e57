"""Reads a task from a gateway's answer: every form in which the gateways describe one becomes the same `WanTask`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_wan.api.answers import text_of
from airflow_wan.api.failures import read_error, read_failed_answer, split_code, submit_error
from airflow_wan.exceptions import MAX_MESSAGE_CHARS, GatewayUnavailable, WanError
from airflow_wan.redaction import redact, redact_beginning

if TYPE_CHECKING:
    from airflow_wan.api.answers import Answer


class TaskStatus(StrEnum):
    """State of a task, in the same words for both gateways."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"
    """The gateway does not know the task: it expired, never existed, or belongs to another account."""
    UNRECOGNISED = "unrecognised"
    """A status word that this package does not know; the task is assumed to be unfinished."""


# DashScope says PENDING … UNKNOWN (its SDK also knows SUSPENDED), APIYI submitted … failed, and new-api, the
# software that APIYI's gateway descends from, NOT_START … FAILURE. In lower case.
_STATUS_WORDS = {
    "pending": TaskStatus.QUEUED,
    "submitted": TaskStatus.QUEUED,
    "queued": TaskStatus.QUEUED,
    "not_start": TaskStatus.QUEUED,
    "suspended": TaskStatus.QUEUED,
    "running": TaskStatus.RUNNING,
    "in_progress": TaskStatus.RUNNING,
    "processing": TaskStatus.RUNNING,
    "succeeded": TaskStatus.SUCCEEDED,
    "success": TaskStatus.SUCCEEDED,
    "completed": TaskStatus.SUCCEEDED,
    "failed": TaskStatus.FAILED,
    "failure": TaskStatus.FAILED,
    "canceled": TaskStatus.CANCELED,
    "cancelled": TaskStatus.CANCELED,
    "unknown": TaskStatus.UNKNOWN,
}

CHINA_TIME = timezone(timedelta(hours=8))
"""Time zone of the times that DashScope writes without one."""

MAX_USAGE_CHARS = 2_000
"""Longest ``usage`` that is kept, in characters: it goes to XCom. A usual one has a few hundred."""

MAX_STATUS_CHARS = 40
"""Longest status word that is kept, in characters."""


@dataclass(frozen=True, slots=True)
class WanTask:
    """A task at a gateway, as one answer describes it.

    :param wan_task_id: the gateway's id of the task.
    :param status: its state.
    :param status_word: the gateway's own word for its state.
    :param progress: how much is done, in percent, if the gateway says so (APIYI: 0, 10, 30 or 100).
    :param video_url: URL of the finished file, valid for 24 h. It is signed, so it must not be logged or shown.
    :param code: the gateway's error code, if the task failed.
    :param message: why the task failed, in the gateway's words.
    :param request_id: the gateway's id of the request that got this answer.
    :param submitted_at: when the gateway accepted the task (DashScope only).
    :param started_at: when the task began to run (DashScope only).
    :param ended_at: when the task ended (DashScope only).
    :param orig_prompt: the prompt as submitted, if the gateway tells it (DashScope: once the task has ended).
    :param actual_prompt: the prompt after the gateway's rewriting, if the gateway tells it.
    :param usage: what was billed, in the gateway's own fields: seconds, resolution (DashScope only).
    """

    wan_task_id: str
    status: TaskStatus
    status_word: str
    progress: int | None = None
    video_url: str | None = field(default=None, repr=False)
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    orig_prompt: str | None = None
    actual_prompt: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListedTask:
    """One row of the gateway's list of tasks.

    :param wan_task_id: the task.
    :param created_at: when the gateway created it, as a Unix time in seconds.
    :param model: the model id, if the row tells it.
    :param cost_usd: what the task has cost, if it succeeded and the row tells it (APIYI only).
    """

    wan_task_id: str
    created_at: float
    model: str | None = None
    cost_usd: float | None = None


_FIRST_MS = 1e11
"""A smaller number is a time in seconds, until the year 5138. A greater one is in milliseconds, from the year 1973."""

_LONGEST_TIMESTAMP_MS = 1e16
"""Greatest number that is read as a time, in milliseconds: a greater one is none, and may not even fit a float."""

QUOTA_OF_A_USD = 500_000
"""APIYI's unit of account (its FAQ, "cost look-up")."""


def read_created(answer: Answer) -> WanTask:
    """Return the task that a create request has made.

    :raises SubmitAmbiguous: when the answer proves neither that the request was accepted nor that it was refused.
    :raises WanError: of the class that the answer means, when the request was refused.
    """
    wan_task_id = _first_text(_task_objects(answer.body), "task_id") if answer.ok else None
    if wan_task_id is None:
        raise submit_error(answer)
    status, word = _status(answer.body)
    return WanTask(
        wan_task_id=wan_task_id,
        status=status or TaskStatus.QUEUED,
        status_word=word,
        request_id=answer.request_id,
    )


def read_list(answer: Answer) -> tuple[list[ListedTask], int]:
    """Return one page of the list of tasks, and the number of pages.

    :raises WanError: of the class that the answer means; `GatewayUnavailable` when it is no list.
    """
    body = answer.body
    # Alibaba's documentation shows the rows under "data"; its SDK reads them from "tasks".
    rows = next((body[key] for key in ("data", "tasks") if isinstance(body.get(key), list)), None)
    if not answer.ok or rows is None:
        raise read_error(answer)
    tasks = [
        ListedTask(wan_task_id, created_at, text_of(row.get("model_name")))
        for row, wan_task_id, created_at in _listed(rows, "gmt_create")
    ]
    pages = body.get("total_page")
    return tasks, pages if isinstance(pages, int) else 1


def read_owner_list(answer: Answer) -> list[ListedTask]:
    """Return one page of the list that APIYI shows to a system token.

    :raises WanError: of the class that the answer means; `GatewayUnavailable` when it is no list.
    """
    data = answer.body.get("data")
    rows = data.get("items") if isinstance(data, Mapping) else None
    if not answer.ok or not isinstance(rows, list):
        raise read_error(answer)
    return [
        ListedTask(wan_task_id, created_at, text_of(row.get("model_name")), _cost_usd(row))
        for row, wan_task_id, created_at in _listed(rows, "submit_time")
    ]


def _listed(rows: list[Any], time_field: str) -> Iterator[tuple[Mapping[str, Any], str, float]]:
    """Yield each row of a list that has an id and a time, with both."""
    for row in rows:
        if isinstance(row, Mapping) and (wan_task_id := text_of(row.get("task_id"))):
            created_at = _moment(row.get(time_field))
            if created_at is not None:
                yield row, wan_task_id, created_at


def _cost_usd(row: Mapping[str, Any]) -> float | None:
    """Return what a row says that its task has cost. Of a failed task it shows what was charged and given back."""
    if _STATUS_WORDS.get((text_of(row.get("status")) or "").lower()) is not TaskStatus.SUCCEEDED:
        return None
    quota: Any = row.get("quota")
    if isinstance(quota, bool) or not isinstance(quota, (int, float)) or not 0 <= quota < _FIRST_MS:
        return None
    return round(quota / QUOTA_OF_A_USD, 6)


def _moment(value: Any) -> float | None:
    """Return a Unix time in seconds that may be written in milliseconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LONGEST_TIMESTAMP_MS:
        return None
    return value / 1000 if value >= _FIRST_MS else float(value)


def read_task(answer: Answer, wan_task_id: str) -> WanTask:
    """Return the task that a query asked for.

    :raises GatewayUnavailable: when the answer does not describe a task.
    :raises WanError: of the class that the answer means, when the gateway refuses the query.
    """
    body = answer.body
    status, word = _status(body)
    if not answer.ok or status is None:
        raise _error_without_task(answer, wan_task_id)
    objects = list(_task_objects(body))
    code, message = (None, None)
    if status in (TaskStatus.FAILED, TaskStatus.CANCELED, TaskStatus.UNKNOWN):
        code, message = _failure(body, objects)
    return WanTask(
        wan_task_id=wan_task_id,
        status=status,
        status_word=word,
        progress=_progress(objects),
        video_url=_video_url(body, objects),
        code=code,
        message=message,
        request_id=answer.request_id,
        submitted_at=_time(objects, "submit_time"),
        started_at=_time(objects, "scheduled_time"),
        ended_at=_time(objects, "end_time"),
        orig_prompt=_first_text(objects, "orig_prompt") or _prompt_of_input(objects),
        actual_prompt=_first_text(objects, "actual_prompt"),
        usage=_usage(objects),
    )


def _error_without_task(answer: Answer, wan_task_id: str) -> WanError:
    failed = read_failed_answer(answer)
    if answer.ok and failed.code is None:
        return GatewayUnavailable(
            f"The answer has no task status: {failed.message}",
            request_id=failed.request_id,
            wan_task_id=wan_task_id,
            http_status=answer.http_status,
        )
    return read_error(answer, wan_task_id)


def _task_objects(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of an answer that may have the fields of a task, the outermost first.

    The body itself: APIYI. ``output``: DashScope. ``data``: new-api, with the upstream's answer in ``data.data``.
    ``result.data``: APIYI's record of a task.
    """
    paths = (
        (),
        ("output",),
        ("data",),
        ("data", "output"),
        ("data", "data"),
        ("data", "data", "output"),
        ("result",),
        ("result", "data"),
        ("result", "data", "output"),
    )
    for path in paths:
        inner: Any = body
        for key in path:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping):
            yield inner


def _status(body: Mapping[str, Any]) -> tuple[TaskStatus | None, str]:
    """Return the outermost status and its word; None if the answer has none."""
    data, output = body.get("data"), body.get("output")
    candidates = (
        body.get("status"),
        data.get("status") if isinstance(data, Mapping) else None,
        output.get("task_status") if isinstance(output, Mapping) else None,
        body.get("task_status"),
    )
    for candidate in candidates:
        if isinstance(candidate, str) and (word := candidate.strip()):
            return _STATUS_WORDS.get(word.lower(), TaskStatus.UNRECOGNISED), redact(word)[:MAX_STATUS_CHARS]
    return None, ""


def _prompt_of_input(objects: list[Mapping[str, Any]]) -> str | None:
    """Return the prompt in the request that APIYI repeats in its record of some tasks (``result.data.input``)."""
    return _first_text((one["input"] for one in objects if isinstance(one.get("input"), Mapping)), "prompt")


def _failure(body: Mapping[str, Any], objects: list[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """Return code and message of a failed task."""
    error = body.get("error")
    # new-api says in the body itself that the query succeeded, whatever became of the task.
    inner_objects = [one for one in objects if one is not body]
    messages = [
        text_of(error.get("message")) if isinstance(error, Mapping) else text_of(error),
        _first_text(objects, "fail_reason"),
        _first_text(inner_objects, "message"),
        text_of(body.get("message")),
    ]
    code_in_message, message = split_code(next((text for text in messages if text), ""))
    code = text_of(error.get("code")) if isinstance(error, Mapping) else None
    code = code_in_message or code or _first_text(inner_objects, "code")
    return code, redact_beginning(message, MAX_MESSAGE_CHARS) or None


def _video_url(body: Mapping[str, Any], objects: list[Mapping[str, Any]]) -> str | None:
    metadata = body.get("metadata")
    return (
        _first_text(objects, "result_url")
        or _first_text(objects, "video_url")
        or (text_of(metadata.get("url")) if isinstance(metadata, Mapping) else None)
    )


def _usage(objects: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what was billed; nothing if it is too long for XCom."""
    usage: Mapping[str, Any] = next((one["usage"] for one in objects if isinstance(one.get("usage"), Mapping)), {})
    return usage if len(repr(usage)) <= MAX_USAGE_CHARS else {}


def _progress(objects: list[Mapping[str, Any]]) -> int | None:
    """Return the percentage, which may be written as 30 or as "30%"."""
    text = (_first_text(objects, "progress") or "").removesuffix("%")
    try:
        return min(100, max(0, int(float(text))))
    except (ValueError, OverflowError):
        return None


def _time(objects: list[Mapping[str, Any]], name: str) -> datetime | None:
    """Return a time that DashScope writes like ``2026-04-02 15:11:42.100``, in UTC+8."""
    text = next((one[name] for one in objects if isinstance(one.get(name), str)), None)
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=CHINA_TIME)


def _first_text(objects: Iterable[Mapping[str, Any]], name: str) -> str | None:
    return next((text for one in objects if (text := text_of(one.get(name)))), None)
