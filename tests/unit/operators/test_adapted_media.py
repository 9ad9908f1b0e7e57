"""`adapt_media=True`: what breaks a limit is sent as a copy that fits, and the file itself stays as it is."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from media_files import encoded_tone, image, noise, tone
from PIL import Image
from task_runner import out_of_time

from airflow_wan.api.rules import ImageLimits
from airflow_wan.exceptions import CostLimitExceeded, InvalidVideoRequest, SubmitAmbiguous
from airflow_wan.media import fitted_pictures
from airflow_wan.media.fitted_pictures import CannotFitError, fit_picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_wan.emulator.testing import MediaServer, RunningEmulator

ORIENTATION = 0x0112
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def apiyi(connect_to: Callable[[str], Any]) -> RunningEmulator:
    """The gateway to which pictures go inside the request, where a test can see them."""
    emulator: RunningEmulator = connect_to("apiyi").emulator
    return emulator


@pytest.fixture
def dashscope(connect_to: Callable[[str], Any]) -> RunningEmulator:
    emulator: RunningEmulator = connect_to("dashscope").emulator
    return emulator


@pytest.fixture
def keep(tmp_path: Path) -> Callable[[str, bytes], str]:
    """Return a function that writes a file, and returns its path."""

    def write(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def half_and_half(mode: str = "RGB", size: tuple[int, int] = (640, 360)) -> Image.Image:
    """Return a picture that is red above and blue below."""
    picture = Image.new(mode, size, "blue")
    picture.paste("red", (0, 0, size[0], size[1] // 2))
    return picture


def glass() -> bytes:
    """Return a PNG that is opaque red on the left and clear on the right."""
    picture = Image.new("RGBA", (640, 360), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 320, 360))
    return saved(picture, "PNG")


def sent_by(emulator: RunningEmulator) -> bytes:
    """Return the picture inside the last create request."""
    (item,) = emulator.requests()[-1]["body"]["input"]["media"]
    return base64.b64decode(item["url"].partition(";base64,")[2], validate=True)


def sent_picture(emulator: RunningEmulator) -> Image.Image:
    return Image.open(io.BytesIO(sent_by(emulator)))


def is_near(colour: Any, wanted: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 12 for one, other in zip(colour, wanted, strict=True))


def sources_of(path: str) -> list[dict[str, Any]]:
    sources: list[dict[str, Any]] = json.loads(Path(f"{path}.json").read_text())["sources"]
    return sources


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# Pictures ------------------------------------------------------------------------------------------------------------


def test_transparency_is_laid_on_white_and_the_record_names_both_digests(
    film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path, original = keep("glass.png", glass()), glass()

    video = runner.run(film(first_frame=path, adapt_media=True))

    assert len(apiyi.ledger()) == 1
    picture = sent_picture(apiyi)
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    assert (picture.getpixel((10, 10)), picture.getpixel((630, 350))) == (RED, WHITE)
    assert "its transparency laid on white" in caplog.text
    assert Path(path).read_bytes() == original
    (source,) = sources_of(video)
    assert (source["url"], source["digest"], source["adapted_digest"]) == (
        path,
        digest(original),
        digest(sent_by(apiyi)),
    )
    assert runner.instance.xcoms["wan_status"]["sources"][0]["adapted_digest"] == source["adapted_digest"]


@pytest.mark.parametrize(
    ("kind", "options", "copy"),
    [("GIF", {"save_all": True}, "PNG"), ("TIFF", {"save_all": True}, "PNG"), ("AVIF", {"save_all": True}, "JPEG")],
)
def test_of_other_formats_the_first_picture_is_converted(
    kind: str,
    options: dict[str, Any],
    copy: str,
    film: Callable[..., Any],
    apiyi: Any,
    runner: Any,
    keep: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = keep("photo", saved(half_and_half(), kind, append_images=[Image.new("RGB", (640, 360), "lime")], **options))

    runner.run(film(first_frame=path, adapt_media=True))

    assert len(apiyi.ledger()) == 1
    picture = sent_picture(apiyi).convert("RGB")
    assert sent_picture(apiyi).format == copy
    assert is_near(picture.getpixel((320, 20)), RED)
    assert is_near(picture.getpixel((320, 340)), BLUE)
    assert f"converted from {kind} (its first picture) to {copy}" in caplog.text


def test_the_heic_of_a_phone_is_converted(film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any) -> None:
    heif = pytest.importorskip("pillow_heif")
    target = io.BytesIO()
    heif.from_pillow(half_and_half()).save(target, quality=90)
    path = keep("IMG_0001.HEIC", target.getvalue())

    runner.run(film(first_frame=path, adapt_media=True))

    assert len(apiyi.ledger()) == 1
    picture = sent_picture(apiyi)
    assert (picture.format, picture.size) == ("JPEG", (640, 360))
    assert is_near(picture.getpixel((320, 20)), RED)


def test_without_its_reader_a_heic_is_refused_with_what_to_install(
    film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = keep("IMG_0001.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))

    with pytest.raises(AirflowFailException, match=r"needs pillow-heif.*pip install 'airflow-provider-wan\[adapt\]'"):
        runner.run(film(first_frame=path, adapt_media=True))

    assert apiyi.requests() == []


@pytest.mark.parametrize("size", [(8400, 1120), (1120, 8400)], ids=str)
def test_too_many_pixels_are_scaled_down_and_nothing_is_cut_off(
    size: tuple[int, int],
    film: Callable[..., Any],
    apiyi: Any,
    runner: Any,
    keep: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = keep("wide.png", image(size=size))

    runner.run(film(first_frame=path, adapt_media=True))

    assert len(apiyi.ledger()) == 1
    assert sorted(sent_picture(apiyi).size) == [1067, 8000]
    assert f"scaled from {size[0]}x{size[1]}" in caplog.text


def test_too_many_bytes_are_compressed(
    film: Callable[..., Any], dashscope: Any, runner: Any, keep: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = keep("photo.bmp", saved(half_and_half(size=(2700, 2600)), "BMP"))

    runner.run(film(first_frame=path, adapt_media=True))

    assert len(dashscope.ledger()) == 1
    (upload,) = dashscope.uploads()
    assert upload["bytes"] <= 20 * 1024 * 1024
    assert "converted from BMP to PNG" in caplog.text


def test_what_is_too_large_to_be_sent_inside_the_request_is_compressed_for_that(
    film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any
) -> None:
    content = saved(half_and_half(size=(1950, 1850)), "PNG", compress_level=0)
    assert 10 * 1024 * 1024 < len(content) < 20 * 1024 * 1024

    runner.run(film(first_frame=keep("photo.png", content), adapt_media=True))

    assert len(apiyi.ledger()) == 1
    assert sent_picture(apiyi).size == (1950, 1850)
    assert len(sent_by(apiyi)) <= 10 * 1024 * 1024


def test_a_picture_is_turned_upright_as_its_exif_data_say_and_they_are_not_sent(
    film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any, caplog: pytest.LogCaptureFixture
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F] = 6, "a maker"
    path = keep("phone.jpg", saved(half_and_half().rotate(90, expand=True), "JPEG", exif=exif))

    runner.run(film(first_frame=path, adapt_media=True))

    assert len(apiyi.ledger()) == 1
    picture = sent_picture(apiyi)
    assert picture.size == (640, 360)
    assert is_near(picture.getpixel((320, 20)), RED)
    assert dict(picture.getexif()) == {}
    assert "turned upright" in caplog.text


def test_grey_of_16_bits_keeps_its_shades(film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any) -> None:
    ramp = Image.frombytes("I;16", (512, 256), b"".join((row * 256).to_bytes(2, "little") * 512 for row in range(256)))

    runner.run(film(first_frame=keep("scan.tiff", saved(ramp, "TIFF")), adapt_media=True))

    picture = sent_picture(apiyi)
    assert [picture.getpixel((9, row)) for row in (0, 100, 255)] == [(0, 0, 0), (100, 100, 100), (255, 255, 255)]


def test_what_fits_is_sent_as_it_is(film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any) -> None:
    content = saved(half_and_half(), "JPEG")

    video = runner.run(film(first_frame=keep("photo.jpg", content), adapt_media=True))

    assert sent_by(apiyi) == content
    assert sources_of(video)[0]["adapted_digest"] is None


def test_an_image_inside_the_request_is_adapted_too(film: Callable[..., Any], apiyi: Any, runner: Any) -> None:
    data = f"data:image/png;base64,{base64.b64encode(glass()).decode()}"

    runner.run(film(first_frame=data, adapt_media=True))

    assert len(apiyi.ledger()) == 1
    assert sent_picture(apiyi).mode == "RGB"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (image(size=(100, 100)), "100x100 px.*nothing is enlarged"),
        (image("RGBA", size=(100, 100)), "100x100 px"),
        (image(size=(4000, 300)), r"1:13\.3.*nothing is enlarged or cut off"),
        (image(kind="GIF", size=(100, 100)), "100x100 px"),
        (saved(Image.new("1", (12000, 9000)), "PNG"), "12000x9000 px, and at most 89,000,000 px are unpacked"),
        (saved(Image.new("1", (30000, 9000)), "PNG"), "sensible size"),
        (b"II*\0" + bytes(3000), "cannot be decoded"),
        (b"GIF89a" + bytes(300), "cannot be decoded|100x100|GIF"),
        (b"no picture at all", "holds text"),
        (b"", "is empty"),
    ],
    ids=[
        "too small",
        "too small, with transparency",
        "too narrow",
        "a small gif",
        "more pixels than are unpacked",
        "a bomb",
        "a broken tiff",
        "a broken gif",
        "text",
        "empty",
    ],
)
def test_what_cannot_fit_is_refused_before_anything_is_bought(
    content: bytes, why: str, film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any
) -> None:
    path = keep("photo", content)

    with pytest.raises(AirflowFailException, match=why) as raised:
        runner.run(film(first_frame=path, adapt_media=True))

    assert isinstance(raised.value, InvalidVideoRequest)
    assert apiyi.requests() == []
    assert Path(path).read_bytes() == content


def test_a_file_at_a_url_is_not_adapted_because_the_gateway_fetches_it(
    film: Callable[..., Any], apiyi: Any, runner: Any, tmp_path: Path, keep: Any
) -> None:
    from airflow_wan.emulator.testing import MediaServer

    keep("glass.png", glass())
    with MediaServer(tmp_path) as host, pytest.raises(AirflowFailException, match="alpha channel"):
        runner.run(film(first_frame=host.url("glass.png"), adapt_media=True))

    assert apiyi.requests() == []


def test_without_adapt_media_nothing_is_adapted(film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any) -> None:
    with pytest.raises(AirflowFailException, match="alpha channel"):
        runner.run(film(first_frame=keep("glass.png", glass())))

    assert apiyi.requests() == []


def test_both_roles_of_one_file_get_the_same_copy(
    film: Callable[..., Any], dashscope: Any, runner: Any, keep: Any
) -> None:
    path = keep("glass.png", glass())

    video = runner.run(film(first_frame=path, last_frame=path, adapt_media=True))

    assert len(dashscope.ledger()) == len(dashscope.uploads()) == 1
    first, last = sources_of(video)
    assert first["digest"] == last["digest"] == digest(glass())
    assert first["adapted_digest"] == last["adapted_digest"]


# One wish is paid for once -------------------------------------------------------------------------------------------


def test_a_retry_sees_the_same_wish_even_if_its_pillow_makes_another_copy(
    film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = {"first_frame": keep("noise.tiff", noise((640, 360), "TIFF")), "adapt_media": True}
    with out_of_time(apiyi):
        runner.run(film(**wish, timeout=0.01))
    monkeypatch.setattr(fitted_pictures, "_WITHOUT_LOSS", frozenset())

    runner.run(film(**wish))
    again = runner.run(film(**wish))

    assert len(apiyi.ledger()) == 1
    assert runner.instance.xcoms["wan_video"]["reused"]
    assert sources_of(again)[0]["adapted_digest"] == digest(sent_by(apiyi))


@pytest.mark.usefixtures("no_pauses")
def test_a_lost_answer_to_an_adapted_picture_is_found_again(
    film: Callable[..., Any], dashscope: Any, runner: Any, keep: Any
) -> None:
    wish = {"first_frame": keep("glass.png", glass()), "adapt_media": True, "deferrable": False}
    dashscope.add_fault("create", "drop_connection")
    with pytest.raises(SubmitAmbiguous):
        runner.run(film(**wish))

    runner.run(film(**wish))

    assert len(dashscope.ledger()) == 1


def test_the_same_picture_makes_the_same_copy(
    film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any, tmp_path: Path
) -> None:
    path, copies = keep("noise.avif", saved(half_and_half(), "AVIF")), []
    for take in ("one.mp4", "two.mp4"):
        runner.run(film(first_frame=path, adapt_media=True, output_path=str(tmp_path / take)))
        copies.append(sent_by(apiyi))

    assert copies[0] == copies[1]


def test_another_original_is_another_wish(film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any) -> None:
    wish = {"first_frame": keep("photo.gif", saved(half_and_half(), "GIF")), "adapt_media": True}
    runner.run(film(**wish))
    runner.run(film(**wish))
    assert len(apiyi.ledger()) == 1

    keep("photo.gif", image(kind="GIF"))
    runner.run(film(**wish))
    assert len(apiyi.ledger()) == 2


# Sounds --------------------------------------------------------------------------------------------------------------

SOUNDS = {
    "m4a": ("ipod", "aac"),
    "ogg": ("ogg", "flac"),
    "opus": ("ogg", "libopus"),
    "flac": ("flac", "flac"),
    "aiff": ("aiff", "pcm_s16be"),
    "webm": ("webm", "libopus"),
    "mka": ("matroska", "pcm_s24le"),
    "aac": ("adts", "aac"),
}


@pytest.fixture
def speaking(film: Callable[..., Any], dashscope: Any, keep: Any) -> Callable[..., Any]:
    """Return a factory of tasks with a voice from a file."""
    frame = keep("frame.png", image())
    return lambda voice, **named: film(first_frame=frame, driving_audio=voice, **{"adapt_media": True} | named)


@pytest.mark.parametrize("name", SOUNDS)
def test_a_voice_of_any_format_is_converted(
    name: str, speaking: Callable[..., Any], dashscope: Any, runner: Any, keep: Any, caplog: pytest.LogCaptureFixture
) -> None:
    content = encoded_tone(2.6, *SOUNDS[name])
    path = keep(f"voice.{name}", content)

    video = runner.run(speaking(path, duration="audio"))

    assert [bill["seconds"] for bill in dashscope.ledger()] == [3]
    _, source = sources_of(video)
    assert source["digest"] == digest(content)
    assert source["adapted_digest"]
    assert "to WAV" in caplog.text
    assert Path(path).read_bytes() == content


def test_the_sound_of_a_video_serves_as_a_voice(
    speaking: Callable[..., Any], dashscope: Any, runner: Any, keep: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow_wan.emulator.video import Scene, render

    scene = Scene(Image.new("RGB", (320, 240)), None, tone(2.5), 320, 240, seconds=3)
    runner.run(speaking(keep("talk.mp4", render(scene)), duration="audio"))

    assert [bill["seconds"] for bill in dashscope.ledger()] == [3]
    assert "to WAV" in caplog.text


def test_a_voice_that_is_too_long_is_refused_with_what_would_cut_it(
    speaking: Callable[..., Any], dashscope: Any, runner: Any, keep: Any
) -> None:
    with pytest.raises(AirflowFailException, match=r"lasts 31\.00 s.*cut_audio=True"):
        runner.run(speaking(keep("voice.wav", tone(31, rate=8000))))
    with pytest.raises(AirflowFailException, match=r"longer than 30 s.*cut_audio=True"):
        runner.run(speaking(keep("voice.mka", encoded_tone(31, "matroska", "pcm_s16le", rate=8000))))

    assert dashscope.requests() == []


@pytest.mark.parametrize("name", ["voice.wav", "voice.flac"])
def test_a_voice_that_is_too_long_is_cut_when_told_so(
    name: str, speaking: Callable[..., Any], dashscope: Any, runner: Any, keep: Any, caplog: pytest.LogCaptureFixture
) -> None:
    content = tone(33, rate=8000) if name.endswith("wav") else encoded_tone(33, "flac", "flac", rate=8000)

    runner.run(speaking(keep(name, content), cut_audio=True, duration=2))

    assert len(dashscope.ledger()) == 1
    assert "cut to its first 30 s" in caplog.text
    assert [upload["bytes"] for upload in dashscope.uploads() if upload["bytes"] > 100_000] == [44 + 30 * 8000 * 2]


def test_a_video_as_long_as_its_voice_is_no_longer_than_the_model_makes(
    speaking: Callable[..., Any], dashscope: Any, runner: Any, keep: Any, caplog: pytest.LogCaptureFixture
) -> None:
    voice = keep("voice.wav", tone(20, rate=8000))
    wish = {"duration": "audio", "max_cost": 0.01}

    with pytest.raises(AirflowFailException, match="makes at most 15 s"):
        runner.run(speaking(voice, **wish))
    with pytest.raises(CostLimitExceeded):
        runner.run(speaking(voice, cut_audio=True, **wish))

    assert "USD for 15 s" in caplog.text
    assert dashscope.ledger() == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (encoded_tone(1.0, "flac", "flac"), "lasts 1.00 s; 2 to 30 s are allowed"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "holds text"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "holds text"),
        (b"OggS" + bytes(5000), "cannot be decoded"),
        (image(kind="JPEG"), "cannot be decoded|no sound"),
    ],
    ids=["too short", "a playlist", "a list of files", "broken", "a picture"],
)
def test_what_is_no_fitting_voice_is_refused(
    content: bytes, why: str, speaking: Callable[..., Any], dashscope: Any, runner: Any, keep: Any
) -> None:
    with pytest.raises(AirflowFailException, match=why):
        runner.run(speaking(keep("voice", content), cut_audio=True))

    assert dashscope.requests() == []


def test_a_list_of_files_is_not_followed(
    speaking: Callable[..., Any], dashscope: Any, runner: Any, keep: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    keep("secret.aac", encoded_tone(3, "adts", "aac"))

    with pytest.raises(AirflowFailException, match="cannot be decoded"):
        runner.run(speaking(keep("voice.txt", b"ffconcat version 1.0\nfile secret.aac\n")))

    assert dashscope.requests() == []


def test_a_video_without_sound_is_no_voice(
    speaking: Callable[..., Any], dashscope: Any, runner: Any, keep: Any
) -> None:
    from airflow_wan.emulator.video import Scene, render

    silent = render(Scene(Image.new("RGB", (320, 240)), None, None, 320, 240, seconds=2, has_sound=False))
    with pytest.raises(AirflowFailException, match="no sound that can be decoded"):
        runner.run(speaking(keep("talk.mp4", silent)))

    assert dashscope.requests() == []


def test_without_pyav_a_voice_is_refused_with_what_to_install(
    speaking: Callable[..., Any], dashscope: Any, runner: Any, keep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keep("voice.flac", encoded_tone(3, "flac", "flac"))
    monkeypatch.setitem(sys.modules, "av", None)

    with pytest.raises(AirflowFailException, match=r"PyAV.*pip install 'airflow-provider-wan\[adapt\]'"):
        runner.run(speaking(path))

    assert dashscope.requests() == []


def test_an_adapted_voice_cannot_go_to_apiyi(
    film: Callable[..., Any], apiyi: Any, runner: Any, keep: Any, media: MediaServer
) -> None:
    path = keep("voice.flac", encoded_tone(3, "flac", "flac"))

    with pytest.raises(AirflowFailException, match="only an image"):
        runner.run(film(driving_audio=path, adapt_media=True))

    assert apiyi.requests() == []


# Arguments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [({"adapt_media": True, "preflight": False}, "preflight=True"), ({"cut_audio": True}, "adapt_media=True")],
    ids=str,
)
def test_arguments_that_say_nothing_together_are_refused_when_the_dag_is_parsed(
    arguments: dict[str, Any], needed: str, film: Callable[..., Any]
) -> None:
    with pytest.raises(ValueError, match=needed):
        film(**arguments)


@pytest.mark.parametrize(
    ("largest_bytes", "size"), [(200_000, (400, 300)), (155_000, (400, 300)), (110_000, (320, 240))], ids=str
)
def test_a_file_that_stays_too_large_loses_quality_first_and_pixels_then(
    largest_bytes: int, size: tuple[int, int]
) -> None:
    photo = io.BytesIO(noise((400, 300), "PNG"))

    copy = fit_picture(photo, ImageLimits(), facts=None, fits=False, largest_bytes=largest_bytes)

    assert copy is not None
    assert len(copy.content) <= largest_bytes
    with Image.open(io.BytesIO(copy.content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", size)


def test_a_file_that_cannot_be_small_enough_is_refused_and_not_made_smaller_than_the_gateway_takes() -> None:
    with pytest.raises(CannotFitError, match="however small"):
        fit_picture(io.BytesIO(noise((400, 300), "PNG")), ImageLimits(), facts=None, fits=False, largest_bytes=20_000)


def test_a_sound_copy_is_what_was_heard() -> None:
    from airflow_wan.media.fitted_sounds import fit_sound

    copy = fit_sound(io.BytesIO(encoded_tone(2.0, "flac", "flac", rate=16_000)), facts=None, longest_s=30, cut=False)

    with av.open(io.BytesIO(copy.content)) as wav, av.open(io.BytesIO(tone(2.0))) as original:
        copied, heard = (
            b"".join(bytes(frame.planes[0])[: 2 * frame.samples] for frame in one.decode(audio=0))
            for one in (wav, original)
        )
    assert copied == heard
