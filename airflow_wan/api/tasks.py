"""WanTask and its one reader: every shape in which a gateway tells of a task, made into the same object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

from airflow_wan.api.failures import (
    classify_read,
    classify_submit,
    read_failed_answer,
    request_id_of,
    split_code,
    text_of,
)
from airflow_wan.exceptions import MAX_MESSAGE_CHARS, GatewayUnavailable, WanError
from airflow_wan.redaction import redact


class TaskStatus(StrEnum):
    """What a task is doing, in one vocabulary for both gateways."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"
    """The gateway does not know the task: it expired, never existed, or is another account's. It never resolves."""
    UNRECOGNISED = "unrecognised"
    """A status word this package does not know; the task is taken to be still on its way."""


# DashScope says PENDING … UNKNOWN (its SDK also knows SUSPENDED), APIYI submitted … failed, and the gateway software
# that APIYI builds on NOT_START … FAILURE. Compared in lower case.
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
"""DashScope writes its times without a zone, in UTC+8."""


MAX_USAGE_CHARS = 2_000
"""A bill has some hundred characters."""


@dataclass(frozen=True, slots=True)
class WanTask:
    """A video job at a gateway, as of one answer.

    :param wan_task_id: the gateway's id of the task.
    :param status: what it is doing.
    :param status_word: the gateway's own word for that.
    :param progress: percent done, where the gateway says (APIYI: 0, 10, 30 or 100).
    :param video_url: where the finished file is, for 24 h; signed, so never logged or shown.
    :param code: why it failed, in the gateway's code.
    :param message: why it failed, in the gateway's words.
    :param request_id: the gateway's id of the request that told this.
    :param submitted_at: when the gateway took it, where it says (DashScope).
    :param started_at: when it began to run, where the gateway says (DashScope).
    :param ended_at: when it ended, where the gateway says (DashScope).
    :param orig_prompt: the prompt as submitted, where the gateway says (DashScope).
    :param actual_prompt: the prompt after the gateway's rewriting, where it says.
    :param usage: what was billed, as the gateway wrote it: seconds, resolution (DashScope).
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
class Answer:
    """An HTTP answer, taken apart just far enough to be read.

    :param http_status: its status code.
    :param headers: its headers, looked up in lower case.
    :param payload: its body as JSON, or None if it is not JSON.
    :param text: its body as text.
    """

    http_status: int
    headers: Mapping[str, str]
    payload: object
    text: str = field(repr=False)

    @property
    def body(self) -> Mapping[str, Any]:
        """The JSON object, or an empty one."""
        return self.payload if isinstance(self.payload, Mapping) else {}

    @property
    def ok(self) -> bool:
        """Whether the status says success."""
        return 200 <= self.http_status < 300  # noqa: PLR2004


def read_created(answer: Answer) -> WanTask:
    """The task that a create request made.

    :raises WanError: by the answer's code; `SubmitAmbiguous` where it proves neither acceptance nor refusal.
    """
    wan_task_id = _first_text(_places(answer.body), "task_id") if answer.ok else None
    if wan_task_id is None:
        raise classify_submit(read_failed_answer(answer.http_status, answer.headers, answer.payload, answer.text))
    status, word = _status(answer.body)
    return WanTask(
        wan_task_id=wan_task_id,
        status=status or TaskStatus.QUEUED,
        status_word=word,
        request_id=request_id_of(answer.body, answer.headers),
    )


@dataclass(frozen=True, slots=True)
class ListedTask:
    """One row of the gateway's list of tasks.

    :param wan_task_id: the task.
    :param created_at: when the gateway made it, unix time in s.
    """

    wan_task_id: str
    created_at: float


_NO_TIME = 1e16
"""ms; larger numbers are no times, and some not even floats."""


def read_list(answer: Answer) -> tuple[list[ListedTask], int]:
    """One page of the list of tasks, and how many pages there are.

    :raises WanError: `GatewayUnavailable` where the answer is no list, else by its code.
    """
    body = answer.body
    # Alibaba's documentation shows the rows under "data"; its SDK reads them from "tasks".
    rows = next((body[key] for key in ("data", "tasks") if isinstance(body.get(key), list)), None)
    if not answer.ok or rows is None:
        raise classify_read(read_failed_answer(answer.http_status, answer.headers, answer.payload, answer.text))
    tasks = [
        ListedTask(str(row["task_id"]), float(row["gmt_create"]) / 1000)
        for row in rows
        if isinstance(row, Mapping)
        and row.get("task_id")
        and isinstance(row.get("gmt_create"), (int, float))
        and abs(row["gmt_create"]) < _NO_TIME
    ]
    pages = body.get("total_page")
    return tasks, pages if isinstance(pages, int) else 1


def read_task(answer: Answer, wan_task_id: str) -> WanTask:
    """The task that a query asked for, from any of the documented shapes and the ones the gateway software suggests.

    :raises WanError: `GatewayUnavailable` where the answer says nothing of a task, else by the answer's code.
    """
    body = answer.body
    status, word = _status(body)
    if not answer.ok or status is None:
        raise _unreadable(answer, wan_task_id)
    places = list(_places(body))
    code, message = (None, None)
    if status in (TaskStatus.FAILED, TaskStatus.CANCELED, TaskStatus.UNKNOWN):
        code, message = _failure(body, places)
    return WanTask(
        wan_task_id=wan_task_id,
        status=status,
        status_word=word,
        progress=_progress(places),
        video_url=_video_url(body, places),
        code=code,
        message=message,
        request_id=request_id_of(body, answer.headers),
        submitted_at=_time(places, "submit_time"),
        started_at=_time(places, "scheduled_time"),
        ended_at=_time(places, "end_time"),
        orig_prompt=_first_text(places, "orig_prompt"),
        actual_prompt=_first_text(places, "actual_prompt"),
        usage=_usage(places),
    )


def _unreadable(answer: Answer, wan_task_id: str) -> WanError:
    failed = read_failed_answer(answer.http_status, answer.headers, answer.payload, answer.text)
    if answer.ok and failed.code is None:
        return GatewayUnavailable(
            f"The answer holds no task status: {failed.message}",
            request_id=failed.request_id,
            wan_task_id=wan_task_id,
            http_status=answer.http_status,
        )
    return classify_read(failed, wan_task_id)


def _places(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The objects in which fields of a task have been seen, the outermost first.

    Top level: APIYI. ``output``: DashScope. ``data``: the gateway software under APIYI, with the upstream's answer in
    ``data.data``. ``result.data``: APIYI's task record.
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
        place: Any = body
        for step in path:
            place = place.get(step) if isinstance(place, Mapping) else None
        if isinstance(place, Mapping):
            yield place


def _status(body: Mapping[str, Any]) -> tuple[TaskStatus | None, str]:
    """The outermost status word and what it means; None if there is none."""
    data, output = body.get("data"), body.get("output")
    candidates = (
        body.get("status"),
        data.get("status") if isinstance(data, Mapping) else None,
        output.get("task_status") if isinstance(output, Mapping) else None,
        body.get("task_status"),
    )
    for word in candidates:
        if isinstance(word, str) and word.strip():
            shown = redact(word.strip())[:40]
            return _STATUS_WORDS.get(word.strip().lower(), TaskStatus.UNRECOGNISED), shown
    return None, ""


def _failure(body: Mapping[str, Any], places: list[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """Code and message of a failed task."""
    error = body.get("error")
    texts = [
        text_of(error.get("message")) if isinstance(error, Mapping) else text_of(error),
        _first_text(places, "fail_reason"),
        _first_text([place for place in places if place is not body], "message"),
        text_of(body.get("message")),
    ]
    code_in_message, message = split_code(next((text for text in texts if text), ""))
    code = text_of(error.get("code")) if isinstance(error, Mapping) else None
    # At the top level, the gateway software says code "success" of the query itself, whatever became of the task.
    code = code_in_message or code or _first_text([place for place in places if place is not body], "code")
    return code, redact(message[: 2 * MAX_MESSAGE_CHARS]) or None


def _video_url(body: Mapping[str, Any], places: list[Mapping[str, Any]]) -> str | None:
    metadata = body.get("metadata")
    return (
        _first_text(places, "result_url")
        or _first_text(places, "video_url")
        or (text_of(metadata.get("url")) if isinstance(metadata, Mapping) else None)
    )


def _usage(places: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What was billed; nothing where it is no bill but a book, for it ends in XCom."""
    usage: Mapping[str, Any] = next((one for place in places if isinstance(one := place.get("usage"), Mapping)), {})
    return usage if len(repr(usage)) <= MAX_USAGE_CHARS else {}


def _progress(places: list[Mapping[str, Any]]) -> int | None:
    """Percent, given as 30 or as "30%"."""
    text = (_first_text(places, "progress") or "").removesuffix("%")
    try:
        return min(100, max(0, int(float(text))))
    except (ValueError, OverflowError):
        return None


def _time(places: list[Mapping[str, Any]], name: str) -> datetime | None:
    """A time as DashScope writes it, ``2026-04-02 15:11:42.100`` in UTC+8."""
    text = next((place[name] for place in places if isinstance(place.get(name), str)), None)
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=CHINA_TIME)


def _first_text(places: Iterator[Mapping[str, Any]] | list[Mapping[str, Any]], name: str) -> str | None:
    return next((text for place in places if (text := text_of(place.get(name)))), None)
