"""Tells whether the video at a destination is the one that is wanted, so that none need be bought."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_wan.exceptions import DestinationError, GatewayUnavailable
from airflow_wan.media.prepare import identify
from airflow_wan.purchases.record import Intent, Purchase, fingerprint_of
from airflow_wan.telemetry.metrics import count_reuse
from airflow_wan.videos.ownership import files_of, is_one_of
from airflow_wan.videos.poster import leave_poster
from airflow_wan.videos.sidecar import read_sidecar, video_matches, write_sidecar
from airflow_wan.videos.wan_video import FinishedVideo, finished_video

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.media.sources import SourceFacts
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.sidecar import Sidecar, Source

log = logging.getLogger(__name__)


def find_finished(
    destination: Destination, request: VideoRequest, earlier: Intent | Purchase | None, *, poster: bool = False
) -> FinishedVideo | None:
    """Return the video at a destination if it is what is wanted: made by the same request from the same sources.

    :param destination: where the video goes.
    :param request: the request.
    :param earlier: what an earlier try of this task instance bought: then only the video of that purchase will do.
    :param poster: whether the first frame is wanted beside it; if it is missing, it is made.
    :raises GatewayUnavailable: when the destination cannot be read for now.
    """
    try:
        record = read_sidecar(destination)
        if record is None or record.fingerprint != fingerprint_of(request.body):
            return None
        if earlier is None:
            if not _same_sources(record.sources, identify(request)):
                log.info("%s was made from sources that have changed since", destination)
                return None
        elif not isinstance(earlier, Purchase) or record.gateway.wan_task_id != earlier.wan_task_id:
            return None
        if not video_matches(destination, record):
            return None
        if poster:
            record = _with_poster(record, destination)
    except DestinationError as error:
        raise GatewayUnavailable(f"Cannot tell whether the video is at its destination already: {error}") from error
    count_reuse(record.generation.model)
    log.info(
        "This very video is at %s already (wan task %s, sha256 %s); nothing is submitted. %s",
        destination,
        record.gateway.wan_task_id,
        record.video.sha256,
        "An earlier try has bought it." if earlier else "To generate a new one, set reuse=False.",
    )
    return finished_video(
        record,
        destination,
        poster=record.poster if poster else None,
        was_bought=isinstance(earlier, Purchase),
        reused=True,
    )


def _with_poster(record: Sidecar, destination: Destination) -> Sidecar:
    """Return the record with the poster that is there, or that was made because there was none."""
    if record.poster is not None and is_one_of(destination.poster, {record.poster.sha256}):
        return record
    with destination.fetched() as video:
        poster = leave_poster(video, destination, files_of(record))
    record = record.model_copy(update={"poster": poster})
    if poster is not None:
        write_sidecar(destination, record)
    return record


def _same_sources(recorded: Sequence[Source], now: Sequence[SourceFacts]) -> bool:
    """Return whether no source is known to have changed; a digest that is not known on both sides says nothing."""
    pairs = zip(recorded, now, strict=False)
    return len(recorded) == len(now) and all(
        None in (before.digest, source.digest) or before.digest == source.digest for before, source in pairs
    )
