"""Reads a task from a gateway's answer: every form in which the gateways describe one becomes the same `WanTask`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_wan.api.answers import is_task_id, task_id_of, task_ids_in, text_of
from airflow_wan.api.failures import read_error, read_failed_answer, split_code, submit_error
from airflow_wan.exceptions import MAX_ID_CHARS, MAX_MESSAGE_CHARS, GatewayUnavailable, VideoTaskLost, WanError
from airflow_wan.redaction import redact_beginning

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
    :param status: its state; None if the row does not tell it.
    :param started_at: when the task began to run, as a Unix time in seconds, if the row tells it.
    :param ended_at: when the task ended, as a Unix time in seconds, if the row tells it.
    :param status_word: the gateway's own word for its state.
    """

    wan_task_id: str
    created_at: float
    model: str | None = None
    cost_usd: float | None = None
    status: TaskStatus | None = None
    started_at: float | None = None
    ended_at: float | None = None
    status_word: str = ""

    def as_task(self) -> WanTask:
        """Return what the row says of the task's state, as a query of the task says it."""
        return WanTask(
            self.wan_task_id,
            self.status or TaskStatus.UNRECOGNISED,
            self.status_word,
            started_at=None if self.started_at is None else datetime.fromtimestamp(self.started_at, tz=UTC),
        )


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of the gateway's list of tasks, as far as it can be read.

    :param rows: its rows that have an id and a time.
    :param rows_sent: how many rows it has, readable or not.
    :param total: how many rows the whole list has, if the page tells it.
    :param total_pages: how many pages the whole list has, if the page tells it.
    """

    rows: list[ListedTask]
    rows_sent: int
    total: int | None = None
    total_pages: int | None = None


_OK = 200

_YEARS = range(2000, 2100)
"""Years that a task's times may lie in: other times are none, and may not even be known in another time zone."""

_TIMESTAMPS = (946_684_800, 4_102_444_800)
"""The same years, as Unix times in seconds."""

_MS = 1000
"""A time that is greater than the last of those years is one in milliseconds."""

_MAX_SCALAR_CHARS = 40
"""Longest text that is read as a number or a time, in characters."""

_MAX_COUNT_DIGITS = 9
"""Longest number of rows or pages that is believed, in digits."""

QUOTA_OF_A_USD = 500_000
"""APIYI's unit of account (its FAQ, "cost look-up")."""

_MOST_QUOTA = 1e12
"""No video costs as much: two million USD."""


def read_created(answer: Answer) -> WanTask:
    """Return the task that a create request has made.

    An id that the answer unmistakably names is never given up, even if the rest of the answer cannot be read.

    :raises SubmitAmbiguous: when the answer proves neither that the request was accepted nor that it was refused.
    :raises WanError: of the class that the answer means, when the request was refused.
    """
    wan_task_id = next(filter(None, map(task_id_of, _task_objects(answer.body))), None) if answer.ok else None
    says_no = any(answer.body.get(name) for name in ("code", "error"))
    if wan_task_id is None and answer.ok and not says_no and len(answer.task_ids) == 1:
        # The answer says success and names one task, in a form that nobody knows. To wait for that task buys nothing.
        (wan_task_id,) = answer.task_ids
    if wan_task_id is None or not is_task_id(wan_task_id):
        raise submit_error(answer)
    status, word = _status(answer.body)
    return WanTask(
        wan_task_id=wan_task_id,
        status=status or TaskStatus.QUEUED,
        status_word=word,
        request_id=answer.request_id,
    )


def read_list(answer: Answer) -> ListPage:
    """Return one page of the list of tasks.

    :raises WanError: of the class that the answer means; `GatewayUnavailable` when it is no list.
    """
    # Alibaba's documentation shows the rows under "data"; its SDK reads them from "tasks".
    rows = next((answer.body[key] for key in ("data", "tasks") if isinstance(answer.body.get(key), list)), None)
    if not answer.ok or rows is None:
        raise read_error(answer)
    tasks = [task for row in rows if (task := _read_row(row, "gmt_create"))]
    return ListPage(tasks, len(rows), _count(answer.body.get("total")), _count(answer.body.get("total_page")))


