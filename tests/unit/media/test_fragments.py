"""Clips in fragments, as ffmpeg and hostile hands write them: their length is that of all fragments."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest

from airflow_wan.exceptions import MediaUnreadable, NotAVideoError, NotMediaError
from airflow_wan.media.bounded import BLOCK_BYTES, BoundedFile
from airflow_wan.media.mp4 import inspect_file
from airflow_wan.media.probing import probe_clip

if TYPE_CHECKING:
    from collections.abc import Callable


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def length_of(content: bytes) -> float | None:
    return inspect_file(io.BytesIO(content)).duration_s


@pytest.mark.parametrize(
    "flags",
    [
        "frag_keyframe",
        "frag_keyframe+empty_moov",
        "frag_keyframe+empty_moov+default_base_moof",
        "frag_keyframe+delay_moov+separate_moof",
        "frag_every_frame+empty_moov",
        "dash+frag_keyframe",
        "dash+frag_keyframe+global_sidx",
        "cmaf+frag_keyframe",
    ],
)
@pytest.mark.parametrize("audio", [False, True])
@pytest.mark.parametrize("seconds", [1.0, 4.5])
def test_all_fragments_of_a_clip_count(mp4: Callable[..., bytes], flags: str, audio: bool, seconds: float) -> None:
    content = mp4(seconds=seconds, options={"movflags": flags}, audio=audio)

    facts = probe_clip(io.BytesIO(content))

    assert facts.duration_s == pytest.approx(seconds, abs=0.1)
    assert (facts.width, facts.height) == (320, 180)


def test_a_fragmented_clip_that_is_cut_is_incomplete(mp4: Callable[..., bytes]) -> None:
    content = mp4(seconds=4.5, options={"movflags": "frag_keyframe"})

    with pytest.raises(NotMediaError, match="complete"):
        probe_clip(io.BytesIO(content[: content.rindex(b"mdat") + 100]))


# By hand --------------------------------------------------------------------------------------------------------------


def movie(
    *extra: bytes, samples: int = 0, handler: bytes = b"vide", duration: int = 0, mdhd: int = 0, edits: bytes = b""
) -> bytes:
    """A header with one track of 1000 units a second, and what else belongs into it."""
    times = box(b"stts", u32(0, 1, samples, 100)), box(b"stsz", u32(0, 10, samples))
    track = box(
        b"trak",
        box(b"tkhd", u32(0, 0, 0, 1), bytes(60), u32(320 << 16, 180 << 16)),
        edits,
        box(
            b"mdia",
            box(b"mdhd", u32(0, 0, 0, 1000, mdhd, 0)),
            box(b"hdlr", bytes(8) + handler + bytes(13)),
            box(b"minf", box(b"stbl", *times)),
        ),
    )
    return box(b"moov", box(b"mvhd", u32(0, 0, 0, 1000, duration), bytes(80)), track, *extra)


def fragment(
    *durations: int, at: int | None = None, default: int | None = None, count: int = 0, track: int = 1
) -> bytes:
    head = box(b"tfhd", u32(0, track) if default is None else u32(8, track, default))
    time = b"" if at is None else box(b"tfdt", struct.pack(">IQ", 1 << 24, at))
    run = box(b"trun", u32(0x301, len(durations), 0), *(u32(each, 10) for each in durations))
    runs = run if durations else box(b"trun", u32(0x200, count), u32(10) * count)
    return box(b"moof", box(b"mfhd", u32(0, 1)), box(b"traf", head, time, runs)) + box(b"mdat", bytes(10))


MVEX = box(b"mvex", box(b"trex", u32(0, 1, 1, 40, 0, 0)))
FTYP = box(b"ftyp", b"isom")


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (movie(MVEX) + fragment(500, 700), 1.2),
        (movie(MVEX) + fragment(count=50), 2.0),
        (movie(MVEX) + fragment(count=50, default=100), 5.0),
        (movie(MVEX, samples=20) + fragment(500), 2.5),
        (movie(MVEX, samples=20, duration=2000) + fragment(500), 2.5),
        # The header has the length of all fragments already, and lists no sample.
        (movie(MVEX, duration=9000, mdhd=9000) + fragment(500), 0.5),
        (movie(MVEX, duration=0xFFFFFFFF) + fragment(500), 0.5),
        # A clip out of a stream: it does not begin at 0; and one with a gap.
        (movie(MVEX) + fragment(500, at=90_000) + fragment(500, at=90_500), 1.0),
        (movie(MVEX) + fragment(500, at=0) + fragment(500, at=3000), 3.5),
        # The header's own number is too low, although nothing is cut off by an edit.
        (box(b"mdat") + movie(samples=80, duration=1000), 8.0),
        (box(b"mdat") + movie(samples=80, duration=0xFFFFFFFF), 8.0),
        (box(b"mdat") + movie(samples=80, duration=3000, edits=box(b"edts", box(b"elst", u32(0, 1, 3000, 0, 0)))), 3.0),
    ],
    ids=range(12),
)
def test_a_length_is_what_is_in_the_file(content: bytes, seconds: float) -> None:
    assert length_of(FTYP + content) == pytest.approx(seconds)


def test_a_clip_whose_picture_track_is_empty_is_a_sound() -> None:
    for content in (box(b"mdat") + movie(duration=3000), movie(MVEX, duration=3000) + fragment(500, track=2)):
        with pytest.raises(NotMediaError, match="no picture track"):
            probe_clip(io.BytesIO(FTYP + content))


@pytest.mark.parametrize(
    "traf",
    [
        box(b"tfhd"),
        box(b"tfhd", u32(8, 1)),
        box(b"tfdt"),
        box(b"tfdt", b"\1" + bytes(5)),
        box(b"tfhd", u32(0, 1)) + box(b"trun", u32(0x100, 1000)),
        box(b"tfhd", u32(0, 1)) + box(b"trun", u32(0x100, 0xFFFFFFFF)),
        box(b"tfhd", u32(0, 1)) + box(b"trun"),
    ],
    ids=range(7),
)
def test_a_broken_fragment_is_refused(traf: bytes) -> None:
    content = FTYP + movie(MVEX) + box(b"moof", box(b"traf", traf)) + box(b"mdat")

    with pytest.raises(NotAVideoError):
        inspect_file(io.BytesIO(content))


# Too many fragments to read -------------------------------------------------------------------------------------------

MANY = b"".join(fragment(100) + box(b"free", bytes(2 * BLOCK_BYTES)) for _ in range(30))


def sidx(*references: tuple[int, int]) -> bytes:
    table = b"".join(u32(size, duration, 0) for size, duration in references)
    return box(b"sidx", u32(0, 1, 1000, 0, 0), struct.pack(">HH", 0, len(references)), table)


def read_a_little(content: bytes) -> float | None:
    file = BoundedFile(lambda start, stop: content[start:stop], len(content), 8 * BLOCK_BYTES).buffered()
    return probe_clip(file).duration_s


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (movie(MVEX), None),
        (movie(box(b"mvex", box(b"mehd", u32(0, 3000)), box(b"trex", u32(0, 1, 1, 40, 0, 0)))), 3.0),
        (movie(MVEX) + sidx((len(MANY), 3000)), 3.0),
        (movie(MVEX) + sidx((len(MANY) // 2, 1500), (len(MANY) // 2, 1500)), 3.0),
        # An index of the first fragments only is no measure of all of them.
        (movie(MVEX) + sidx((len(MANY) // 2, 1500)), None),
    ],
    ids=range(5),
)
def test_what_the_header_tells_counts_only_if_the_fragments_cannot_be_read(
    header: bytes, seconds: float | None
) -> None:
    content = FTYP + header + MANY

    assert read_a_little(content) == seconds
    assert length_of(content) == pytest.approx(3.0)


def test_a_clip_whose_header_cannot_be_reached_is_not_judged() -> None:
    content = FTYP + b"".join(box(b"free", bytes(2 * BLOCK_BYTES)) for _ in range(30)) + movie(MVEX)

    with pytest.raises(MediaUnreadable):
        read_a_little(content)
