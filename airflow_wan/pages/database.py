"""What Airflow's database holds of videos: the XComs ``wan_status`` and ``wan_video`` of task instances.

Only the API server may read the database, so only the pages do. What indexes there are decides how it is asked: rows of
one key are found by ``idx_xcom_key``, newest runs first by the primary key, and a task instance by its four columns.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import Text, and_, case, cast, func, or_, select, tuple_, type_coerce
from sqlalchemy.orm import aliased
from sqlalchemy.types import TypeDecorator

from airflow_wan.pages.facts import MAX_CHARS, Status, Video, read_status, read_video
from airflow_wan.pages.records import DaySum, Filters, Instance, Usual, VideoState
from airflow_wan.videos.wan_status import WAN_STATUS_KEY
from airflow_wan.videos.wan_video import WAN_VIDEO_KEY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy.orm import Session

PAGE_CLIPS = 30
"""Videos on one page of the gallery."""

SHEET_CLIPS = 500
"""Videos on a contact sheet."""

DAYS = 30
"""Days of which the gallery shows sums."""

_KNOWN_WAITS = 60
"""Finished videos by which it is told how long another one may take."""

_LEFT = (VideoState.WAITING, VideoState.SUBMITTED, VideoState.DONE, VideoState.FAILED, VideoState.DRY_RUN)
"""States that a task leaves word of."""

_ENDED = ("success", "failed", "upstream_failed", "skipped", "removed")
_MAX_INT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one task instance.

    :param airflow_state: Airflow's word for its state.
    :param label: its rendered ``map_index_template``, or its map index; empty if it is not mapped.
    :param at: when it has left word last.
    :param status: what it has left as ``wan_status``.
    :param video: what it has left as ``wan_video``.
    :param unreadable: whether it has left something that cannot be read.
    """

    instance: Instance
    airflow_state: str | None
    label: str
    try_number: int
    operator: str | None
    at: datetime | None
    status: Status | None
    video: Video | None
    unreadable: bool

    @property
    def state(self) -> VideoState:
        """What the pages say of the video."""
        state = _state_of(self.status.state if self.status else None, self.airflow_state)
        return VideoState.DONE if state is VideoState.UNKNOWN and self.video is not None else state


def _state_of(left: str | None, airflow_state: str | None) -> VideoState:
    """Return the state of a video by what its task has left, and by Airflow's word for the task's state."""
    if airflow_state == "skipped" and left != VideoState.DRY_RUN:  # a dry run always ends so
        return VideoState.SKIPPED
    if left == VideoState.WAITING and airflow_state in _ENDED:
        return VideoState.FAILED
    return VideoState(left) if left in _LEFT else VideoState.UNKNOWN


def find_row(session: Session, instance: Instance) -> Row | None:
    """Return what is known of a task instance; None if there is no such task instance."""
    return next(_rows(session, [instance], is_outer=True), None)


def rows_of_run(session: Session, dag_id: str, run_id: str) -> list[Row]:
    """Return the videos of a DAG run, in the order of their tasks and map indexes; one more than a sheet shows."""
    status = aliased(XComModel)
    query = (
        select(status.task_id, status.map_index)
        .where(status.dag_id == dag_id, status.run_id == run_id, status.key == WAN_STATUS_KEY)
        .where(_is_video(session, status))
        .order_by(status.task_id, status.map_index)
        .limit(SHEET_CLIPS + 1)
    )
    return list(_rows(session, [Instance(dag_id, run_id, *row) for row in session.execute(query)]))


def counts_of_run(session: Session, dag_id: str, run_id: str) -> Counter[VideoState]:
    """Return how many videos of a DAG run are in each state."""
    state = _field(session, XComModel, "state")
    query = (
        select(state, TaskInstance.state, func.count())
        .select_from(XComModel)
        .join(TaskInstance, _same_instance(XComModel, TaskInstance))
        .where(XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == WAN_STATUS_KEY)
        .where(_is_video(session, XComModel))
        .group_by(state, TaskInstance.state)
    )
    counts: Counter[VideoState] = Counter()
    for left, airflow_state, count in session.execute(query):
        counts[_state_of(left, airflow_state)] += count
    return counts


