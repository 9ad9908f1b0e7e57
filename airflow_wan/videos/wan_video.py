"""What a task hands on about its video: the XCom ``wan_video``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.sidecar import Poster, Sidecar

__all__ = ["WAN_VIDEO_KEY", "WanVideo"]

WAN_VIDEO_KEY = "wan_video"
"""The XCom key of a `WanVideo`."""


class WanVideo(TypedDict):
    """The facts of a video, as plain JSON. What is not known is None."""

    path: str
    """Local path or URI."""
    bytes: int
    """Size of the file."""
    sha256: str
    """Digest of the file, hexadecimal."""
    duration_s: float | None
    """Length in s, as the file's header has it."""
    width: int | None
    """px, as shown."""
    height: int | None
    """px, as shown."""
    has_audio: bool
    c2pa: bool
    """Whether Content Credentials (a C2PA manifest) are in the file."""
    aigc_label: bool
    """Whether the file's metadata label it as generated (key ``AIGC``)."""
    wan_task_id: str
    request_id: str | None
    """The gateway's id of the create request, or, if that is not known, of the last read of the task."""
    model: str | None
    seed: int | None
    usage: dict[str, Any]
    """What the gateway says that it billed, in its own words; empty at APIYI."""
    spent_usd: float | None
    """What this run of the task spent: 0 if it found the video; the cost of the video if it, an earlier try of it, or a
    submit task upstream bought it."""
    video_cost_usd: float | None
    """What the video cost, whoever bought it and whenever: the settled cost if it is known, otherwise the estimate."""
    cost_is_estimate: bool
    """Whether both amounts are the estimate made before the video was ordered."""
    estimated_cost_usd: float | None
    """Cost of the video by the rates, before it was ordered."""
    settled_cost_usd: float | None
    """Cost of the video by what the gateway says that it billed."""
    poster: str | None
    """Path or URI of the first frame as JPEG, if one was wanted."""
    poster_sha256: str | None
    """Digest of the poster, hexadecimal."""
    reused: bool
    """Whether the video was there already, so that nothing was submitted."""


@dataclass(frozen=True, slots=True)
class FinishedVideo:
    """A video at its destination.

    :param facts: what is handed on of it.
    :param record: all that is known of it.
    """

    facts: WanVideo
    record: Sidecar

    @property
    def sources(self) -> tuple[str, ...]:
        """Addresses of the files it was made from, where known."""
        return tuple(source.url for source in self.record.sources)


def finished_video(
    record: Sidecar, destination: Destination, *, poster: Poster | None, was_bought: bool | None, reused: bool = False
) -> FinishedVideo:
    """Return what is handed on of a video, from its record.

    :param record: the record beside the video.
    :param destination: where the video is.
    :param poster: its poster, if one was wanted and is there.
    :param was_bought: whether this run of the task, or a submit task upstream, bought it; None if that is not known.
    :param reused: whether the video was there already.
    """
    cost = record.cost
    facts = WanVideo(
        path=str(destination),
        bytes=record.video.bytes,
        sha256=record.video.sha256,
        duration_s=record.inspection.duration_s,
        width=record.inspection.width,
        height=record.inspection.height,
        has_audio=record.inspection.has_audio,
        c2pa=record.inspection.c2pa,
        aigc_label=record.inspection.aigc_label,
        wan_task_id=record.gateway.wan_task_id,
        request_id=record.gateway.request_id,
        model=record.generation.model,
        seed=record.generation.seed,
        usage=cost.usage,
        spent_usd={True: cost.video_usd, False: 0.0, None: None}[was_bought],
        video_cost_usd=cost.video_usd,
        cost_is_estimate=cost.is_estimate,
        estimated_cost_usd=cost.estimated,
        settled_cost_usd=cost.settled,
        poster=str(destination.poster) if poster else None,
        poster_sha256=poster.sha256 if poster else None,
        reused=reused,
    )
    return FinishedVideo(facts, record)
