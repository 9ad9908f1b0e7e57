"""Makes what the pages show from what is known of the task instances."""

from __future__ import annotations

from datetime import UTC, datetime
from pprint import pformat
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_wan.pages import database
from airflow_wan.pages.files import Wanted, problem_of, why_not_shown
from airflow_wan.pages.records import (
    Clip,
    Failure,
    Filters,
    GalleryPage,
    Instance,
    Moment,
    RunSheet,
    ShownFile,
    TaskVideo,
    VideoState,
)
from airflow_wan.pages.rendering import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import date

    from sqlalchemy.orm import Session

    from airflow_wan.pages.database import Row
    from airflow_wan.pages.facts import Source, Status
    from airflow_wan.pages.files import Problem

_MAX_PROMPT_CHARS = 300
"""On a contact sheet and in the gallery."""

# What the timeline shows, and what the times are called in the XCom: by the gateway's clock, or else by our own.
_MOMENTS = {
    "intent": ("intent",),
    "submitted": ("submitted",),
    "running": ("running", "seen_running"),
    "ended": ("ended", "seen_succeeded"),
    "downloaded": ("downloaded",),
    "published": ("published",),
}

_NO_MEDIA = ("audio_url", "reference_voice")
"""Roles of files that stand in no item of ``media`` of their own."""


def wanted_file(row: Row, what: str) -> Wanted | None:
    """Return the file that a task instance has left word of; None if there is none.

    :param row: what is known of the task instance.
    :param what: ``video``, ``poster``, ``rejected``, or ``media-0`` and so on.
    """
    video, failure = row.video, row.status.failure if row.status else None
    if what == "video" and video:
        return Wanted(video.path, f"sha256:{video.sha256}")
    if what == "poster" and video and video.poster:
        return Wanted(video.poster, f"sha256:{video.poster_sha256}" if video.poster_sha256 else None)
    if what == "rejected" and failure and failure.kept_at:
        return Wanted(failure.kept_at, f"sha256:{failure.kept_sha256}" if failure.kept_sha256 else None)
    if what.startswith("media-") and row.status:
        media = dict(_media(row.status))
        if source := media.get(what):
            return Wanted(source.url, source.digest)
    return None


def task_video(session: Session, instance: Instance, dag_ids: Collection[str]) -> TaskVideo:
    """Return what the tab of a task instance shows.

    :param dag_ids: the DAGs whose videos tell how long such a video may take.
    """
    row = database.find_row(session, instance)
    if row is None:
        return TaskVideo(instance, VideoState.UNKNOWN)
    status, video, state = row.status, row.video, row.state
    file = _shown(row, "video", "video", problem_of)
    rejected = None if file else _shown(row, "rejected", "video", problem_of)
    parameters = status.part("parameters") if status else {}
    submitted_at = status.times.get("submitted") if status else None
    is_waiting = state is VideoState.WAITING
    return TaskVideo(
        instance=instance,
        state=state,
        airflow_state=row.airflow_state,
        try_number=row.try_number,
        label=row.label,
        operator=(status and status.operator) or row.operator,
        file=file or rejected,
        poster=_shown(row, "poster", "image", problem_of),
        rejected=rejected is not None,
        prompt=status.prompt if status else None,
        expanded_prompt=status.expanded_prompt if status else None,
        negative_prompt=_text_in(status.part("input") if status else {}, "negative_prompt"),
        media=tuple(
            ShownFile(one.path, one.url, _kind_of(source), one.problem, source.role, one.sha256)
            for what, source in (_media(status) if status else ())
            if (one := _shown(row, what, None, problem_of))
        ),
        model=(video and video.model) or (status and status.model) or None,
        resolution=status.resolution if status else None,
        ordered_s=status.seconds if status and state is not VideoState.DONE else None,
        duration_s=video.duration_s if video else None,
        width=video.width if video else None,
        height=video.height if video else None,
        has_audio=video.has_audio if video else None,
        bytes=video.bytes if video else None,
        seed=video.seed if video and video.seed is not None else _number_in(parameters, "seed"),
        timeline=tuple(_timeline(status)) if status else (),
        estimated_usd=video.estimated_cost_usd if video else status.estimated_usd if status else None,
        cost_usd=video.video_cost_usd if video else None,
        cost_is_estimate=video.cost_is_estimate if video else True,
        spent_usd=video.spent_usd if video else None,
        sha256=video.sha256 if video else None,
        wan_task_id=(status and status.wan_task_id) or (video and video.wan_task_id) or None,
        request_id=(status and status.request_id) or (video and video.request_id) or None,
        gateway=status.gateway if status else None,
        reused=video.reused if video else False,
        shortcomings=tuple(status.shortcomings) if status else (),
        recipe=_recipe(row) if status and status.request else None,
        failure=_failure(row),
        submitted_at=submitted_at,
        deadline=status.wait_until if status else None,
        waiting_s=_seconds_since(submitted_at) if is_waiting and submitted_at else None,
        usual=database.usual_wait(session, dag_ids, status) if is_waiting and status else None,
        ahead=database.videos_ahead(session, status) if is_waiting and status else None,
        unreadable=row.unreadable,
    )


def run_sheet(session: Session, dag_id: str, run_id: str) -> RunSheet:
    """Return the contact sheet of a DAG run."""
    rows = database.rows_of_run(session, dag_id, run_id)
    total = database.sum_of_run(session, dag_id, run_id)
    return RunSheet(
        dag_id,
        run_id,
        clips=tuple(map(_clip, rows[: database.SHEET_CLIPS])),
        counts=database.counts_of_run(session, dag_id, run_id),
        seconds=total.seconds,
        cost_usd=total.usd,
        more=len(rows) > database.SHEET_CLIPS,
        goes_on=database.run_goes_on(session, dag_id, run_id),
    )


