"""Finds the Wan task of a create request whose answer was lost: the one that is proven to be this request's.

The gateways have no idempotency key and no label, so a task in the gateway's list is taken for ours only if all of this
holds: it was created in the minutes after the intent; no other task instance of the DAG run holds it; its model,
prompt, length, resolution and shape are those of the order; where a first frame was sent, its video begins with that
picture; no other task fits as well; and whoever else of the DAG run may have ordered the same holds a task of its own.
Media of other kinds leave no trace that could be compared, so nothing is proven then.
"""

from __future__ import annotations

import io
import logging
import tempfile
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from airflow_wan.api.client import tls_context
from airflow_wan.api.requests import DEFAULT_RATIO
from airflow_wan.api.resolutions import nearest_resolution
from airflow_wan.api.rules import MB
from airflow_wan.api.tasks import TaskStatus
from airflow_wan.exceptions import (
    MAX_CODE_CHARS,
    GatewayUnavailable,
    NotAVideoError,
    TransferFailed,
    TransferInterrupted,
)
from airflow_wan.media.frames import pyav
from airflow_wan.media.likeness import OTHER_FROM, SAME_AT_MOST, difference_from_first_frame
from airflow_wan.media.mp4 import inspect_video
from airflow_wan.media.sources import UploadedFile, WebUrl, find_sources
from airflow_wan.net.file_client import FileClient, read_beginning, read_some
from airflow_wan.net.host_answers import strong_etag
from airflow_wan.net.retrying import repeat_until, retrying
from airflow_wan.purchases.decision import readable_time
from airflow_wan.purchases.prices import positive_number
from airflow_wan.purchases.record import Intent, Purchase, fingerprint_of
from airflow_wan.redaction import shareable
from airflow_wan.waiting.durations import VideoKind
from airflow_wan.waiting.schedule import ReadSchedule
from airflow_wan.waiting.watch import DEFAULT_POLL_INTERVAL_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.gateways import Account
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.api.tasks import ListedTask, WanTask
    from airflow_wan.purchases.siblings import Claims

log = logging.getLogger(__name__)

T = TypeVar("T")

SEARCH_WINDOW_S = 15 * 60.0
"""Seconds after the intent in which a lost create request is looked for: longer than any read timeout."""

LONGEST_SEARCH_S = 20 * 60.0
"""Seconds to wait until the candidates have ended; most videos take 1 to 5 min."""

NO_LIST_STATUSES = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
"""By which a relay says that it has no list of tasks."""

MAX_CANDIDATES = 50
"""Tasks that are read one by one. More of them would use up the gateway's limit of reads."""

MAX_LISTED = 10
"""Candidates that a message names."""

FETCH_ATTEMPTS = 3
"""Attempts at fetching a candidate's video, or the picture that was sent."""

MAX_VIDEO_BYTES = 300 * MB
"""Largest video that is fetched for its first frame. The longest video, 30 s in 1080P, has some 100 MB."""

MAX_PICTURE_BYTES = 25 * MB
"""Largest picture that is read again. The gateways take 20 MB."""

LENGTH_TOLERANCE_S = 1.0
"""A video whose length differs from the order by this much or more is another one: gateways bill whole seconds."""

SHAPE_TOLERANCE = 0.04
"""Greatest difference of the width-to-height ratios of a video and its order, as a part: 4:3 is made as 1088x832."""

_ENDED = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELED, TaskStatus.UNKNOWN)
_UNBILLED = (TaskStatus.FAILED, TaskStatus.CANCELED)


class NotProvenError(Exception):
    """No task is proven to be the one of the lost request; the text says why, for a person."""


