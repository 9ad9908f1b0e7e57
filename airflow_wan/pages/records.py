"""What the pages show. `airflow_wan.pages.views` makes it, and the templates show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Instance:
    """Which task instance a page is about.

    :param map_index: -1 if the task is not mapped.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


class VideoState(StrEnum):
    """What the pages say of a video."""

    WAITING = "waiting"
    """It is ordered, or about to be, and its Airflow task goes on."""
    DONE = "done"
    FAILED = "failed"
    SUBMITTED = "submitted"
    """The task only submits; the page of the task that waits shows the video."""
    DRY_RUN = "dry_run"
    """Nothing was bought."""
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    """The task has left no facts: it has not begun, or is none of this package's."""


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file that a page may show.

    :param path: the path or URI, as the task left it.
    :param url: where the browser gets it, relative to the page's `base`; None if it cannot be shown.
    :param kind: ``video``, ``image`` or ``audio``; None if that is not known.
    :param problem: why it cannot be shown, and what to set, as a code of the words: ``not_allowed``, ``not_found``,
        ``not_reachable``, ``replaced`` (by another file), ``unknown_type``, ``elsewhere`` (a web address, which the
        server never fetches); None if it can be shown.
    :param role: what it was for the request (``first_frame`` …); empty for what came out of it.
    :param sha256: digest of the file, hexadecimal, if the task has left it.
    """

    path: str
    url: str | None = None
    kind: str | None = None
    problem: str | None = None
    role: str = ""
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of the timeline.

    :param name: ``submitted``, ``running``, ``ended``, ``downloaded``, ``published`` …
    :param at: when it was.
    :param after_s: seconds since the first point.
    """

    name: str
    at: datetime
    after_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended a task without its video.

    :param kind: the class of the error; ``AirflowEnded`` if Airflow or a person ended the task, which left no word.
    :param message: what happened.
    :param advice: what to do.
    :param billed: True, False, or None for "perhaps".
    """

    kind: str
    message: str
    advice: str = ""
    billed: bool | None = None
    code: str | None = None
    request_id: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Usual:
    """How long finished videos of the same model and resolution took, from submit to download.

    :param median_s: half of them took no longer, s.
    :param slow_s: nine of ten took no longer, s.
    :param count: how many videos are known.
    """

    median_s: float
    slow_s: float
    count: int


@dataclass(frozen=True, slots=True)
class TaskVideo:
    """All that the tab of a task instance shows. What is not known is None.

    :param label: the instance's ``map_index_template``, or its map index; empty if the task is not mapped.
    :param airflow_state: Airflow's own word for the state of the task instance.
    :param rejected: whether `file` is a video that was not accepted.
    :param recipe: Python code that makes the same video again.
    :param waiting_s: seconds since the submit, while the video is waited for.
    :param ahead: videos at the same gateway that were submitted earlier and are still waited for.
    :param unreadable: whether facts are there that this version cannot read.
    """

    instance: Instance
    state: VideoState
    airflow_state: str | None = None
    try_number: int = 0
    label: str = ""
    operator: str | None = None
    file: ShownFile | None = None
    poster: ShownFile | None = None
    rejected: bool = False
    prompt: str | None = None
    expanded_prompt: str | None = None
    negative_prompt: str | None = None
    media: tuple[ShownFile, ...] = ()
    model: str | None = None
    resolution: str | None = None
    ordered_s: float | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    has_audio: bool | None = None
    bytes: int | None = None
    seed: int | None = None
    timeline: tuple[Moment, ...] = ()
    estimated_usd: float | None = None
    cost_usd: float | None = None
    cost_is_estimate: bool = True
    spent_usd: float | None = None
    sha256: str | None = None
    wan_task_id: str | None = None
    request_id: str | None = None
    gateway: str | None = None
    reused: bool = False
    shortcomings: tuple[str, ...] = ()
    recipe: str | None = None
    failure: Failure | None = None
    submitted_at: datetime | None = None
    deadline: datetime | None = None
    waiting_s: float | None = None
    usual: Usual | None = None
    ahead: int | None = None
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """A video on the contact sheet or in the gallery.

    :param rejected: whether `file` is a video that was not accepted.
    :param summary: the failure in one sentence, or None.
    """

    instance: Instance
    state: VideoState
    label: str = ""
    model: str | None = None
    prompt: str | None = None
    duration_s: float | None = None
    cost_usd: float | None = None
    cost_is_estimate: bool = True
    at: datetime | None = None
    poster: ShownFile | None = None
    file: ShownFile | None = None
    rejected: bool = False
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class RunSheet:
    """All videos of a DAG run, with sums at the top.

    :param counts: how many videos are in each state.
    :param more: whether there are more videos than `clips`; the sums are of all of them.
    :param goes_on: whether the run has not ended, so that there may be more soon.
    """

    dag_id: str
    run_id: str
    clips: tuple[Clip, ...] = ()
    counts: Mapping[VideoState, int] = field(default_factory=dict)
    seconds: float = 0.0
    cost_usd: float = 0.0
    more: bool = False
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Filters:
    """What the gallery is narrowed to; empty means all.

    :param text: part of the prompt, in any case.
    :param since: the first day, UTC.
    :param until: the last day, UTC.
    """

    dag_id: str = ""
    model: str = ""
    state: VideoState | None = None
    since: date | None = None
    until: date | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class DaySum:
    """What was made on one day by one DAG.

    :param day: UTC.
    """

    day: date
    dag_id: str
    videos: int
    seconds: float
    cost_usd: float


@dataclass(frozen=True, slots=True)
class GalleryPage:
    """One page of the gallery, newest first.

    :param next_page: the value of ``page`` for the next older page; None on the last one.
    :param dag_ids: DAGs with videos that the user may read, to choose from.
    :param models: models of the videos, to choose from.
    :param days: sums of the last 30 days by day and DAG, of all videos that the filters for DAG and model leave.
    :param month_usd: what this calendar month's videos cost.
    """

    clips: tuple[Clip, ...] = ()
    next_page: str | None = None
    filters: Filters = Filters()
    dag_ids: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    days: tuple[DaySum, ...] = ()
    month_usd: float = 0.0
    month_seconds: float = 0.0
    month_videos: int = 0
