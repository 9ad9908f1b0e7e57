"""Headers of real images, sound files and clips, and how little of each file is read."""

from __future__ import annotations

import contextlib
import io
import math
import random
import struct
import warnings
import wave
from typing import TYPE_CHECKING

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import image, noise
from PIL import Image

from airflow_wan.exceptions import MediaUnreadable, NotMediaError
from airflow_wan.media.bounded import BLOCK_BYTES, MAX_BYTES, MAX_NEAR_BYTES, BoundedFile, bounded
from airflow_wan.media.probing import probe_audio, probe_clip, probe_image

if TYPE_CHECKING:
    from collections.abc import Callable


def wav(seconds: float, rate: int = 16_000, channels: int = 1) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(bytes(int(seconds * rate) * 2 * channels))
    return target.getvalue()


def wav_of_chunks(*chunks: tuple[bytes, bytes], sizes: dict[bytes, int] | None = None) -> bytes:
    content = b"".join(
        kind + struct.pack("<I", (sizes or {}).get(kind, len(body))) + body + b"\0" * (len(body) % 2)
        for kind, body in chunks
    )
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WAVE" + content


PCM = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
EXTENSIBLE = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16_000, 32_000, 2, 16, 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
FOUR_SECONDS = bytes(4 * 32_000)


FRAME = 1152
# One loud and one quiet, so that frames of a variable bit rate differ.
TONES = [
    struct.pack(f"<{FRAME}h", *(int(loud * math.sin(n / 9) + n % 83) for n in range(FRAME))) for loud in (200, 12_000)
]