def run_goes_on(session: Session, dag_id: str, run_id: str) -> bool:
    """Return whether a DAG run has not ended."""
    state = session.scalar(select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    return state in ("queued", "running")


def dags_with_videos(session: Session) -> set[str]:
    """Return the ids of all DAGs whose tasks have left word of a video."""
    query = select(XComModel.dag_id).where(XComModel.key == WAN_STATUS_KEY).distinct()
    return set(session.scalars(query))


def models_of(session: Session, dag_ids: Collection[str]) -> list[str]:
    """Return the models of the videos of some DAGs."""
    model = _field(session, XComModel, "model")
    query = select(model).where(XComModel.key == WAN_STATUS_KEY, XComModel.dag_id.in_(dag_ids)).distinct().limit(200)
    return sorted(name for name in session.scalars(query) if isinstance(name, str) and name)


def newest_rows(
    session: Session, dag_ids: Collection[str], filters: Filters, page: str
) -> tuple[list[Row], str | None]:
    """Return a page of the videos of some DAGs, those of the newest DAG runs first, and where the next page begins.

    :param dag_ids: the DAGs that the user may read.
    :param filters: what to narrow them to.
    :param page: where the page begins, as an earlier call has returned it; empty for the first page.
    """
    status = XComModel
    query = select(status.dag_run_id, status.dag_id, status.run_id, status.task_id, status.map_index).where(
        status.key == WAN_STATUS_KEY, status.dag_id.in_(dag_ids), _is_video(session, status)
    )
    if filters.dag_id:
        query = query.where(status.dag_id == filters.dag_id)
    if filters.model:
        query = query.where(_field(session, status, "model") == filters.model)
    if filters.since:
        query = query.where(status.timestamp >= _midnight(filters.since))
    if filters.until:
        query = query.where(status.timestamp < _midnight(filters.until) + timedelta(days=1))
    if filters.text:
        query = query.where(_field(session, status, "prompt").ilike(f"%{_literal(filters.text)}%", escape="\\"))
    if filters.state is not None:
        query = query.join(TaskInstance, _same_instance(status, TaskInstance)).where(
            _is_in_state(filters.state, _field(session, status, "state"), TaskInstance.state)
        )
    if begin := _read_page(page):
        run, task, index = begin
        query = query.where(
            or_(
                status.dag_run_id < run,
                and_(
                    status.dag_run_id == run,
                    or_(status.task_id > task, and_(status.task_id == task, status.map_index > index)),
                ),
            )
        )
    query = query.order_by(status.dag_run_id.desc(), status.task_id, status.map_index).limit(PAGE_CLIPS + 1)
    found = [
        (run, Instance(dag_id, run_id, task_id, map_index))
        for run, dag_id, run_id, task_id, map_index in session.execute(query)
    ]
    shown = [instance for _, instance in found[:PAGE_CLIPS]]
    rows = list(_rows(session, shown))
    if len(found) <= PAGE_CLIPS:
        return rows, None
    last_run, last = found[PAGE_CLIPS - 1]
    return rows, f"{last_run}.{last.map_index}.{last.task_id}"


@dataclass(frozen=True, slots=True)
class Sum:
    """How many videos there are, how long they are together, and what was spent on them."""

    videos: int = 0
    seconds: float = 0.0
    usd: float = 0.0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.videos + other.videos, self.seconds + other.seconds, self.usd + other.usd)


def sum_of_run(session: Session, dag_id: str, run_id: str) -> Sum:
    """Return the sums of a DAG run."""
    where = and_(XComModel.dag_id == dag_id, XComModel.run_id == run_id)
    return sum((one for _, _, one in _amounts(session, where)), Sum())


def sums_by_day(session: Session, dag_ids: Collection[str], filters: Filters, today: date) -> tuple[list[DaySum], Sum]:
    """Return the sums of the last days by day and DAG, the newest day first, and those of this calendar month.

    :param dag_ids: the DAGs that the user may read.
    :param filters: of which those for DAG and model count.
    :param today: the day in UTC.
    """
    first_day, first_of_month = today - timedelta(days=DAYS - 1), today.replace(day=1)
    where = and_(
        XComModel.dag_id.in_({filters.dag_id} & set(dag_ids) if filters.dag_id else dag_ids),
        XComModel.timestamp >= _midnight(min(first_day, first_of_month)),
    )
    if filters.model:
        where = and_(where, _field(session, XComModel, "model") == filters.model)
    days: defaultdict[tuple[date, str], Sum] = defaultdict(Sum)
    month = Sum()
    for dag_id, at, amount in _amounts(session, where):
        day = at.astimezone(UTC).date()
        if day >= first_day:
            days[day, dag_id] += amount
        if day >= first_of_month:
            month += amount
    ordered = sorted(days.items(), key=lambda item: (-item[0][0].toordinal(), item[0][1]))
    return [DaySum(day, dag_id, one.videos, one.seconds, one.usd) for (day, dag_id), one in ordered], month