def _count(value: object) -> int | None:
    """Return how many there are of something, which may be written as 30 or as "30"."""
    text = text_of(value) or ""
    return int(text) if len(text) <= _MAX_COUNT_DIGITS and text.isascii() and text.isdigit() else None


def read_owner_list(answer: Answer) -> list[ListedTask]:
    """Return one page of the list that APIYI shows to a system token.

    :raises WanError: of the class that the answer means; `GatewayUnavailable` when it is no list.
    """
    data = answer.body.get("data")
    rows = data.get("items") if isinstance(data, Mapping) else None
    if not answer.ok or not isinstance(rows, list):
        raise read_error(answer)
    return [task for row in rows if (task := _read_row(row, "submit_time"))]


def _read_row(row: object, time_field: str) -> ListedTask | None:
    """Return what a row of a list says; None if it has no id or no time."""
    if not isinstance(row, Mapping):
        return None
    wan_task_id, created_at = task_id_of(row), _moment(row.get(time_field))
    if not wan_task_id or not is_task_id(wan_task_id) or created_at is None:
        return None
    status, word = _status(row)
    return ListedTask(
        wan_task_id,
        created_at,
        text_of(row.get("model_name")),
        _cost_usd(row),
        status,
        _listed_time(row, "scheduled_time", "start_time"),
        _listed_time(row, "end_time", "finish_time"),
        word,
    )


def _cost_usd(row: Mapping[str, Any]) -> float | None:
    """Return what a row says that its task has cost. Of a failed task it shows what was charged and given back."""
    if _STATUS_WORDS.get((text_of(row.get("status")) or "").lower()) is not TaskStatus.SUCCEEDED:
        return None
    quota: Any = row.get("quota")
    if isinstance(quota, bool) or not isinstance(quota, (int, float)) or not 0 <= quota < _MOST_QUOTA:
        return None
    return round(quota / QUOTA_OF_A_USD, 6)


def _moment(value: Any) -> float | None:
    """Return a Unix time in seconds, which may be written in milliseconds."""
    first, last = _TIMESTAMPS
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not first <= value < last * _MS:
        return None
    seconds = value / _MS if value >= last else value
    return float(seconds) if first <= seconds < last else None


def _listed_time(row: Mapping[str, Any], *names: str) -> float | None:
    """Return a time of a row as a Unix time in seconds. The reference does not tell how a row writes it."""
    for name in names:
        written = _time([row], name)
        moment = _moment(row.get(name)) if written is None else written.timestamp()
        if moment is not None:
            return moment
    return None


def check_canceled(answer: Answer, wan_task_id: str) -> None:
    """Check that a cancel request was carried out: DashScope then answers ``{"request_id": "…"}``.

    :raises WanError: when the answer says something else, or cannot be read.
    """
    state, _ = _status(answer.body)
    ours = state in (None, TaskStatus.CANCELED) and all(named == wan_task_id for named in task_ids_in(answer.payload))
    says_more = any(answer.body.get(name) for name in ("code", "error", "message"))
    if answer.http_status == _OK and text_of(answer.body.get("request_id")) and ours and not says_more:
        return
    error = read_error(answer, wan_task_id)
    if isinstance(error, VideoTaskLost):
        # The gateway refuses to cancel most likely because the task runs already: it is not lost.
        error = WanError(error.message, code=error.code, request_id=error.request_id, wan_task_id=wan_task_id)
    raise error


def read_task(answer: Answer, wan_task_id: str) -> WanTask:
    """Return the task that a query asked for.

    :raises GatewayUnavailable: when the answer does not describe a task.
    :raises WanError: of the class that the answer means, when the gateway refuses the query.
    """
    task = _read_own(answer, wan_task_id) if answer.http_status == _OK else None
    if task is None:
        raise _error_without_task(answer, wan_task_id)
    return task