def mp3(seconds: float, container: dict[str, str] | None = None, codec: dict[str, str] | None = None) -> bytes:
    target = io.BytesIO()
    rate = 44_100
    with av.open(target, "w", format="mp3", options=container or {}) as file:
        # The fastest of its qualities.
        options = {"compression_level": "9"} | (codec or {})
        stream = file.add_stream("libmp3lame", rate=rate, layout="mono", options=options)
        for start in range(0, int(seconds * rate), FRAME):
            count = min(FRAME, int(seconds * rate) - start)
            frame = av.AudioFrame(format="s16p", layout="mono", samples=count)
            samples = TONES[start // rate % 2][: 2 * count]
            frame.planes[0].update(samples.ljust(frame.planes[0].buffer_size, b"\0"))
            frame.sample_rate, frame.pts = rate, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return target.getvalue()


def id3(size: int) -> bytes:
    """A tag with a cover picture of this many bytes."""
    body = b"APIC" + struct.pack(">I", size) + b"\0\0" + bytes(size)
    length = len(body)
    return b"ID3\x03\0\0" + bytes(length >> shift & 0x7F for shift in (21, 14, 7, 0)) + body


class Counted:
    """A file that counts how many of its bytes were fetched."""

    def __init__(self, content: bytes, max_bytes: int = MAX_BYTES) -> None:
        self.fetched = 0
        self.content = content
        self.file = BoundedFile(self._fetch, len(content), max_bytes).buffered()

    def _fetch(self, start: int, stop: int) -> bytes:
        self.fetched += stop - start
        return self.content[start:stop]


def test_an_open_file_is_read_within_the_bound() -> None:
    content = bytes(2 * MAX_NEAR_BYTES)

    with pytest.raises(MediaUnreadable, match="bytes"):
        bounded(io.BytesIO(content), len(content)).read()
    assert len(bounded(io.BytesIO(content), len(content)).read(MAX_NEAR_BYTES)) == MAX_NEAR_BYTES


def test_what_was_read_is_not_all_kept() -> None:
    counted = Counted(bytes(random.Random(1).randbytes(3 * MAX_BYTES)), MAX_NEAR_BYTES)

    counted.file.read()
    counted.file.seek(0)

    assert counted.file.read(BLOCK_BYTES) == counted.content[:BLOCK_BYTES]
    assert counted.fetched == 3 * MAX_BYTES + BLOCK_BYTES


class TestImages:
    @pytest.mark.parametrize(
        ("content", "name", "has_alpha"),
        [
            (image(), "PNG", False),
            (image("RGBA"), "PNG", True),
            (image("LA"), "PNG", True),
            (image("P", transparency=0), "PNG", True),
            (image("RGB", transparency=(0, 0, 0)), "PNG", True),
            (image(kind="JPEG"), "JPEG", False),
            (image(kind="JPEG", progressive=True), "JPEG", False),
            (image(kind="MPO", save_all=True, append_images=[Image.new("RGB", (64, 36))]), "JPEG", False),
            (image(kind="BMP"), "BMP", False),
            (image(kind="GIF"), "GIF", False),
            (image(kind="WEBP"), "WEBP", False),
            (image(kind="WEBP", lossless=True), "WEBP", False),
            (image("RGBA", kind="WEBP"), "WEBP", True),
            (image("RGBA", kind="WEBP", lossless=True), "WEBP", True),
            (image(kind="WEBP", icc_profile=b"profile"), "WEBP", False),
        ],
    )
    def test_a_header_tells_format_size_and_transparency(self, content: bytes, name: str, has_alpha: bool) -> None:
        facts = probe_image(io.BytesIO(content))

        assert (facts.format, facts.width, facts.height, facts.bytes) == (name, 640, 360, len(content))
        assert facts.has_alpha is has_alpha

    def test_a_tiff_which_no_model_takes_is_named_and_not_read(self) -> None:
        counted = Counted(image(kind="TIFF"))

        with pytest.raises(NotMediaError, match="it is a TIFF"):
            probe_image(counted.file)
        assert counted.fetched <= BLOCK_BYTES

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
    def test_of_a_large_image_little_is_read(self, kind: str) -> None:
        content = noise((1500, 1500), kind, **({"quality": 98} if kind in ("JPEG", "WEBP") else {}))
        counted = Counted(content)

        assert probe_image(counted.file).width == 1500
        assert len(content) > 1_000_000
        assert counted.fetched == BLOCK_BYTES

    def test_the_pixels_may_be_missing(self) -> None:
        assert probe_image(io.BytesIO(noise((640, 360), "PNG")[:1000])).height == 360

    @pytest.mark.parametrize(
        "content",
        [
            b"neither picture nor sound",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\0\0\0\0WEBPVP8 ",
            b"RIFF\0\0\0\0WEBPJUNK" + bytes(40),
            image()[:20],
            image(kind="BMP")[:30] + b"\xff" * 100,
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 640 360\n",
            wav(0.1),
        ],
    )
    def test_other_files_are_not_images(self, content: bytes) -> None:
        with pytest.raises(NotMediaError):
            probe_image(io.BytesIO(content))

    def test_a_decompression_bomb_is_not_opened(self) -> None:
        head = image(kind="BMP", size=(1, 1))
        bomb = head[:18] + struct.pack("<ii", 60_000, 60_000) + head[26:]

        with pytest.raises(NotMediaError, match="sensible size"):
            probe_image(io.BytesIO(bomb))

    def test_the_file_stays_open(self) -> None:
        file = io.BytesIO(image())

        probe_image(file)

        assert not file.closed


class TestSounds:
    @pytest.mark.parametrize(
        "content",
        [
            wav(4.0),
            wav(4.0, rate=48_000, channels=2),
            wav_of_chunks((b"fmt ", EXTENSIBLE), (b"data", FOUR_SECONDS)),
            wav_of_chunks(
                (b"JUNK", b"odd"), (b"fmt ", PCM), (b"LIST", b"INFOodd"), (b"data", FOUR_SECONDS), (b"id3 ", b"x")
            ),
            # As ffmpeg writes into a pipe: the length is not known yet, and the largest one is announced.
            wav_of_chunks((b"fmt ", PCM), (b"data", FOUR_SECONDS), sizes={b"data": 0xFFFFFFFF}),
        ],
        ids=["pcm", "stereo", "extensible", "odd chunks", "endless"],
    )
    def test_the_length_of_a_wav(self, content: bytes) -> None:
        facts = probe_audio(io.BytesIO(content))

        assert (facts.format, facts.bytes) == ("WAV", len(content))
        assert facts.duration_s == pytest.approx(4.0, abs=0.01)

    @pytest.mark.parametrize(
        "content",
        [
            mp3(6.0),
            mp3(6.0, {"write_xing": "0"}),
            mp3(6.0, {"write_xing": "0", "id3v2_version": "0"}, {"b": "320k"}),
            mp3(6.0, {}, {"flags": "+qscale", "global_quality": "472"}),
            mp3(6.0, {"write_xing": "0"}, {"flags": "+qscale", "global_quality": "472"}),
            id3(300_000) + mp3(6.0, {"id3v2_version": "0"}),
            mp3(6.0, {"write_id3v1": "1"}),
        ],
        ids=["xing", "no xing", "bare 320k", "vbr", "vbr no xing", "large cover", "id3v1"],
    )
    def test_the_length_of_an_mp3(self, content: bytes) -> None:
        facts = probe_audio(io.BytesIO(content))

        assert (facts.format, facts.bytes) == ("MP3", len(content))
        assert facts.duration_s == pytest.approx(6.0, abs=0.2)

    def test_of_a_long_wav_little_is_read(self) -> None:
        counted = Counted(wav(120.0))

        probe_audio(counted.file)

        assert counted.fetched <= 2 * BLOCK_BYTES

    def test_of_a_tag_with_a_large_cover_little_is_read(self) -> None:
        sound = mp3(6.0, {"write_xing": "0", "id3v2_version": "0"})
        counted = Counted(id3(1_500_000) + sound)

        probe_audio(counted.file)

        assert counted.fetched <= len(sound) + 3 * BLOCK_BYTES

    def test_other_sounds_are_named(self) -> None:
        target = io.BytesIO()
        with av.open(target, "w", format="flac") as file:
            stream = file.add_stream("flac", rate=16_000, layout="mono")
            frame = av.AudioFrame(format="s16", layout="mono", samples=4096)
            frame.sample_rate = 16_000
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))

        assert probe_audio(io.BytesIO(target.getvalue())).format == "FLAC"

    @pytest.mark.parametrize(
        "content",
        [b"no sound", image(), id3(10) + b"nor this" * 50, wav(0.1)[:30], b"RIFF\x04\0\0\0WAVEfmt \x02\0\0\0ab"],
    )
    def test_other_files_are_not_sounds(self, content: bytes) -> None:
        with pytest.raises(NotMediaError):
            probe_audio(io.BytesIO(content))

    def test_a_file_that_cannot_be_read_is_not_reported_as_broken(self) -> None:
        def fetch(start: int, stop: int) -> bytes:
            if start:
                raise MediaUnreadable("gone")
            return id3(200_000)[start:stop]

        with pytest.raises(MediaUnreadable, match="gone"):
            probe_audio(BoundedFile(fetch, 400_000).buffered())


