"""A video at its place, and whether the one that is there is the one that is wanted, so that none need be bought."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_wan.exceptions import DestinationError, GatewayUnavailable
from airflow_wan.telemetry.metrics import count_reuse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_wan.media.sources import SourceFacts
    from airflow_wan.purchases.ledger import Purchase
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.sidecar import Sidecar, Source

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FinishedVideo:
    """A video at its place.

    :param facts: its metadata, as in the XCom ``wan_video``: path, bytes, sha256, duration_s, width, height, has_audio,
        c2pa, aigc_label, wan_task_id, request_id, model, seed, usage, estimated_cost_usd, settled_cost_usd, poster,
        reused.
    :param sources: addresses of the files it was made from, where known.
    """

    facts: dict[str, Any]
    sources: tuple[str, ...] = ()


def finished_video(
    record: Sidecar, destination: Destination, *, poster: str | None, reused: bool = False
) -> FinishedVideo:
    """What is handed on of a video, from its record."""
    facts = {
        "path": str(destination),
        "bytes": record.video.bytes,
        "sha256": record.video.sha256,
        "duration_s": record.inspection.duration_s,
        "width": record.inspection.width,
        "height": record.inspection.height,
        "has_audio": record.inspection.has_audio,
        "c2pa": record.inspection.c2pa,
        "aigc_label": record.inspection.aigc_label,
        "wan_task_id": record.gateway.wan_task_id,
        "request_id": record.gateway.request_id,
        "model": record.generation.model,
        "seed": record.generation.seed,
        "usage": record.cost.usage,
        "estimated_cost_usd": record.cost.estimated,
        "settled_cost_usd": record.cost.settled,
        "poster": poster,
        "reused": reused,
    }
    return FinishedVideo(facts, tuple(source.url for source in record.sources))


def find_finished(
    destination: Destination,
    fingerprint: str,
    identify: Callable[[], Sequence[SourceFacts]],
    purchase: Purchase | None,
    *,
    poster: bool = False,
) -> FinishedVideo | None:
    """The video at a destination, if it is what is wanted: made by the same request from the same sources.

    :param destination: where the video goes.
    :param fingerprint: of the request.
    :param identify: tells what the request's sources are now.
    :param purchase: what an earlier try of this task instance has bought: then only its own video will do.
    :param poster: whether its first frame is wanted beside it; where there is none yet, it is made.
    :raises GatewayUnavailable: when it cannot be told what is there.
    """
    from airflow_wan.videos.sidecar import read_sidecar, video_matches  # noqa: PLC0415 - pydantic, only on a worker

    try:
        record = read_sidecar(destination)
        if record is None or record.fingerprint != fingerprint:
            return None
        if purchase is None:
            if not _same_sources(record.sources, identify()):
                log.info("%s was made from sources that have changed since", destination)
                return None
        elif record.gateway.wan_task_id != purchase.wan_task_id:
            return None
        if not video_matches(destination, record):
            return None
        picture = _poster_of(destination) if poster else None
    except DestinationError as error:
        raise GatewayUnavailable(f"Whether the video is there already cannot be told: {error}") from error
    count_reuse(record.generation.model)
    return finished_video(record, destination, poster=picture, reused=True)


def _poster_of(destination: Destination) -> str | None:
    from airflow_wan.videos.acceptance import leave_poster  # noqa: PLC0415 - only on a worker

    if destination.poster.size():
        return str(destination.poster)
    with destination.fetched() as video:
        return leave_poster(video, destination)


def _same_sources(recorded: Sequence[Source], now: Sequence[SourceFacts]) -> bool:
    """Whether no source is known to have changed; a digest that is not known on both sides says nothing."""
    pairs = zip(recorded, now, strict=False)
    return len(recorded) == len(now) and all(
        None in (before.digest, source.digest) or before.digest == source.digest for before, source in pairs
    )
