"""Films of clips, and the picture that a clip ends with, decoded frame by frame."""

from __future__ import annotations

import hashlib
import itertools
import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from media_files import tone
from PIL import Image

from airflow_wan.emulator.video import Scene, render
from airflow_wan.exceptions import DestinationError, InvalidVideoRequest, WanError
from airflow_wan.films import join_clips, save_last_frame

if TYPE_CHECKING:
    from collections.abc import Callable


def clip(colour: str, seconds: int = 2, *, size: tuple[int, int] = (320, 180), **named: Any) -> bytes:
    """Return a clip as the emulator makes it: H.264, and AAC with a tone."""
    still = Image.blend(
        Image.new("RGB", (640, 360), colour), Image.linear_gradient("L").resize((640, 360)).convert("RGB"), 0.5
    )
    return render(Scene(still, None, tone(seconds), *size, seconds=seconds, **named))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    paths = []
    for number, (colour, seconds) in enumerate([("teal", 2), ("olive", 3), ("navy", 2)]):
        path = folder / f"shot-{number}.mp4"
        path.write_bytes(clip(colour, seconds))
        paths.append(str(path))
    return paths


def pictures(path: str) -> list[str]:
    """Return the digest of every frame that a player shows."""
    with av.open(path) as container:
        return [hashlib.sha256(bytes(frame.to_image().tobytes())).hexdigest() for frame in container.decode(video=0)]


def samples_of_sound(path: str) -> int:
    with av.open(path) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


def seconds(path: str) -> float:
    with av.open(path) as container:
        return float((container.duration or 0) / av.time_base)


def times(path: str, kind: str) -> list[Fraction]:
    with av.open(path) as container:
        stream = getattr(container.streams, kind)[0]
        return [frame.pts * frame.time_base for frame in container.decode(stream)]


# One film of several clips -------------------------------------------------------------------------------------------


def test_a_film_has_every_frame_of_its_clips_in_their_order_and_their_length_together(
    clips: list[str], tmp_path: Path
) -> None:
    film = join_clips(clips, tmp_path / "film.mp4")

    assert film == str(tmp_path / "film.mp4")
    assert pictures(film) == [picture for path in clips for picture in pictures(path)]
    assert times(film, "video") == [Fraction(number, 24) for number in range(7 * 24)]
    assert seconds(film) == pytest.approx(7.0, abs=0.03)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4"]


def test_the_sound_of_a_film_goes_with_its_pictures_however_many_clips_there_are(
    clips: list[str], tmp_path: Path
) -> None:
    film = join_clips(clips * 8, tmp_path / "film.mp4")

    assert samples_of_sound(film) == pytest.approx(8 * 7 * 48_000, abs=2 * 1024)
    starts = times(film, "audio")
    steps = [after - before for before, after in itertools.pairwise(starts)]
    assert max(abs(step - Fraction(1024, 48_000)) for step in steps) < Fraction(1, 1000)


def test_clips_without_sound_make_a_film_without_sound(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_bytes(clip("teal", has_sound=False))

    film = join_clips([tmp_path / "a.mp4", tmp_path / "b.mp4"], tmp_path / "film.mp4")

    assert len(pictures(film)) == 4 * 24


def test_one_clip_is_a_film_too_and_an_older_film_is_replaced(clips: list[str], tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"an older film")

    assert pictures(join_clips(clips[:1], tmp_path / "film.mp4")) == pictures(clips[0])


@pytest.mark.usefixtures("clips")
@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"size": (640, 360)}, "picture size (640x360 px, not 320x180 px)"),
        ({"has_sound": False}, "sound (without sound, not with sound)"),
    ],
    ids=str,
)
def test_clips_that_differ_in_kind_are_not_joined_and_leave_nothing(
    other: dict[str, Any], difference: str, clips: list[str], tmp_path: Path
) -> None:
    (tmp_path / "other.mp4").write_bytes(clip("teal", **other))

    with pytest.raises(WanError) as raised:
        join_clips([clips[0], tmp_path / "other.mp4"], tmp_path / "film.mp4")

    assert f"other.mp4 differs from {clips[0]} in its {difference}" in str(raised.value)
    assert not (tmp_path / "film.mp4").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["other.mp4"]


