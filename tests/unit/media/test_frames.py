"""Frames as pictures: their colours are those that the file means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image

from airflow_wan.media.frames import first_frame, opened, picture_of

if TYPE_CHECKING:
    from pathlib import Path

RED, GREEN = (200, 30, 30), (20, 180, 40)
AS_A_FILE_SAYS = {"ITU709": 1, "ITU601": 5, "MPEG": 1, "JPEG": 2}


@pytest.mark.parametrize("space", ["ITU709", "ITU601"])
@pytest.mark.parametrize("spread", ["MPEG", "JPEG"])
def test_a_frame_has_the_colours_that_its_file_means(space: str, spread: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    picture = Image.new("RGB", (320, 180), RED)
    picture.paste(GREEN, (0, 0, 160, 180))
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt, stream.options = 320, 180, "yuv420p", {"crf": "4"}
        stream.codec_context.colorspace = AS_A_FILE_SAYS[space]
        stream.codec_context.color_range = AS_A_FILE_SAYS[spread]
        frame: Any = av.VideoFrame.from_image(picture)
        frame = frame.reformat(format="yuv420p", dst_colorspace=space, dst_color_range=spread)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    with opened(av, path) as container:
        shown = picture_of(first_frame(container))

    for place, colour in (((240, 90), RED), ((80, 90), GREEN)):
        assert shown.getpixel(place) == pytest.approx(colour, abs=6)