def _read_own(answer: Answer, wan_task_id: str) -> WanTask | None:
    """Return the task; None if the answer does not describe it."""
    body = _own_part(answer.body, wan_task_id)
    status, word = _status(body)
    if status is None or _others_in(answer, wan_task_id):
        return None
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


def _own_part(value: Any, wan_task_id: str) -> Any:
    """Return a part of an answer without what is about another task.

    Within an object that names the task, other ids are those of the same task at the upstream of the gateway.
    """
    if isinstance(value, list):
        return [_own_part(inner, wan_task_id) for inner in value]
    if not isinstance(value, Mapping):
        return value
    named = task_id_of(value)
    if named is not None:
        return value if named == wan_task_id else {}
    return {name: _own_part(inner, wan_task_id) for name, inner in value.items()}


def _others_in(answer: Answer, wan_task_id: str) -> list[str]:
    """Return the task ids in an answer that names tasks, but not this one."""
    named = list(task_ids_in(answer.payload))
    return [] if wan_task_id in named else named


def _error_without_task(answer: Answer, wan_task_id: str) -> WanError:
    failed = read_failed_answer(answer)
    if others := _others_in(answer, wan_task_id):
        return GatewayUnavailable(
            f"The answer is about another task ({others[0][:MAX_ID_CHARS]}).",
            request_id=failed.request_id,
            wan_task_id=wan_task_id,
            http_status=answer.http_status,
        )
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
            return _STATUS_WORDS.get(word.lower(), TaskStatus.UNRECOGNISED), redact_beginning(word, MAX_STATUS_CHARS)
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
    code_in_message, message = split_code(next((text for text in messages if text), "")[: 20 * MAX_MESSAGE_CHARS])
    code = text_of(error.get("code")) if isinstance(error, Mapping) else None
    code = code_in_message or code or _first_text(inner_objects, "code")
    return code, redact_beginning(message, MAX_MESSAGE_CHARS) or None


def _video_url(body: Mapping[str, Any], objects: list[Mapping[str, Any]]) -> str | None:
    metadata = body.get("metadata")
    return (
        _first_text(objects, "result_url")
        or _first_text(objects, "video_url")
        or _first_text(_results(objects), "video_url")
        or (text_of(metadata.get("url")) if isinstance(metadata, Mapping) else None)
    )


def _results(objects: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield what stands under ``results``, which is an object, or a list of one, in answers of some models."""
    for one in objects:
        results = one.get("results")
        yield from (
            inner for inner in (results if isinstance(results, list) else [results]) if isinstance(inner, Mapping)
        )


def _usage(objects: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what was billed; nothing if it is too long for XCom."""
    usage: Mapping[str, Any] = next((one["usage"] for one in objects if isinstance(one.get("usage"), Mapping)), {})
    return usage if len(repr(usage)) <= MAX_USAGE_CHARS else {}


def _progress(objects: list[Mapping[str, Any]]) -> int | None:
    """Return the percentage, which may be written as 30 or as "30%"."""
    text = (_first_text(objects, "progress") or "")[:_MAX_SCALAR_CHARS].removesuffix("%")
    try:
        return min(100, max(0, int(float(text))))
    except (ValueError, OverflowError):
        return None


def _time(objects: list[Mapping[str, Any]], name: str) -> datetime | None:
    """Return a time that DashScope writes like ``2026-04-02 15:11:42.100``, in UTC+8."""
    text = next((one[name] for one in objects if isinstance(one.get(name), str)), None)
    try:
        moment = datetime.fromisoformat(text[:_MAX_SCALAR_CHARS]) if text else None
    except ValueError:
        return None
    if moment is None or moment.year not in _YEARS:
        return None
    return moment.replace(tzinfo=moment.tzinfo or CHINA_TIME)


def _first_text(objects: Iterable[Mapping[str, Any]], name: str) -> str | None:
    return next((text for one in objects if (text := text_of(one.get(name)))), None)