def test_other_settings_of_the_encoder_are_told_in_words(clips: list[str], tmp_path: Path) -> None:
    with av.open(str(tmp_path / "other.mp4"), "w") as container, av.open(clips[0]) as source:
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        video.options = {"bf": "3", "refs": "4"}
        sound = container.add_stream_from_template(source.streams.audio[0])
        for frame in source.decode(video=0):
            frame.pict_type = 0
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        source.seek(0)
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = sound
                container.mux(packet)

    with pytest.raises(WanError, match="settings of the picture's encoder"):
        join_clips([clips[0], tmp_path / "other.mp4"], tmp_path / "film.mp4")


@pytest.mark.parametrize("upright_first", [True, False])
def test_clips_that_a_player_turns_otherwise_are_not_joined(
    upright_first: bool, clips: list[str], tmp_path: Path
) -> None:
    both = [clips[0], turned(clips[0], tmp_path / "phone.mp4", (0, 1, -1, 0))]

    with pytest.raises(WanError, match=r"in its turn of the picture \("):
        join_clips(both if upright_first else both[::-1], tmp_path / "film.mp4")
    assert not (tmp_path / "film.mp4").exists()


def test_clips_that_a_player_turns_alike_stay_turned(clips: list[str], tmp_path: Path) -> None:
    phone = turned(clips[0], tmp_path / "phone.mp4", (0, 1, -1, 0))

    with av.open(join_clips([phone, phone], tmp_path / "film.mp4")) as film:
        assert {frame.rotation for frame in film.decode(video=0)} == {-90}


def encoded(path: Path, codec: str, pixels: str) -> str:
    with av.open(str(path), "w", format=path.suffix[1:]) as container:
        stream: Any = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 180, pixels
        for number in range(12):
            picture = Image.new("RGB", (320, 180), (20 * number, 0, 0))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return str(path)


@pytest.mark.skipif("libsvtav1" not in av.codecs_available, reason="This PyAV cannot make a clip in AV1.")
def test_a_format_without_an_encoder_of_the_decoders_name_can_be_joined(tmp_path: Path) -> None:
    one = encoded(tmp_path / "av1.mp4", "libsvtav1", "yuv420p")

    assert pictures(join_clips([one, one], tmp_path / "film.mp4")) == pictures(one) * 2


def test_a_format_that_no_mp4_can_hold_is_told(tmp_path: Path) -> None:
    one = encoded(tmp_path / "edit.mov", "prores", "yuv422p10le")

    with pytest.raises(WanError, match=r"The film could not be made: .*prores"):
        join_clips([one, one], tmp_path / "film.mp4")
    assert not (tmp_path / "film.mp4").exists()


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_is_no_list_of_clips(kind: type, clips: list[str], tmp_path: Path) -> None:
    with pytest.raises(WanError, match="a list of clips, and this is one path"):
        join_clips(kind(clips[0]), tmp_path / "film.mp4")