@dataclass(frozen=True, slots=True)
class LostSubmit:
    """A create request whose answer is not known.

    :param intent: what was written down before it was sent.
    :param request: the request of this try, with the media as its author names them.
    :param account: the account that it was sent with.
    :param siblings: what else may hold a candidate.
    :param poll_interval_s: seconds between two reads of a candidate, if the user fixed them.
    """

    intent: Intent
    request: VideoRequest
    account: Account
    siblings: Claims
    poll_interval_s: float | None

    def find(self, client: WanClient) -> Purchase:
        """Return the purchase, once the candidates have ended.

        :param client: a client of the account.
        :raises NotProvenError: when no task is proven to be the one.
        :raises WanError: when the gateway cannot be asked.
        """
        held = self._held()
        rows = {row.wan_task_id: row for row in self._list(client) if row.wan_task_id not in held}
        if not rows:
            raise NotProvenError("It has no task of this model and time that no other task instance holds.")
        if len(rows) > MAX_CANDIDATES:
            raise NotProvenError(f"It has {len(rows)} tasks of this model and time, too many to compare.")
        if obstacle := self._obstacle():
            raise NotProvenError(f"{obstacle} {_described([client.get_task(name) for name in rows], rows)}")
        tasks = self._read_until_ended(client, rows)
        try:
            return self._proven(tasks)
        except NotProvenError as error:
            raise NotProvenError(f"{error} {_described(tasks, rows)}") from None

    def _list(self, client: WanClient) -> list[ListedTask]:
        since = self.intent.intent_at
        until = min(time.time(), since + SEARCH_WINDOW_S)
        try:
            return client.list_tasks(str(self.intent.order.model), since=since, until=until)
        except GatewayUnavailable as error:
            if error.http_status in NO_LIST_STATUSES:
                raise NotProvenError(f"There is none: {error.message}") from None
            raise

    def _held(self) -> list[str]:
        try:
            return self.siblings.held()
        except Exception as error:
            raise NotProvenError(
                f"It cannot be read which tasks other task instances hold ({type(error).__name__})."
            ) from error

    def _obstacle(self) -> str | None:
        """Return why nothing can be proven, whatever the gateway says of its tasks; None if something can."""
        if fingerprint_of(self.request.body) != self.intent.fingerprint:
            return "The request has changed since, so nothing can be compared with it."
        roles = [reference.role for reference in self.request.media]
        if obstacle := self._obstacle_of_rivals(with_picture=bool(roles)):
            return obstacle
        if not roles:
            return None
        if roles != ["first_frame"]:
            return f"A video does not tell which {' and '.join(sorted(set(roles)))} it was made from."
        if pyav() is None:
            return (
                "The video's first frame cannot be compared with the picture without PyAV: "
                "pip install 'airflow-provider-wan[inspection]'."
            )
        return None

    def _obstacle_of_rivals(self, *, with_picture: bool) -> str | None:
        """Return why a task may be another one's that has ordered the same, but does not hold a task yet."""
        try:
            unclaimed = not self.siblings.all_rivals_hold_one(with_picture=with_picture)
        except Exception as error:  # noqa: BLE001 - XCom back ends raise errors of their own
            log.warning("It cannot be read which tasks other task instances hold: %s", type(error).__name__)
            unclaimed = True
        if not unclaimed:
            return None
        same = "words and picture" if with_picture else "words"
        return f"Another task of this DAG run, or instance of this mapped task, may have ordered the same {same}."

    def _read_until_ended(self, client: WanClient, rows: dict[str, ListedTask]) -> list[WanTask]:
        """Read the tasks until all have ended: only then does a gateway tell their prompts."""
        order, schedule = self.intent.order, ReadSchedule()
        kind = VideoKind(order.model, order.resolution, order.seconds)
        for name, row in rows.items():
            schedule.join(name, kind, started=row.created_at, now=time.time(), poll_interval=self.poll_interval_s)
        tasks: dict[str, WanTask] = {}

        def read() -> list[WanTask]:
            """Read each task once, and then the one that is due as long as it does not tell enough."""
            due = schedule.next_read(time.time())
            unread = rows.keys() - tasks.keys()
            for name in unread or ([str(due[0])] if due else []):
                try:
                    tasks[name] = client.get_task(name)
                except GatewayUnavailable:
                    schedule.hold(name, time.time() + (self.poll_interval_s or DEFAULT_POLL_INTERVAL_S))
                    raise
                schedule.saw(name, tasks[name], time.time())
                if _is_told(tasks[name]):
                    schedule.leave(name)
            return [tasks[name] for name in rows]

        def pause_s() -> float:
            due = schedule.next_read(time.time())
            return max(0.0, due[1] - time.time()) if due else 0.0

        log.info(
            "%d task(s) may be the one that an earlier try submitted; waiting until the gateway tells their prompts",
            len(rows),
        )
        return repeat_until(_all_is_told, read, despite=GatewayUnavailable, pause_s=pause_s, longest_s=LONGEST_SEARCH_S)

    def _proven(self, tasks: list[WanTask]) -> Purchase:
        possible = [task for task in tasks if task.status not in _UNBILLED and self._may_be_ours(task)]
        if not possible:
            raise NotProvenError("None of its tasks of this time has this prompt, length and resolution.")
        if any(task.status is not TaskStatus.SUCCEEDED or task.orig_prompt is None for task in possible):
            raise NotProvenError("It does not tell enough of each of its tasks of this time.")
        ours = [task for task in possible if self._is_ours(task)]
        if len(ours) != 1:
            raise NotProvenError(f"{len(ours) or 'None'} of its tasks of this time can be ours.")
        (task,) = ours
        if not self.siblings.claim(task.wan_task_id):
            raise NotProvenError("Another task instance has taken the task that fits.")
        log.info("Wan task %s is the one that an earlier try submitted without learning its id", task.wan_task_id)
        return Purchase(self.intent, task.wan_task_id, request_id=None, submitted_at=self.intent.intent_at)

    def _may_be_ours(self, task: WanTask) -> bool:
        """Return whether nothing that the gateway tells of a task speaks against it."""
        order = self.intent.order
        if task.orig_prompt is not None and shareable(task.orig_prompt) != order.prompt:
            return False
        seconds, resolution = _length_told(task.usage), _resolution_told(task.usage)
        fits = seconds is None or order.seconds is None or abs(seconds - order.seconds) < LENGTH_TOLERANCE_S
        fits = fits and (resolution is None or order.resolution is None or resolution == order.resolution)
        return fits and _has_shape(_shape_told(task.usage), self._shape)

    def _is_ours(self, task: WanTask) -> bool:
        """Return whether a video is the one that was ordered; it is fetched where the gateway does not tell enough.

        :raises NotProvenError: when that cannot be told.
        :raises GatewayUnavailable: when the video cannot be fetched for now.
        """
        is_told = _length_told(task.usage) is not None and _resolution_told(task.usage) is not None
        is_told = is_told and (self._shape is None or _shape_told(task.usage) is not None)
        if is_told and not self.request.media:
            return True
        with tempfile.TemporaryDirectory(prefix="wan-") as folder:
            video = Path(folder) / "candidate.mp4"
            try:
                _fetching(self._fetch_video, task, video)
                facts = inspect_video(video)
                return self._has_ordered_shape(facts) and (
                    not self.request.media or self._begins_with_the_picture(task, video)
                )
            except TransferInterrupted as error:
                raise GatewayUnavailable(
                    f"The video of wan task {task.wan_task_id} cannot be fetched for now, to be compared: "
                    f"{error.message}",
                    wan_task_id=task.wan_task_id,
                ) from None
            except (TransferFailed, NotAVideoError, OSError) as error:
                raise NotProvenError(
                    f"The video of wan task {task.wan_task_id} cannot be compared ({type(error).__name__})."
                ) from error

    def _has_ordered_shape(self, facts: Any) -> bool:
        order = self.intent.order
        if order.seconds is not None and abs((facts.duration_s or 0) - order.seconds) >= LENGTH_TOLERANCE_S:
            return False
        pixels = (facts.width or 0) * (facts.height or 0)
        if self._shape is not None and not (pixels and _has_shape(facts.width / facts.height, self._shape)):
            return False
        return order.resolution is None or (bool(pixels) and nearest_resolution(pixels) == order.resolution)

    @property
    def _shape(self) -> float | None:
        """The width that was ordered, divided by the height; None if that is not known, or follows from the media."""
        row = self.request.row
        if self.request.media or row is None:
            return None
        parameters = self.intent.order.request.get("parameters") or {}
        if size := parameters.get("size"):
            return _quotient(size, "*")
        ratios = getattr(row.parameters.get("ratio"), "values", ())
        usual = DEFAULT_RATIO if ratios and "adaptive" not in ratios else None
        return _quotient(parameters.get("ratio") or usual, ":")

    def _begins_with_the_picture(self, task: WanTask, video: Path) -> bool:
        difference = difference_from_first_frame(self._picture(), video)
        log.info("The first frame of wan task %s differs from the picture by %s of 255", task.wan_task_id, difference)
        if difference is None or SAME_AT_MOST < difference < OTHER_FROM:
            raise NotProvenError(
                f"The first frame of wan task {task.wan_task_id} is neither surely the picture that was sent, nor "
                "surely another one."
            )
        return difference <= SAME_AT_MOST

    def _picture(self) -> BinaryIO:
        """Return the picture that was sent, read anew.

        :raises NotProvenError: when it is not there any more, or has changed.
        """
        sources, _ = find_sources(self.request)
        source = sources.get(self.request.media[0].url)
        recorded = [sent.get("digest") for sent in self.intent.order.sources if sent.get("role") == "first_frame"]
        if source is None or isinstance(source, UploadedFile) or len(recorded) != 1:
            raise NotProvenError("The picture that was sent cannot be read again.")
        if isinstance(source, WebUrl):
            try:
                content, digest = _fetching(self._fetch_picture, source.url)
            except TransferFailed as error:
                raise NotProvenError(f"The picture that was sent cannot be read from here: {error.message}") from error
        else:
            content, digest = _read_picture(source)
        if len(content) > MAX_PICTURE_BYTES:
            raise NotProvenError("The picture that was sent is too large to be compared.")
        if recorded[0] is not None and digest != recorded[0]:
            raise NotProvenError("The picture is not the one that was sent: its content has changed since.")
        return io.BytesIO(content)

    def _fetch_picture(self, url: str) -> tuple[bytes, str | None]:
        with self._file_client().get(url, {}) as response:
            _check_status(response)
            etag = strong_etag(response.headers.get("ETag"))
            content = read_beginning(response, MAX_PICTURE_BYTES + 1)
        return content, f"etag:{etag}" if etag else None

    def _fetch_video(self, task: WanTask, video: Path) -> None:
        with self._file_client().get(str(task.video_url), {}) as response, video.open("wb") as file:
            _check_status(response)
            _copy(response, file)

    def _file_client(self) -> FileClient:
        return FileClient(
            tls_context(), private_allowed=self.account.on_private_network, least_speed=self.account.least_speed
        )


