"""What a task hands on about its video: the XCom ``wan_video``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.sidecar import Sidecar

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
    estimated_cost_usd: float | None
    """By the rates, before the video was ordered."""
    settled_cost_usd: float | None
    """By what the gateway says that it billed."""
    poster: str | None
    """Path or URI of the first frame as JPEG, if one was wanted."""
    reused: bool
    """Whether the video was there already, so that nothing was submitted."""


@dataclass(frozen=True, slots=True)
class FinishedVideo:
    """A video at its destination.

    :param facts: what is handed on of it.
    :param sources: addresses of the files it was made from, where known.
    """

    facts: WanVideo
    sources: tuple[str, ...] = ()


def finished_video(
    record: Sidecar, destination: Destination, *, poster: str | None, reused: bool = False
) -> FinishedVideo:
    """Return what is handed on of a video, from its record.

    :param record: the record beside the video.
    :param destination: where the video is.
    :param poster: where its poster is, if there is one.
    :param reused: whether the video was there already.
    """
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
        usage=record.cost.usage,
        estimated_cost_usd=record.cost.estimated,
        settled_cost_usd=record.cost.settled,
        poster=poster,
        reused=reused,
    )
    return FinishedVideo(facts, tuple(source.url for source in record.sources))