class TestClips:
    @pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
    def test_a_clip_tells_length_and_size(self, mp4: Callable[..., bytes], options: dict[str, str]) -> None:
        content = mp4(seconds=2.0, options=options)

        facts = probe_clip(io.BytesIO(content))

        assert facts.duration_s == pytest.approx(2.0, abs=0.05)
        assert (facts.width, facts.height, facts.bytes) == (320, 180, len(content))

    @pytest.mark.parametrize("content", [b"no clip", b"\x1aE\xdf\xa3webm", image(), wav(1.0)])
    def test_other_files_are_not_clips(self, content: bytes) -> None:
        with pytest.raises(NotMediaError, match="MP4 or MOV"):
            probe_clip(io.BytesIO(content))

    def test_an_incomplete_clip_is_reported(self, mp4: Callable[..., bytes]) -> None:
        content = mp4(seconds=2.0)

        with pytest.raises(NotMediaError):
            probe_clip(io.BytesIO(content[: len(content) // 2]))

    def test_an_old_quicktime_file_is_not_judged(self) -> None:
        with pytest.raises(OSError, match="old kind"):
            probe_clip(io.BytesIO(b"\0\0\0\x08wide\0\0\0\x08mdat"))


WHOLE = (
    *(image(kind=kind) for kind in ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")),
    wav(0.1),
    id3(300) + b"\xff\xfb\x90\x00" * 200,
    b"OggS" + bytes(200),
    b"fLaC" + bytes(200),
)


@given(
    content=st.sampled_from(WHOLE),
    cut=st.integers(min_value=0, max_value=2000),
    changes=st.dictionaries(st.integers(0, 200), st.integers(0, 255), max_size=8),
)
def test_any_bytes_give_facts_or_a_media_error(content: bytes, cut: int, changes: dict[int, int]) -> None:
    broken = bytearray(content)
    for place, value in changes.items():
        broken[place % len(broken)] = value
    for probe in (probe_image, probe_audio, probe_clip):
        counted = Counted(bytes(broken[: len(broken) - cut]))
        with contextlib.suppress(NotMediaError), warnings.catch_warnings(action="ignore"):
            probe(counted.file)
        assert counted.fetched <= MAX_BYTES
