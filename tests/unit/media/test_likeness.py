"""How much the first frame of a video differs from a picture: over real encodings of pictures alike and not alike."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from airflow_wan.media.likeness import OTHER_FROM, SAME_AT_MOST, difference_from_first_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def scene(hue: int = 40, size: tuple[int, int] = (1280, 720)) -> Image.Image:
    """A picture with slopes, edges and some small things in it."""
    slope = Image.linear_gradient("L").resize(size)
    picture = Image.merge("HSV", (Image.new("L", size, hue), Image.new("L", size, 140), slope)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for number in range(12):
        x, y = (number * 397) % size[0], (number * 211) % size[1]
        draw.ellipse((x, y, x + 160, y + 110), fill=((number * 83) % 256, (number * 151) % 256, (number * 29) % 256))
    return picture


@pytest.fixture
def encode(tmp_path: Path) -> Callable[..., Path]:
    def make(
        picture: Image.Image, size: tuple[int, int] = (1280, 720), *, says_bt709: bool = False, **options: str
    ) -> Path:
        video = tmp_path / "video.mp4"
        with av.open(str(video), "w", format="mp4") as container:
            stream: Any = container.add_stream("libx264", rate=24)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.options = {"preset": "veryfast", **options}
            stream.codec_context.colorspace = 1 if says_bt709 else 2  # which is: unspecified
            shown = picture.resize(size, Image.Resampling.LANCZOS)
            for number in range(4):
                frame: Any = av.VideoFrame.from_image(shown)
                if says_bt709:
                    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return video

    return make


def png(picture: Image.Image) -> io.BytesIO:
    content = io.BytesIO()
    picture.save(content, "PNG")
    content.seek(0)
    return content


def marked(picture: Image.Image) -> Image.Image:
    """The mark that gateways write into generated videos, in the lowest fifth."""
    picture = picture.copy()
    ImageDraw.Draw(picture).text((900, 650), "AI generated", fill="white", font_size=44, stroke_width=3)
    return picture


def spotted(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    ImageDraw.Draw(picture).ellipse((600, 300, 680, 380), fill="white")
    return picture


@pytest.mark.parametrize("crf", ["18", "28", "35"])
@pytest.mark.parametrize("marked_by_the_gateway", [False, True])
def test_an_encoding_of_the_picture_is_the_same(crf: str, marked_by_the_gateway: bool, encode: Any) -> None:
    video = encode(marked(scene()) if marked_by_the_gateway else scene(), crf=crf)

    difference = difference_from_first_frame(png(scene()), video)

    assert difference is not None
    assert difference <= SAME_AT_MOST


def test_a_video_that_says_how_its_colours_are_meant_is_the_same(encode: Any) -> None:
    difference = difference_from_first_frame(png(scene()), encode(scene(), says_bt709=True, crf="18"))

    assert difference is not None
    assert difference <= SAME_AT_MOST


def test_a_picture_of_another_size_and_the_same_ratio_is_the_same(encode: Any) -> None:
    video = encode(scene(), crf="28")

    difference = difference_from_first_frame(png(scene().resize((640, 360), Image.Resampling.LANCZOS)), video)

    assert difference is not None
    assert difference <= SAME_AT_MOST


@pytest.mark.parametrize(
    "other",
    [scene(170), ImageOps.mirror(scene()), spotted(scene()), Image.new("RGB", (1280, 720), "red")],
    ids=["another colour", "mirrored", "a spot", "plain red"],
)
def test_another_picture_is_another_one(other: Image.Image, encode: Any) -> None:
    difference = difference_from_first_frame(png(other), encode(scene(), crf="28"))

    assert difference is not None
    assert difference >= OTHER_FROM


def test_a_picture_that_is_nearly_the_same_is_neither(encode: Any) -> None:
    difference = difference_from_first_frame(png(ImageEnhance.Brightness(scene()).enhance(1.04)), encode(scene()))

    assert difference is not None
    assert SAME_AT_MOST < difference < OTHER_FROM


def test_what_cannot_be_compared_says_so(encode: Any, tmp_path: Path) -> None:
    video = encode(scene())
    no_video = tmp_path / "no_video.mp4"
    no_video.write_bytes(b"\0\0\0\x18ftypmp42")

    assert difference_from_first_frame(png(scene(size=(720, 1280))), video) is None
    assert difference_from_first_frame(io.BytesIO(b"no picture"), video) is None
    assert difference_from_first_frame(png(scene()), no_video) is None


def test_a_tiff_which_no_gateway_takes_is_not_read(encode: Callable[..., Path]) -> None:
    """A TIFF may have a directory of any length, which takes seconds to read."""
    content = io.BytesIO()
    scene().save(content, "TIFF")
    content.seek(0)

    assert difference_from_first_frame(content, encode(scene())) is None