def _fetching(fetch: Callable[..., T], *args: Any) -> T:
    """Fetch a file; an attempt that fails for now is repeated."""
    return retrying(on=TransferInterrupted, attempts=FETCH_ATTEMPTS)(fetch, *args)


def _check_status(response: Any) -> None:
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TransferInterrupted(f"The file host answered HTTP {response.status}.")
    if response.status != HTTPStatus.OK:
        raise TransferFailed(f"The file host answered HTTP {response.status}.")


def _copy(response: Any, file: BinaryIO) -> None:
    total = 0
    while piece := read_some(response, MB):
        total += len(piece)
        if total > MAX_VIDEO_BYTES:
            raise TransferFailed(f"The file has more than {MAX_VIDEO_BYTES:,} bytes.")
        file.write(piece)


def _read_picture(source: Any) -> tuple[bytes, str | None]:
    try:
        with source.open() as file:
            content = file.read(MAX_PICTURE_BYTES + 1)
        digest = source.digest()
    except Exception as error:
        raise NotProvenError(f"The picture that was sent cannot be read again ({type(error).__name__}).") from error
    return content, digest


def _all_is_told(tasks: list[WanTask]) -> bool:
    """Return whether waiting longer tells nothing more. A gateway that leaves out one prompt tells none."""
    tells_none = any(task.status is TaskStatus.SUCCEEDED and task.orig_prompt is None for task in tasks)
    return tells_none or all(map(_is_told, tasks))


