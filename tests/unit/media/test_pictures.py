"""The headers of PNG and BMP images, made by hand, where Pillow would not read them."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from airflow_wan.exceptions import NotMediaError
from airflow_wan.media.probing import ImageFacts, probe_image


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*before_the_pixels: bytes, width: int = 640, height: int = 360, bits: int = 8, colours: int = 2) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before_the_pixels) + chunk(b"IDAT", b"x") + chunk(b"IEND")


def bmp(header: bytes) -> bytes:
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(header)) + header + bytes(64)


def info(size: int = 40, *, bits: int = 32, compression: int = 0, masks: bytes = b"", height: int = 360) -> bytes:
    fields = struct.pack("<IiiHHIIiiII", size, 640, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return (fields + masks).ljust(size, b"\0")


LONG = zlib.compress(bytes(20_000_000))


@pytest.mark.parametrize(
    ("content", "has_alpha"),
    [
        (png(chunk(b"zTXt", b"Comment\0\0" + LONG)), False),
        (png(chunk(b"iTXt", b"Comment\0\1\0\0\0" + LONG)), False),
        (png(chunk(b"iCCP", b"Profile\0\0" + LONG)), False),
        (png(chunk(b"iCCP", b"Profile\0\0broken")), False),
        (png(chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000)), False),
        (png(*[chunk(b"tEXt", b"a\0b")] * 500), False),
        (png(chunk(b"tRNS", bytes(6))), True),
        (png(chunk(b"zTXt", b"Comment\0\0" + LONG), colours=6), True),
        (png(bits=16, colours=4), True),
        (png(bits=1, colours=3), False),
    ],
    ids=["zTXt", "iTXt", "iCCP", "broken iCCP", "tEXt", "many texts", "tRNS", "alpha", "grey alpha", "palette"],
)
def test_a_png_is_read_without_its_texts_and_profiles(content: bytes, has_alpha: bool) -> None:
    assert probe_image(io.BytesIO(content)) == ImageFacts("PNG", 640, 360, has_alpha, len(content))


@pytest.mark.parametrize(
    "content",
    [
        png(width=0),
        png(bits=3),
        png(colours=1),
        png()[:40],
        png().replace(b"\x02\x80", b"\x02\x81"),
        png().replace(b"IHDR", b"CgBI"),
        png(*[chunk(b"tEXt")] * 10_001),
    ],
    ids=["no width", "bits", "colours", "cut", "checksum", "Apple's", "too many chunks"],
)
def test_a_broken_png_is_refused(content: bytes) -> None:
    with pytest.raises(NotMediaError):
        probe_image(io.BytesIO(content))


MASKS = struct.pack("<III", 0x3FF00000, 0x000FFC00, 0x000003FF)


@pytest.mark.parametrize(
    ("header", "has_alpha"),
    [
        (info(compression=3, masks=MASKS), False),
        (info(52, compression=3, masks=MASKS), False),
        (info(56, compression=3, masks=MASKS + struct.pack("<I", 0xC0000000)), True),
        (info(108, bits=16, compression=3, masks=struct.pack("<III", 0xF0, 0x0F, 0xF00)), False),
        (info(124, compression=3, masks=MASKS + struct.pack("<I", 0xC0000000)), True),
        (info(height=-360), False),
        (info(64, bits=24), False),
        (info(bits=8, compression=1), False),
        (struct.pack("<IHHHH", 12, 640, 360, 1, 24), False),
    ],
    ids=["masks", "V2", "V3", "V4", "V5", "top down", "OS/2 2", "RLE", "OS/2 1"],
)
def test_a_bmp_may_have_any_masks(header: bytes, has_alpha: bool) -> None:
    content = bmp(header)

    assert probe_image(io.BytesIO(content)) == ImageFacts("BMP", 640, 360, has_alpha, len(content))


@pytest.mark.parametrize(
    "header", [info(41), info(bits=7), info(height=0), info(compression=99), b"", info()[:20], bytes(200)], ids=range(7)
)
def test_a_broken_bmp_is_refused(header: bytes) -> None:
    content = bmp(header)

    with pytest.raises(NotMediaError):
        probe_image(io.BytesIO(content[:-64] if len(header) < 40 else content))


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    mode=st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "I;16"]),
    kind=st.sampled_from(["PNG", "BMP"]),
)
def test_pillow_says_the_same(size: tuple[int, int], mode: str, kind: str) -> None:
    target = io.BytesIO()
    try:
        Image.new(mode, size).save(target, kind)
    except OSError:
        return  # this format has no such mode
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(target.getvalue())) as image:
        expected = (*image.size, kind == "PNG" and image.has_transparency_data)

    facts = probe_image(target)

    assert (facts.width, facts.height, kind == "PNG" and facts.has_alpha) == expected
