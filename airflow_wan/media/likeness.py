"""Tell whether a video begins with a picture: its first frame is compared with it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from airflow_wan.media.fitted_pictures import on_white
from airflow_wan.media.frames import first_frame, opened, picture_of, pyav

if TYPE_CHECKING:
    from pathlib import Path

SAME_AT_MOST = 5.0
"""Greatest difference at which a video begins with the picture.

Measured on 11 pictures (scenes, portraits, gradients, plain colours, checkerboards), each in six encodings. At usual
qualities (H.264, quantizer 18, rate factors 23 and 35, BT.601 and BT.709) the difference was 3.7 at most; at rate
factor 45 and at 480P, up to 10. A picture that was moved by 0.3 % of its width differed by 14, one that was brighter by
5 % by 11, one with another spot of 1.2 % of its width by 13, and other pictures by 130 and more.
"""

OTHER_FROM = 12.0
"""Least difference at which a video certainly begins with another picture. Between the two figures, nothing is certain:
a poor encoding of this picture looks like a good one of a picture that is much like it."""

# What the gateways take. Pillow's readers of other formats can be made to work for seconds.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")

# Pictures are compared as grids of so many cells a side, each the mean colour of its part of the picture.
_CELLS = 32

# The lowest fifth is compared as a whole only: gateways write their mark of generated videos there.
_ROWS_COMPARED_BY_CELL = _CELLS * 4 // 5

# Greatest difference of the width-to-height ratios of picture and video: frame sizes are rounded to even numbers.
_MAX_RATIO_DIFFERENCE = 0.03


def difference_from_first_frame(picture: BinaryIO, video: Path) -> float | None:
    """Return how much a video's first frame differs from a picture; None when they cannot be compared.

    Both are scaled to 32 cells a side. The result is the difference of the cell that differs most, as the mean of red,
    green and blue, from 0 to 255. Of the lowest fifth, where a mark may have been written, it is half the mean of all
    cells.

    :param picture: the picture, as a file. Its transparency counts as white, as `adapt_media` sends it.
    :param video: the mp4, as a file on local disk.
    """
    av = pyav()
    if av is None:
        return None
    try:
        with opened(av, video) as container:
            frame = first_frame(container)
            shown = None if frame is None or frame.is_corrupt else picture_of(frame)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(picture, formats=_FORMATS) as image:
                still = on_white(ImageOps.exif_transpose(image))
    except (av.FFmpegError, UnidentifiedImageError, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return None
    except Image.DecompressionBombWarning:
        return None
    if shown is None or abs(1 - (still.width / still.height) / (shown.width / shown.height)) > _MAX_RATIO_DIFFERENCE:
        return None
    return _difference(still, shown)


def _difference(one: Image.Image, other: Image.Image) -> float:
    size = (_CELLS, _CELLS)
    # A wide cell is made of whole pixels: the mean of all of them, however large the picture.
    a, b = (picture.resize(size, Image.Resampling.BOX).tobytes() for picture in (one, other))
    cells = [sum(abs(x - y) for x, y in zip(a[i : i + 3], b[i : i + 3], strict=True)) / 3 for i in range(0, len(a), 3)]
    first_of_strip = _ROWS_COMPARED_BY_CELL * _CELLS
    strip = cells[first_of_strip:]
    return max(*cells[:first_of_strip], sum(strip) / len(strip) / 2)