def usual_wait(session: Session, dag_ids: Collection[str], status: Status) -> Usual | None:
    """Return how long the last finished videos of the same model and resolution took; None if there are none."""
    if status.model is None:
        return None
    resolution = _field(session, XComModel, "resolution")
    query = (
        select(_text(XComModel))
        .where(
            XComModel.key == WAN_STATUS_KEY,
            XComModel.dag_id.in_(dag_ids),
            _field(session, XComModel, "state") == "done",
            _field(session, XComModel, "model") == status.model,
            resolution == status.resolution if status.resolution else resolution.is_(None),
        )
        .order_by(XComModel.dag_run_id.desc())
        .limit(_KNOWN_WAITS)
    )
    left = (read_status(text) for text in session.scalars(query))
    waits = [took for one in left if one is not None and (took := one.took_s()) is not None]
    if not waits:
        return None
    tenths = quantiles(waits, n=10, method="inclusive") if len(waits) > 1 else waits * 9
    return Usual(median_s=tenths[4], slow_s=tenths[8], count=len(waits))


def videos_ahead(session: Session, status: Status) -> int | None:
    """Return how many videos at the same gateway were submitted earlier and are still waited for, in any DAG.

    None if it is not known when this one was submitted.
    """
    submitted = status.times.get("submitted")
    if submitted is None or status.base_url is None:
        return None
    query = (
        select(func.count())
        .select_from(XComModel)
        .join(TaskInstance, _same_instance(XComModel, TaskInstance))
        .where(
            XComModel.key == WAN_STATUS_KEY,
            TaskInstance.state.in_(("running", "deferred", "up_for_reschedule")),
            _field(session, XComModel, "state") == "waiting",
            _field(session, XComModel, "base_url") == status.base_url,
            # Both are ISO 8601 in UTC.
            _field(session, XComModel, ("times", "submitted")) < submitted.isoformat(),
        )
    )
    return int(session.scalar(query) or 0)


# --------------------------------------------------------------------------------------------------------------------


def _rows(session: Session, instances: Sequence[Instance], *, is_outer: bool = False) -> Iterator[Row]:
    """Yield what is known of some task instances, in their order.

    :param is_outer: whether to yield those too that have left nothing.
    """
    status, video = aliased(XComModel), aliased(XComModel)
    names = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    query = (
        select(
            *names,
            TaskInstance.state,
            TaskInstance._rendered_map_index,  # noqa: SLF001 - the column of `rendered_map_index`, in all versions
            TaskInstance.try_number,
            TaskInstance.operator,
            status.timestamp,
            _text(status),
            video.timestamp,
            _text(video),
        )
        .join(status, and_(_same_instance(status, TaskInstance), status.key == WAN_STATUS_KEY), isouter=is_outer)
        .join(video, and_(_same_instance(video, TaskInstance), video.key == WAN_VIDEO_KEY), isouter=True)
    )
    for some in _batches(instances):
        keys = [(one.dag_id, one.run_id, one.task_id, one.map_index) for one in some]
        # Airflow 3.4 keeps a row for each try: the last one counts.
        answer = session.execute(query.where(tuple_(*names).in_(keys)).order_by(TaskInstance.try_number))
        found = {tuple(row[: len(names)]): _row(*row) for row in answer}  # the database has an order of its own
        yield from (found[key] for key in keys if key in found)


def _row(*columns: Any) -> Row:
    *names, state, rendered, try_number, operator, status_at, status_text, video_at, video_text = columns
    instance = Instance(*names)
    status, video = read_status(status_text), read_video(video_text)
    return Row(
        instance=instance,
        airflow_state=state,
        label=rendered or (str(instance.map_index) if instance.map_index >= 0 else ""),
        try_number=try_number or 0,
        operator=operator,
        at=video_at or status_at,
        status=status,
        video=video,
        unreadable=(status_at is not None and status is None) or (video_at is not None and video is None),
    )


def _batches(instances: Sequence[Instance], size: int = 100) -> Iterator[Sequence[Instance]]:
    """Yield a few instances at a time: databases have a limit of parameters in one statement."""
    for start in range(0, len(instances), size):
        yield instances[start : start + size]


