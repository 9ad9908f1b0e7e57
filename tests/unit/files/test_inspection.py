from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_wan.files.inspection import NotAVideoError, VideoFacts, inspect_video

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYOUTS = {"header last": {}, "header first": {"movflags": "faststart"}}


def inspect(content: bytes, folder: Path) -> VideoFacts:
    path = folder / "inspected.mp4"
    path.write_bytes(content)
    return inspect_video(path)


def boxes_of(content: bytes) -> list[tuple[bytes, int, int]]:
    """Kind, start and end of the top-level boxes."""
    found, start = [], 0
    while start < len(content):
        size, kind = struct.unpack_from(">I4s", content, start)
        found.append((kind, start, start + size))
        start += size
    return found


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("audio", [True, False])
@pytest.mark.parametrize(("seconds", "size"), [(1.0, (320, 180)), (2.5, (180, 320)), (0.5, (64, 64))])
def test_what_the_header_says_is_what_pyav_says(
    seconds: float,
    size: tuple[int, int],
    audio: Any,
    options: dict[str, str],
    mp4: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    content = mp4(seconds=seconds, size=size, audio=audio, options=options)

    facts = inspect(content, tmp_path)

    with av.open(io.BytesIO(content)) as container:
        assert container.duration is not None
        assert facts.duration_s == pytest.approx(container.duration / av.time_base, abs=0.05)
        stream = container.streams.video[0]
        assert (facts.width, facts.height) == (stream.width, stream.height) == size
        assert facts.has_audio is bool(container.streams.audio) is audio
    assert facts.duration_s == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_a_file_cut_anywhere_is_no_complete_video(
    options: dict[str, str], mp4: Callable[..., bytes], tmp_path: Path
) -> None:
    content = mp4(seconds=0.5, size=(64, 64), options=options)
    needed = max(end for kind, _, end in boxes_of(content) if kind in (b"ftyp", b"moov", b"mdat"))
    cuts = {*range(0, len(content), max(1, len(content) // 300)), *range(len(content) - 40, len(content))}
    for _, start, end in boxes_of(content):
        cuts |= {start, start + 1, start + 7, start + 8, end - 1}

    for cut in sorted(cuts):
        if cut < needed:
            with pytest.raises(NotAVideoError, match="no complete mp4"):
                inspect(content[:cut], tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"film",
        b"<html><body>403 Forbidden</body></html>",
        b'{"code": "AccessDenied"}',
        b"\0" * 5000,
        b"\xff" * 5000,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        b"ID3\x04" + b"\0" * 100,
        box(b"ftyp") + box(b"mdat"),
        box(b"ftyp") + box(b"moov"),
        box(b"moov") + box(b"mdat"),
    ],
    ids=range(12),
)
def test_what_is_no_mp4_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotAVideoError, match="no complete mp4"):
        inspect(content, tmp_path)


def test_the_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotAVideoError, match="it has no moov and no mdat box"):
        inspect(box(b"ftyp"), tmp_path)


def test_sizes_of_64_bits_are_read(mp4: Callable[..., bytes], tmp_path: Path) -> None:
    content = mp4(seconds=0.5, size=(64, 64))
    rewritten = b""
    for kind, start, end in boxes_of(content):
        body = content[start + 8 : end]
        rewritten += struct.pack(">I4sQ", 1, kind, 16 + len(body)) + body if kind == b"mdat" else content[start:end]

    assert inspect(rewritten, tmp_path).width == 64


def test_a_last_box_that_goes_to_the_end_of_the_file_is_read(mp4: Callable[..., bytes], tmp_path: Path) -> None:
    content = mp4(seconds=0.5, size=(64, 64), options={"movflags": "faststart"})
    kind, start, _ = boxes_of(content)[-1]
    assert kind == b"mdat"

    assert inspect(content[:start] + struct.pack(">I", 0) + content[start + 4 :], tmp_path).width == 64


def test_a_header_with_64_bit_times_is_read(tmp_path: Path) -> None:
    mvhd = box(b"mvhd", bytes([1, 0, 0, 0]) + struct.pack(">QQIQ", 0, 0, 1000, 5_500) + bytes(80))

    facts = inspect(box(b"ftyp") + box(b"moov", mvhd) + box(b"mdat"), tmp_path)

    assert facts == VideoFacts(5.5, None, None, has_audio=False)


@pytest.mark.parametrize(("timescale", "duration"), [(0, 5), (1000, 0)])
def test_a_header_without_a_duration_says_so(timescale: int, duration: int, tmp_path: Path) -> None:
    mvhd = box(b"mvhd", bytes(12) + struct.pack(">II", timescale, duration) + bytes(80))

    assert inspect(box(b"ftyp") + box(b"moov", mvhd) + box(b"mdat"), tmp_path).duration_s is None


@pytest.mark.parametrize(
    "moov",
    [
        box(b"mvhd"),
        box(b"mvhd", b"\1"),
        box(b"mvhd", bytes(15)),
        box(b"trak", box(b"tkhd")),
        box(b"trak", box(b"tkhd", bytes(7))),
        box(b"trak", box(b"mdia", b"\0\0\0\xffhdlr")),
        box(b"trak", b"\0\0\0\1trak"),
        b"\0\0\0\7mvhd",
        b"\0\0",
    ],
    ids=range(9),
)
def test_a_broken_header_is_refused(moov: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotAVideoError, match="no complete mp4"):
        inspect(box(b"ftyp") + box(b"moov", moov) + box(b"mdat"), tmp_path)


def test_boxes_within_boxes_without_end_come_to_an_end(tmp_path: Path) -> None:
    content = b""
    for _ in range(2000):
        content = box(b"trak", content)

    assert inspect(box(b"ftyp") + box(b"moov", content) + box(b"mdat"), tmp_path).width is None


def test_a_file_that_is_not_there_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect_video(tmp_path / "none.mp4")


@pytest.fixture(scope="module")
def small_film(mp4: Callable[..., bytes]) -> bytes:
    return mp4(seconds=0.5, size=(64, 64), options={"movflags": "faststart"})


MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.just(b"")),
        st.tuples(st.just("insert"), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=16)),
    ),
    min_size=1,
    max_size=6,
)


# The header is where damage can mislead, and most of the file is not header.
@given(mutations=MUTATIONS, in_header=st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_makes_no_video_or_another_one_and_never_another_error(
    mutations: list[tuple[str, float, bytes]], *, in_header: bool, small_film: bytes, tmp_path: Path
) -> None:
    content = bytearray(small_film)
    for action, where, data in mutations:
        reach = min(len(content), 1500) if in_header else len(content)
        at = int(where * reach)
        if action == "set":
            content[at : at + len(data)] = data
        elif action == "cut":
            del content[at:]
        else:
            content[at:at] = data

    try:
        facts = inspect(bytes(content), tmp_path)
    except NotAVideoError:
        return
    assert isinstance(facts, VideoFacts)
    assert facts.duration_s is None or facts.duration_s >= 0


@given(content=st.binary(max_size=300))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_bytes_behind_good_names_raise_nothing_else(content: bytes, tmp_path: Path) -> None:
    try:
        inspect(box(b"ftyp") + box(b"moov", content) + box(b"mdat"), tmp_path)
    except NotAVideoError:
        return