def gallery_page(session: Session, dag_ids: Collection[str], filters: Filters, page: str, today: date) -> GalleryPage:
    """Return a page of the gallery.

    :param dag_ids: the DAGs with videos that the user may read.
    :param filters: what to narrow it to.
    :param page: where it begins; empty for the newest videos.
    :param today: the day in UTC.
    """
    rows, next_page = database.newest_rows(session, dag_ids, filters, page)
    days, month = database.sums_by_day(session, dag_ids, filters, today)
    return GalleryPage(
        clips=tuple(map(_clip, rows)),
        next_page=next_page,
        filters=filters,
        dag_ids=tuple(sorted(dag_ids)),
        models=tuple(database.models_of(session, dag_ids)),
        days=tuple(days),
        month_usd=month.usd,
        month_seconds=month.seconds,
        month_videos=month.videos,
    )


def _clip(row: Row) -> Clip:
    status, video, failure = row.status, row.video, _failure(row)
    file = _shown(row, "video", "video", why_not_shown)
    rejected = None if file else _shown(row, "rejected", "video", why_not_shown)
    prompt = status.prompt if status else None
    return Clip(
        instance=row.instance,
        state=row.state,
        label=row.label,
        model=(video and video.model) or (status and status.model) or None,
        prompt=prompt and (prompt if len(prompt) <= _MAX_PROMPT_CHARS else f"{prompt[: _MAX_PROMPT_CHARS - 1]}…"),
        duration_s=video.duration_s if video else None,
        cost_usd=video.video_cost_usd if video else status.estimated_usd if status else None,
        cost_is_estimate=video.cost_is_estimate if video else True,
        at=row.at,
        poster=_shown(row, "poster", "image", why_not_shown),
        file=file or rejected,
        rejected=rejected is not None,
        summary=failure.message[:_MAX_PROMPT_CHARS] if failure else None,
    )


def _shown(row: Row, what: str, kind: str | None, why_not: Callable[[Wanted], Problem | None]) -> ShownFile | None:
    """Return a file as a page shows it; None if the task has left no word of one.

    :param why_not: tells whether it can be shown.
    """
    if (wanted := wanted_file(row, what)) is None:
        return None
    problem = why_not(wanted)
    digest = (wanted.digest or "").removeprefix("sha256:")
    url = f"file/{path_of(row.instance)}/{what}?v={quote(digest[:16], safe='')}"
    return ShownFile(wanted.path, None if problem else url, kind, problem, sha256=digest or None)


def _media(status: Status) -> Iterator[tuple[str, Source]]:
    """Yield the files that a video is made from, each with its name for `wanted_file`."""
    for number, source in enumerate(status.sources):
        yield f"media-{number}", source


def _kind_of(source: Source) -> str:
    suffix = source.url.lower().rpartition(".")[2]
    if suffix in ("wav", "mp3") or "audio" in source.role or "voice" in source.role:
        return "audio"
    return "video" if suffix in ("mp4", "mov") or source.role in ("video", "reference_video", "first_clip") else "image"


def _failure(row: Row) -> Failure | None:
    if row.status and (left := row.status.failure) and row.status.state == "failed":
        return Failure(left.kind, left.message, left.advice, left.billed, left.code, left.request_id, left.http_status)
    if row.status is None or row.status.state not in ("waiting", "failed"):
        return None
    if row.state not in (VideoState.FAILED, VideoState.SKIPPED):
        return None
    wan_task_id = row.status.wan_task_id
    return Failure(
        "AirflowEnded",
        f"Airflow or a person ended the task (state: {row.airflow_state}) before it could say what happened.",
        f"Wan task {wan_task_id} may be billed. A retry of this task, or WanVideoSensor with this id, can fetch its "
        "video until 24 h after the submit."
        if wan_task_id
        else "",
        billed=None,
    )


def _timeline(status: Status) -> Iterator[Moment]:
    found = {
        name: next((status.times[key] for key in keys if key in status.times), None) for name, keys in _MOMENTS.items()
    }
    known = [(name, at) for name, at in found.items() if at is not None]
    for name, at in known:
        yield Moment(name, at, (at - known[0][1]).total_seconds())


def _seconds_since(moment: datetime) -> float:
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())


def _text_in(part: dict[str, Any], name: str) -> str | None:
    value = part.get(name)
    return value if isinstance(value, str) else None


def _number_in(part: dict[str, Any], name: str) -> int | None:
    value = part.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _recipe(row: Row) -> str | None:
    """Return Python code that makes the same video again, as far as the request is known.

    Signed URLs have lost their query in it, and inline data is only named by its digest.
    """
    status = row.status
    if status is None or not status.request:
        return None
    given, parameters = status.part("input"), dict(status.part("parameters"))
    if row.video and row.video.seed is not None:
        parameters["seed"] = row.video.seed
    media = given.get("media") or [
        {"type": source.role, "url": source.url} for source in status.sources if source.role not in _NO_MEDIA
    ]
    arguments = {
        "task_id": row.instance.task_id.rpartition(".")[2],
        "model": status.model,
        "prompt": given.get("prompt"),
        "negative_prompt": given.get("negative_prompt"),
        "media": media,
        # Older models call the driving audio so; it is in the media above.
        "audio_url": None if any(one.role == "driving_audio" for one in status.sources) else given.get("audio_url"),
        "parameters": parameters,
    }
    lines = [
        f"    {name}={pformat(value, width=100, sort_dicts=False).replace(chr(10), chr(10) + '    ')},"
        for name, value in arguments.items()
        if value
    ]
    return "\n".join(["WanGenerateVideoOperator(", *lines, ")"])