def _amounts(session: Session, where: Any) -> Iterator[tuple[str, datetime, Sum]]:
    """Yield DAG, time and amounts of each finished video, and of each that was billed although its task has failed."""
    seconds, spent = _field(session, XComModel, "duration_s"), _field(session, XComModel, "spent_usd")
    query = select(XComModel.dag_id, XComModel.timestamp, seconds, spent).where(where, XComModel.key == WAN_VIDEO_KEY)
    for dag_id, at, *amounts in session.execute(query):
        yield dag_id, at, Sum(1, *map(_amount, amounts))
    estimated = _field(session, XComModel, "estimated_usd")
    query = select(XComModel.dag_id, XComModel.timestamp, estimated).where(
        where,
        XComModel.key == WAN_STATUS_KEY,
        _field(session, XComModel, "state") == "failed",
        _field(session, XComModel, ("failure", "billed")).in_(("true", "1")),  # SQLite has no true
    )
    for dag_id, at, amount in session.execute(query):
        yield dag_id, at, Sum(0, 0.0, _amount(amount))


def _amount(value: object) -> float:
    """Return an amount that stands in JSON; 0 for what is none."""
    try:
        amount = float(value)  # type: ignore[arg-type] # text, a number, or anything
    except (TypeError, ValueError):
        return 0.0
    return amount if math.isfinite(amount) and 0 <= amount <= 1_000_000 else 0.0  # noqa: PLR2004 - see facts.Amount


def _field(session: Session, xcom: Any, name: str | tuple[str, ...]) -> Any:
    """Return a field of an XCom's JSON, as text. What is no JSON, which only SQLite can hold, has none."""
    field = cast(xcom.value[name].as_string(), Text)  # SQLAlchemy 1.4 leaves SQLite's numbers as they are
    if session.get_bind().dialect.name == "sqlite":
        return type_coerce(case((func.json_valid(cast(xcom.value, Text)) == 1, field)), _SqliteText())
    return field


class _SqliteText(TypeDecorator[str]):
    """Text that SQLite gives as it is stored, though half a character may be in it, which no other database takes."""

    impl = Text
    cache_ok = True

    def column_expression(self, column: Any) -> Any:
        return case((column.is_not(None), func.hex(column, type_=self)))

    def process_result_value(self, value: str | None, dialect: object) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        return None if value is None else bytes.fromhex(value).decode(errors="replace")


def _text(xcom: Any) -> Any:
    """Return an XCom's JSON as text; NULL if it is longer than anything that this package writes."""
    text = cast(xcom.value, Text)
    return case((func.length(text) <= MAX_CHARS, text))


def _is_video(session: Session, status: Any) -> Any:
    """Return the condition that a task brings a video home; one that only submits does not."""
    return func.coalesce(_field(session, status, "state"), "") != "submitted"


def _same_instance(one: Any, other: Any) -> Any:
    return and_(
        one.dag_id == other.dag_id,
        one.task_id == other.task_id,
        one.run_id == other.run_id,
        one.map_index == other.map_index,
    )


def _is_in_state(state: VideoState, left: Any, airflow_state: Any) -> Any:
    airflow_state = func.coalesce(airflow_state, "")
    is_dry_run = func.coalesce(left, "") == "dry_run"
    has_ended, is_skipped = airflow_state.in_(_ENDED), and_(airflow_state == "skipped", ~is_dry_run)
    conditions = {
        VideoState.DRY_RUN: is_dry_run,
        VideoState.SKIPPED: is_skipped,
        VideoState.DONE: and_(left == "done", ~is_skipped),
        VideoState.FAILED: and_(or_(left == "failed", and_(left == "waiting", has_ended)), ~is_skipped),
        VideoState.WAITING: and_(left == "waiting", ~has_ended),
    }
    return conditions.get(state, left.is_(None))


def _literal(text: str) -> str:
    """Return a text for LIKE, in which nothing stands for something else."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _read_page(page: str) -> tuple[int, str, int] | None:
    run, _, rest = page.partition(".")
    index, _, task_id = rest.partition(".")
    if not (run.isascii() and run.isdigit() and index.removeprefix("-").isdigit() and index.isascii() and task_id):
        return None
    numbers = int(run[:20]), int(index[:20])
    return (numbers[0], task_id, numbers[1]) if max(map(abs, numbers)) <= _MAX_INT else None