def _is_told(task: WanTask) -> bool:
    return task.status in _ENDED or task.orig_prompt is not None


def _length_told(usage: Any) -> float | None:
    """Return the seconds of the output, as far as ``usage`` tells them."""
    output = positive_number(usage.get("output_video_duration")) or positive_number(usage.get("video_duration"))
    if output is not None:
        return output
    total = positive_number(usage.get("duration"))
    return None if total is None else total - (positive_number(usage.get("input_video_duration")) or 0.0)


def _resolution_told(usage: Any) -> str | None:
    lines = positive_number(str(usage.get("SR")).upper().removesuffix("P"))
    return None if lines is None else f"{lines:g}P"


def _shape_told(usage: Any) -> float | None:
    return _quotient(usage.get("ratio"), ":") or _quotient(usage.get("size"), "*")


def _quotient(text: object, sign: str) -> float | None:
    """Return the quotient of two numbers, such as those of ``16:9``; None for any other text."""
    one, _, other = text.partition(sign) if isinstance(text, str) else ("", "", "")
    width, height = positive_number(one), positive_number(other)
    return width / height if width and height else None


def _has_shape(shape: float | None, wanted: float | None) -> bool:
    return shape is None or wanted is None or abs(1 - shape / wanted) <= SHAPE_TOLERANCE


def _described(tasks: list[WanTask], rows: dict[str, ListedTask]) -> str:
    """Return the candidates in words, for the person who has to look them up."""
    shown = []
    for task in tasks[:MAX_LISTED]:
        created = readable_time(rows[task.wan_task_id].created_at)
        shown.append(f"{task.wan_task_id[:MAX_CODE_CHARS]} (created {created}, {task.status})")
    more = f" and {len(tasks) - MAX_LISTED} more" if len(tasks) > MAX_LISTED else ""
    return f"Tasks that it may be: {', '.join(shown)}{more}."
