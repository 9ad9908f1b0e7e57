from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.exceptions import NotAVideoError
from airflow_wan.media.mp4 import VideoFacts, inspect_file, inspect_video

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYOUTS = {"header last": {}, "header first": {"movflags": "faststart"}}


def inspect(content: bytes, folder: Path) -> VideoFacts:
    path = folder / "inspected.mp4"
    path.write_bytes(content)
    return inspect_video(path)


def boxes_of(content: bytes) -> list[tuple[bytes, int, int]]:
    """Type, start and end of the top-level boxes."""
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
def test_the_header_gives_the_same_facts_as_pyav(
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
def test_a_file_cut_anywhere_is_incomplete(options: dict[str, str], mp4: Callable[..., bytes], tmp_path: Path) -> None:
    content = mp4(seconds=0.5, size=(64, 64), options=options)
    needed = max(end for kind, _, end in boxes_of(content) if kind in (b"ftyp", b"moov", b"mdat"))
    cuts = {*range(0, len(content), max(1, len(content) // 300)), *range(len(content) - 40, len(content))}
    for _, start, end in boxes_of(content):
        cuts |= {start, start + 1, start + 7, start + 8, end - 1}

    for cut in sorted(cuts):
        if cut < needed:
            with pytest.raises(NotAVideoError, match="not a complete mp4"):
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
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotAVideoError, match="not a complete mp4"):
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

    assert facts == VideoFacts(5.5, None, None, has_audio=False, c2pa=False, aigc_label=False)


@pytest.mark.parametrize(("timescale", "duration"), [(0, 5), (1000, 0)])
def test_a_header_without_a_duration_has_none(timescale: int, duration: int, tmp_path: Path) -> None:
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
    with pytest.raises(NotAVideoError, match="not a complete mp4"):
        inspect(box(b"ftyp") + box(b"moov", moov) + box(b"mdat"), tmp_path)


def test_deeply_nested_boxes_are_read_in_bounded_work(tmp_path: Path) -> None:
    content = b""
    for _ in range(2000):
        content = box(b"trak", content)

    assert inspect(box(b"ftyp") + box(b"moov", content) + box(b"mdat"), tmp_path).width is None


def test_a_header_with_too_many_boxes_is_refused(tmp_path: Path) -> None:
    # Each box fits; only their number is too large.
    crowd = box(b"trak", box(b"free") * 300) * 300

    with pytest.raises(NotAVideoError, match="more than 50000 boxes"):
        inspect(box(b"ftyp") + box(b"moov", crowd) + box(b"mdat"), tmp_path)


def test_a_header_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.mp4"
    with path.open("wb") as file:
        file.write(box(b"ftyp") + box(b"mdat") + struct.pack(">I4s", 65 * 1024 * 1024, b"moov"))
        file.truncate(16 + 65 * 1024 * 1024)  # a sparse file: it takes no space

    with pytest.raises(NotAVideoError, match=str(65 * 1024 * 1024 - 8)):
        inspect_video(path)


# Labels --------------------------------------------------------------------------------------------------------------

C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
LABEL = '{"Label":"1","ContentProducer":"Wan"}'


def keys(*names: bytes) -> bytes:
    return box(b"keys", struct.pack(">II", 0, len(names)) + b"".join(box(b"mdta", name) for name in names))


HANDLER = box(b"hdlr", bytes(8) + b"mdta" + bytes(13))


def test_content_credentials_are_found_anywhere(film: bytes, tmp_path: Path) -> None:
    manifest = box(b"uuid", C2PA + bytes(4) + b"manifest\0" + bytes(300))
    end_of_ftyp = boxes_of(film)[0][2]

    assert inspect(film[:end_of_ftyp] + manifest + film[end_of_ftyp:], tmp_path).c2pa
    assert inspect(film + manifest, tmp_path).c2pa


@pytest.mark.parametrize("content", [b"", C2PA[:15], C2PA[::-1], bytes(16) + C2PA], ids=range(4))
def test_other_uuid_boxes_are_not_content_credentials(content: bytes, film: bytes, tmp_path: Path) -> None:
    assert not inspect(film + box(b"uuid", content), tmp_path).c2pa


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_the_label_that_ffmpeg_writes_is_found(options: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "labelled.mp4"
    flags = "+".join(["use_metadata_tags", *options.values()])
    with av.open(str(path), "w", format="mp4", options={"movflags": flags}) as container:
        container.metadata["AIGC"] = LABEL
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        container.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(video.encode(None))

    assert inspect_video(path).aigc_label


@pytest.mark.parametrize(
    "metadata",
    [
        box(b"udta", box(b"meta", bytes(4) + HANDLER + keys(b"title", b"AIGC"))),
        box(b"udta", box(b"meta", HANDLER + keys(b"AIGC"))),
        box(b"meta", HANDLER + keys(b"AIGC")),
        box(b"meta", bytes(4) + HANDLER + keys(b"AIGC", b"title")),
        box(b"udta", box(b"AIGC", LABEL.encode())),
        box(b"udta", box(b"AIGC", LABEL.encode()) + bytes(4)),  # QuickTime ends a udta box with a zero
    ],
    ids=["udta, ISO", "udta, QuickTime", "meta, QuickTime", "meta, ISO", "udta itself", "udta with an end mark"],
)
def test_the_label_is_found_where_other_programs_write_it(metadata: bytes, tmp_path: Path) -> None:
    assert inspect(box(b"ftyp") + box(b"moov", metadata) + box(b"mdat"), tmp_path).aigc_label


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        box(b"udta", box(b"meta", bytes(4) + HANDLER + keys(b"title"))),
        box(b"udta", box(b"meta", bytes(4) + HANDLER + keys(b"AIGC2", b"xAIGC"))),
        box(b"udta", box(b"name", b"AIGC")),
        box(b"udta", box(b"meta", bytes(4) + HANDLER + box(b"keys", b"\xff" * 20))),
        box(b"udta", b"\xff\xff\xff\xffAIGC"),
        box(b"meta"),
        box(b"udta", bytes(3)),
    ],
    ids=range(8),
)
def test_other_and_broken_metadata_are_no_label_and_no_error(metadata: bytes, tmp_path: Path) -> None:
    assert not inspect(box(b"ftyp") + box(b"moov", metadata) + box(b"mdat"), tmp_path).aigc_label


# What is read of a file ----------------------------------------------------------------------------------------------


class Meter(io.BytesIO):
    """A file that counts the bytes read, and cannot be read as a whole."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0
        content = super().read(size)
        self.bytes_read += len(content)
        return content


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_the_frames_are_skipped(options: dict[str, str], mp4: Callable[..., bytes], tmp_path: Path) -> None:
    content = mp4(options=options)
    file = Meter(content)

    facts = inspect_file(file)

    assert facts == inspect(content, tmp_path)
    assert file.bytes_read < 1000
    assert not file.closed


def test_long_boxes_are_not_read_to_their_end(tmp_path: Path) -> None:
    padding = bytes(1_000_000)
    long = box(b"mvhd", bytes(12) + struct.pack(">II", 1000, 2000) + padding)
    long += box(b"trak", box(b"tkhd", padding) + box(b"mdia", box(b"hdlr", bytes(8) + b"vide" + padding)))
    file = Meter(box(b"ftyp") + box(b"moov", long) + box(b"mdat") + box(b"uuid", C2PA + padding))

    assert inspect_file(file) == VideoFacts(2.0, 0, 0, has_audio=False, c2pa=True, aigc_label=False)
    assert file.bytes_read < 1000


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
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


# Damage matters in the header, and most of the file is not header.
@given(mutations=MUTATIONS, in_header=st.booleans())
def test_a_damaged_file_raises_no_other_error(
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
def test_arbitrary_bytes_in_known_boxes_raise_no_other_error(content: bytes, tmp_path: Path) -> None:
    try:
        inspect(box(b"ftyp") + box(b"moov", content) + box(b"mdat"), tmp_path)
    except NotAVideoError:
        return


KINDS = st.sampled_from(
    [
        b"ftyp",
        b"moov",
        b"mdat",
        b"mvhd",
        b"trak",
        b"tkhd",
        b"mdia",
        b"hdlr",
        b"udta",
        b"meta",
        b"keys",
        b"uuid",
        b"AIGC",
    ]
)
SIZES = st.one_of(st.none(), st.sampled_from([0, 1, 7, 8, 2**31, 2**32 - 1]), st.integers(0, 200))


@st.composite
def box_trees(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """Boxes one after another, some of which have a wrong size."""
    tree = b""
    for _ in range(draw(st.integers(1, 4))):
        content = draw(contents)
        size = draw(SIZES)
        head = struct.pack(">I4s", len(content) + 8 if size is None else size, draw(KINDS))
        tree += head + (struct.pack(">Q", draw(st.integers(0, 2**64 - 1))) if size == 1 else b"") + content
    return tree


@given(tree=st.recursive(st.binary(max_size=40), box_trees, max_leaves=30))
def test_boxes_of_any_order_and_size_are_read_in_bounds(tree: bytes) -> None:
    for content in (tree, box(b"ftyp") + box(b"mdat") + box(b"moov", tree)):
        file = Meter(content)
        try:
            facts = inspect_file(file)
        except NotAVideoError:
            continue
        assert facts.duration_s is None or facts.duration_s >= 0
        assert file.bytes_read <= 4 * len(content)  # boxes are walked twice, and begin twice at most
