"""Decode frames of a video with PyAV, where it is installed.

Decoding needs PyAV, the extra ``airflow-provider-wan[inspection]``.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MAX_PACKETS = 10_000
"""Packets that are read after each seek. The longest video, 30 s at 60 frames a second with sound, has about 3,200."""

# So that a single frame cannot take a gigabyte of memory. This is twice the area of 4K.
_MAX_FRAME_PX = 4096 * 4096

# ITU-R BT.709, and colours of the full range, as H.273 numbers them in a file (8.3).
_BT709, _FULL_RANGE = 1, 2

# From this major version on, PyAV accepts metadata in any encoding, and no longer takes the argument for it.
_PYAV_ANY_METADATA = 19


def pyav() -> Any:
    """Return PyAV, or None where it is not installed."""
    try:
        import av  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        return None
    return av


def opened(av: Any, path: Path) -> Any:
    """Return an mp4 as a PyAV container; use it as a context manager.

    :param av: PyAV.
    :param path: the file.
    """
    # Metadata may be in any encoding; they are not read here, and must not fail the check.
    major = int(av.__version__.partition(".")[0])
    options: dict[str, Any] = {} if major >= _PYAV_ANY_METADATA else {"metadata_errors": "replace"}
    container = av.open(str(path), format="mp4", options={"max_pixels": str(_MAX_FRAME_PX)}, **options)
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = {"max_pixels": str(_MAX_FRAME_PX)}
            # With several threads, the decoder does not mark damaged frames.
            stream.codec_context.thread_type = "NONE"
    return container


def first_frame(container: Any) -> Any:
    """Return the first frame of a container's video, or None if there is none."""
    if not container.streams.video or container.streams.video[0].codec_context is None:
        return None  # no picture track, or no decoder for its format
    for packet in itertools.islice(container.demux(container.streams.video[0]), MAX_PACKETS):
        for frame in packet.decode():
            return frame
    return None


def picture_of(frame: Any) -> Any:
    """Return a frame as a picture of Pillow's in RGB.

    PyAV before 17 takes the colours of each frame for those of BT.601, whatever the file says.
    """
    if frame.colorspace != _BT709:
        return frame.to_image()
    return frame.to_image(
        src_colorspace="ITU709",
        dst_colorspace="DEFAULT",
        src_color_range="JPEG" if frame.color_range == _FULL_RANGE else "MPEG",
        dst_color_range="JPEG",
    )