@pytest.mark.parametrize("content", [None, b"", b"no video", clip("teal")[:2000]], ids=["gone", "empty", "text", "cut"])
def test_a_clip_that_cannot_be_read_is_named(content: bytes | None, clips: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    if content is not None:
        broken.write_bytes(content)

    with pytest.raises(WanError, match=r"broken\.mp4 cannot be read as a video"):
        join_clips([clips[0], broken], tmp_path / "film.mp4")
    assert not (tmp_path / "film.mp4").exists()


def test_a_film_never_replaces_one_of_its_clips(clips: list[str]) -> None:
    before = Path(clips[1]).read_bytes()

    with pytest.raises(WanError, match="would replace one of its clips"):
        join_clips(clips, f"file://{clips[1]}")

    assert Path(clips[1]).read_bytes() == before


def test_no_clips_are_no_film(tmp_path: Path) -> None:
    with pytest.raises(WanError, match="at least one clip"):
        join_clips([], tmp_path / "film.mp4")


def test_a_relative_path_is_one_under_output_base(
    clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", str(tmp_path / "base"))

    assert join_clips(clips[:1], "story/film.mp4") == str(tmp_path / "base" / "story" / "film.mp4")
    with pytest.raises(InvalidVideoRequest, match=r"'\.\.'"):
        join_clips(clips[:1], "../film.mp4")


def test_a_film_that_cannot_be_written_is_an_error(clips: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(DestinationError, match="cannot be written to"):
        join_clips(clips, tmp_path / "file" / "film.mp4")


# The last frame ------------------------------------------------------------------------------------------------------


def with_b_frames(path: Path, **options: str) -> str:
    """Write a clip of which every frame differs, encoded in another order than it is shown in."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.options = {"bf": "3", "g": "250", **options}
        for number in range(50):
            picture = Image.new("RGB", (320, 180), (5 * number, 255 - 5 * number, 128))
            picture.paste("white", (6 * number, 0, 6 * number + 20, 180))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return str(path)


ENCODINGS: dict[str, Callable[[Path], str]] = {
    "b-frames": with_b_frames,
    "several keyframes": lambda path: with_b_frames(path, g="10", bf="2"),
    "intra refresh": lambda path: with_b_frames(path, bf="0", **{"intra-refresh": "1", "keyint": "20"}),
    "emulated": lambda path: str(path) if path.write_bytes(clip("teal")) else "",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_picture_is_the_last_frame_pixel_by_pixel(encoding: str, tmp_path: Path) -> None:
    path = ENCODINGS[encoding](tmp_path / "clip.mp4")

    picture = save_last_frame(path)

    assert picture == str(tmp_path / "clip.last.png")
    with Image.open(picture) as saved:
        assert saved.format == "PNG"
        assert hashlib.sha256(saved.tobytes()).hexdigest() == pictures(path)[-1]


def turned(clip: str, path: Path, matrix: tuple[int, int, int, int]) -> str:
    """Write a copy of a clip with another display matrix, as phones write it: with these a, b, c and d."""
    content = bytearray(Path(clip).read_bytes())
    at = content.index(b"tkhd") + 44  # the version of the box is 0; the first track is the picture
    a, b, c, d = (65536 * number for number in matrix)
    struct.pack_into(">9i", content, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 1, -1, 0), Image.Transpose.ROTATE_270),
        ((0, -1, 1, 0), Image.Transpose.ROTATE_90),
        ((-1, 0, 0, -1), Image.Transpose.ROTATE_180),
        ((-1, 0, 0, 1), Image.Transpose.FLIP_LEFT_RIGHT),
    ],
    ids=str,
)
def test_the_picture_of_a_clip_that_a_player_turns_is_turned(
    matrix: tuple[int, int, int, int], turn: Image.Transpose, clips: list[str], tmp_path: Path
) -> None:
    picture = save_last_frame(turned(clips[0], tmp_path / "phone.mp4", matrix))

    with Image.open(save_last_frame(clips[0], tmp_path / "stored.png")) as stored, Image.open(picture) as saved:
        assert saved.tobytes() == stored.transpose(turn).tobytes()
        assert saved.size == stored.transpose(turn).size


def test_a_picture_never_replaces_its_clip(clips: list[str], tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(clips[0])
    before = Path(clips[0]).read_bytes()

    for place in (clips[0], f"file://{clips[0]}", tmp_path / "link.png"):
        with pytest.raises(WanError, match="would replace its clip"):
            save_last_frame(clips[0], place)
    assert Path(clips[0]).read_bytes() == before


def test_the_picture_goes_where_it_is_wanted(clips: list[str], tmp_path: Path) -> None:
    assert save_last_frame(clips[0], tmp_path / "new" / "end.png") == str(tmp_path / "new" / "end.png")
    with Image.open(tmp_path / "new" / "end.png") as saved:
        assert saved.size == (320, 180)


@pytest.mark.parametrize("damage", ["cut", "no video", "gone"])
def test_a_clip_that_cannot_be_decoded_to_its_end_has_no_last_frame(
    damage: str, clips: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    if damage == "cut":
        content = Path(clips[0]).read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif damage == "no video":
        path.write_bytes(b"no video")

    with pytest.raises(WanError, match=r"clip\.mp4 cannot be (read|decoded)"):
        save_last_frame(path)
    assert not (tmp_path / "clip.last.png").exists()


def test_without_pyav_both_say_what_to_install(
    clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)

    for make in (lambda: save_last_frame(clips[0]), lambda: join_clips(clips, tmp_path / "film.mp4")):
        with pytest.raises(WanError, match=r"pip install 'airflow-provider-wan\[films\]'"):
            make()
