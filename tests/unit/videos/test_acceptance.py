from __future__ import annotations

import random
import struct
import subprocess
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.media.mp4 import VideoFacts, inspect_video
from airflow_wan.videos.acceptance import Acceptance, Expected, examine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANYTHING = Expected(None, None, audio=False)


def facts(
    *, duration_s: float | None = 5.0, size: tuple[int | None, int | None] = (1280, 720), audio: bool = True
) -> VideoFacts:
    return VideoFacts(duration_s, *size, has_audio=audio, c2pa=False, aigc_label=False)


@pytest.fixture
def without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)


def compare(found: VideoFacts, expected: Expected, path: Path) -> tuple[str, ...]:
    """The shortcomings that the header alone shows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        acceptance = examine(path / "never-opened.mp4", found, expected)
    assert not acceptance.decoded
    return acceptance.shortcomings


# Length, size and sound ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "measured"),
    [(5, 5.0), (5, 5.04), (5, 4.96), (5, 4.01), (5, 5.99), (2, 1.01), (15, 15.06), (None, 3.0), (None, None)],
)
def test_a_length_within_one_billed_second_of_the_requested_one_is_accepted(
    asked: float | None, measured: float | None, tmp_path: Path
) -> None:
    assert compare(facts(duration_s=measured), Expected(asked, "720P", audio=True), tmp_path) == ()


@pytest.mark.parametrize(("asked", "measured"), [(5, 4.0), (5, 6.0), (2, 1.0), (10, 5.041), (15, 13.9), (5, 0.04)])
def test_a_length_off_by_one_billed_second_is_reported_with_both_lengths(
    asked: float, measured: float, tmp_path: Path
) -> None:
    (shortcoming,) = compare(facts(duration_s=measured), Expected(asked, "720P", audio=True), tmp_path)

    assert f" {measured:g} s long" in shortcoming
    assert f" {asked:g} s " in shortcoming


def test_a_missing_length_is_reported(tmp_path: Path) -> None:
    (shortcoming,) = compare(facts(duration_s=None), Expected(5, None, audio=True), tmp_path)

    assert "length; 5 s " in shortcoming


# Alibaba's sizes for wan2.7-t2v (API reference 4.4), its 2.6 map, and first frames of odd ratios.
SIZES = {
    "480P": [(854, 480), (832, 480), (480, 832), (624, 624)],
    "720P": [(1280, 720), (720, 1280), (960, 960), (1104, 832), (832, 1104), (1088, 832), (2716, 340), (1470, 630)],
    "1080P": [(1920, 1080), (1080, 1920), (1440, 1440), (1648, 1248), (1248, 1648), (4074, 510), (1920, 1088)],
}


@pytest.mark.parametrize(("tier", "size"), [(tier, size) for tier, sizes in SIZES.items() for size in sizes])
def test_a_picture_belongs_to_the_tier_of_its_area(tier: str, size: tuple[int, int], tmp_path: Path) -> None:
    assert compare(facts(size=size), Expected(5, tier, audio=True), tmp_path) == ()
    assert compare(facts(size=size), Expected(5, tier.lower(), audio=True), tmp_path) == ()
    for other in SIZES.keys() - {tier}:
        (shortcoming,) = compare(facts(size=size), Expected(5, other, audio=True), tmp_path)
        assert f"{size[0]}x{size[1]} px, which is {tier}; {other} " in shortcoming


@pytest.mark.parametrize("resolution", [None, "", "4K", "1280*720"])
def test_any_size_is_accepted_where_the_request_implies_none(resolution: str | None, tmp_path: Path) -> None:
    assert compare(facts(size=(64, 64)), Expected(5, resolution, audio=True), tmp_path) == ()


@pytest.mark.parametrize("size", [(None, None), (0, 0), (1280, 0)])
@pytest.mark.parametrize("resolution", [None, "720P"])
def test_a_video_without_a_picture_is_never_accepted(
    size: tuple[int | None, int | None], resolution: str | None, tmp_path: Path
) -> None:
    (shortcoming,) = compare(facts(size=size), Expected(5, resolution, audio=True), tmp_path)

    assert "no picture track" in shortcoming


def test_missing_sound_is_reported_where_it_was_requested(tmp_path: Path) -> None:
    (shortcoming,) = compare(facts(audio=False), Expected(5, "720P", audio=True), tmp_path)

    assert "no sound track" in shortcoming
    assert compare(facts(audio=False), Expected(5, "720P", audio=False), tmp_path) == ()
    assert compare(facts(audio=True), Expected(5, "720P", audio=False), tmp_path) == ()


def test_all_shortcomings_are_reported_together(tmp_path: Path) -> None:
    found = facts(duration_s=2.0, size=(640, 360), audio=False)

    assert len(compare(found, Expected(5, "1080P", audio=True), tmp_path)) == 3


# Frames --------------------------------------------------------------------------------------------------------------


def test_a_good_video_is_accepted_and_was_decoded(film_file: Path) -> None:
    acceptance = examine(film_file, inspect_video(film_file), Expected(1, "480P", audio=True))

    assert acceptance == Acceptance((), decoded=True)


@pytest.mark.usefixtures("without_pyav")
def test_without_pyav_the_answer_says_that_nothing_was_decoded(film_file: Path) -> None:
    assert examine(film_file, inspect_video(film_file), ANYTHING) == Acceptance((), decoded=False)


def encode(path: Path, codec: str, options: dict[str, str], layout: dict[str, str] | None = None) -> None:
    """Two seconds of moving stripes."""
    with av.open(str(path), "w", format="mp4", options=layout or {}) as container:
        video = container.add_stream(codec, rate=24)
        video.width, video.height, video.pix_fmt, video.options = 320, 180, "yuv420p", options
        for number in range(48):
            frame = av.VideoFrame(320, 180, "yuv420p")
            for plane in frame.planes:
                rows = plane.buffer_size // plane.line_size
                plane.update(b"".join(bytes([(7 * number + row) % 256]) * plane.line_size for row in range(rows)))
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {}),
        ("libx264", {"bf": "8", "x264-params": "open-gop=1:keyint=10:min-keyint=2"}),
        ("libx264", {"x264-params": "intra-refresh=1:keyint=12"}),
        ("libx264", {"tune": "zerolatency", "x264-params": "slices=4:keyint=12"}),
        ("libx265", {"x265-params": "log-level=none:keyint=10:open-gop=1"}),
        ("mpeg4", {}),
    ],
    ids=["plain", "open GOP", "intra refresh", "slices", "HEVC", "MPEG-4"],
)
@pytest.mark.parametrize(
    "layout",
    [{}, {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}],
    ids=["header last", "header first", "fragments"],
)
def test_a_video_is_accepted_however_it_was_encoded(
    codec: str, options: dict[str, str], layout: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    encode(path, codec, options, layout)

    assert examine(path, inspect_video(path), ANYTHING) == Acceptance((), decoded=True)


def test_metadata_in_an_old_encoding_are_no_reason_to_refuse_a_video(film: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    handler = b"VideoHandler"
    assert handler in film
    path.write_bytes(film.replace(handler, "视频".encode("gbk").ljust(len(handler))))

    assert examine(path, inspect_video(path), ANYTHING) == Acceptance((), decoded=True)


def mdat_of(content: bytes | bytearray) -> tuple[int, int]:
    """Where the frames begin and end."""
    start = 0
    while True:
        size, kind = struct.unpack_from(">I4s", content, start)
        if kind == b"mdat":
            return start + 8, start + size
        start += size


@pytest.mark.parametrize("seconds", [0.5, 3.0])
@pytest.mark.parametrize("audio", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("garbage", [bytes, random.Random(0).randbytes], ids=["zeros", "noise"])
def test_garbage_at_the_end_is_reported(
    garbage: Callable[[int], bytes],
    share: float,
    audio: Any,
    seconds: float,
    mp4: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    path = tmp_path / "film.mp4"
    content = mp4(seconds=seconds, audio=audio)
    start, end = mdat_of(content)
    count = max(100, int(share * (end - start)))
    path.write_bytes(content[: end - count] + garbage(count) + content[end:])

    acceptance = examine(path, inspect_video(path), ANYTHING)

    assert acceptance.decoded
    assert len(acceptance.shortcomings) == 1
    assert acceptance.shortcomings[0].endswith("was expected.")


def test_garbage_in_the_first_frame_is_reported(mp4: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    content = mp4(audio=False)
    start, _ = mdat_of(content)
    path.write_bytes(content[:start] + b"\xff" * 500 + content[start + 500 :])

    assert len(examine(path, inspect_video(path), ANYTHING).shortcomings) == 1


def test_a_last_frame_that_cannot_be_decoded_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    encode(path, "libx265", {"x265-params": "log-level=none:bframes=0"})
    content = bytearray(path.read_bytes())
    sizes = content.index(b"stsz") + 12
    (count,) = struct.unpack_from(">I", content, sizes)
    (size,) = struct.unpack_from(">I", content, sizes + 4 * count)
    _, end = mdat_of(content)
    content[end - size : end] = struct.pack(">IH", size - 4, 0x4C01) + b"\xff" * (size - 7) + b"\x80"  # filler data
    path.write_bytes(content)

    (shortcoming,) = examine(path, inspect_video(path), ANYTHING).shortcomings

    assert " 1.92 s" in shortcoming
    assert " 1.96 s was expected" in shortcoming


@pytest.mark.parametrize("content", [b"", b"no video", bytes(1000)], ids=range(3))
def test_a_file_that_is_no_video_is_reported_and_not_raised(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)

    assert len(examine(path, facts(), ANYTHING).shortcomings) == 1


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "flip", "flip", "cut", "grow"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
)


# Half of the damage goes into the header, which is where it can mislead.
@given(mutations=MUTATIONS, in_header=st.booleans())
def test_a_damaged_file_leads_to_sentences_and_never_to_an_exception(
    mutations: list[tuple[str, float, bytes]], *, in_header: bool, damageable: bytes, tmp_path: Path
) -> None:
    content = bytearray(damageable)
    header = content.index(b"mdat")
    for action, where, data in mutations:
        at = int(where * (min(header, len(content)) if in_header else len(content)))
        if action == "flip":
            content[at : at + len(data)] = data
        elif action == "cut":
            del content[at:]
        else:
            content[at:at] = data
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)

    acceptance = examine(path, facts(), ANYTHING)

    assert acceptance.decoded
    assert all(shortcoming.endswith(".") for shortcoming in acceptance.shortcomings)
    assert len(acceptance.shortcomings) <= 1


@pytest.fixture(scope="module")
def damageable(mp4: Callable[..., bytes]) -> bytes:
    return mp4(seconds=0.5, size=(64, 64), options={"movflags": "faststart"})


def test_pyav_and_pillow_load_when_they_are_needed() -> None:
    modules = "airflow_wan.videos.acceptance, airflow_wan.videos.poster"
    code = f"import {modules}, sys; sys.exit(bool({{'av', 'PIL'}} & sys.modules.keys()))"

    subprocess.run([sys.executable, "-c", code], check=True)
