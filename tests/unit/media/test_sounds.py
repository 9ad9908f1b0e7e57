"""How long WAV and MPEG sounds last, made frame by frame: every one has a length that is known without a decoder."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.exceptions import NotMediaError
from airflow_wan.media.bounded import BoundedFile
from airflow_wan.media.probing import AudioFacts, probe_audio

if TYPE_CHECKING:
    from collections.abc import Sequence

# MPEG-1 and MPEG-2, layer III and II: head, bytes of a frame, and its seconds.
MP3_128K = b"\xff\xfb\x90\x00", 417, 1152 / 44_100
MP3_320K = b"\xff\xfb\xe0\x00", 1044, 1152 / 44_100
MP3_32K = b"\xff\xfb\x10\x00", 104, 1152 / 44_100
MP3_22K = b"\xff\xf3\x80\x00", 208, 576 / 22_050
MP2_128K = b"\xff\xfd\x80\x00", 417, 1152 / 44_100
XING = MP3_128K[0] + bytes(32) + b"Xing" + struct.pack(">III", 3, 100, 41_700)


def frames(*kinds: tuple[bytes, int, float]) -> bytes:
    return b"".join(head + bytes(length - len(head)) for head, length, _ in kinds)


def adts(count: int, length: int = 371) -> bytes:
    """Frames of AAC at 44.1 kHz."""
    head = bytes([0xFF, 0xF1, 0x50, 0x80 | length >> 11, length >> 3 & 0xFF, (length & 7) << 5 | 0x1F, 0xFC])
    return (head + bytes(length - len(head))) * count


def id3(size: int, *, footer: bool = False) -> bytes:
    head = b"ID3\x04\x00" + bytes([0x10 if footer else 0, *(size >> shift & 0x7F for shift in (21, 14, 7, 0))])
    return head + b"\xff" * size + (b"3DI" + head[3:] if footer else b"")


def seconds(kinds: Sequence[tuple[bytes, int, float]]) -> float:
    return sum(length for _, _, length in kinds)


def probe(content: bytes) -> AudioFacts:
    return probe_audio(io.BytesIO(content))


VARIABLE = [MP3_320K] * 20 + [MP3_32K] * 400 + [MP3_128K] * 5


@pytest.mark.parametrize(
    ("content", "length"),
    [
        (frames(*VARIABLE), seconds(VARIABLE)),
        (frames(*reversed(VARIABLE)), seconds(VARIABLE)),
        (XING.ljust(417, b"\0") + frames(*[MP3_128K] * 300), 300 * MP3_128K[2]),
        (2 * (XING.ljust(417, b"\0") + frames(*[MP3_128K] * 100)), 201 * MP3_128K[2]),
        (2 * (id3(5000) + frames(*VARIABLE) + b"TAG".ljust(128, b"a")), 2 * seconds(VARIABLE)),
        (id3(20, footer=True) + id3(0) + frames(*VARIABLE), seconds(VARIABLE)),
        (frames(*[MP3_128K] * 100, *[MP3_22K] * 100), 100 * (MP3_128K[2] + MP3_22K[2])),
        (frames(*VARIABLE) + b"APETAGEX" + b"\xff\xfb\x90" * 30, seconds(VARIABLE)),
        (frames(*VARIABLE) + bytes(5000) + frames(*VARIABLE), 2 * seconds(VARIABLE)),
        (frames(*VARIABLE)[:-200], seconds(VARIABLE)),
        (b"\xff" * 100 + frames(*VARIABLE), seconds(VARIABLE)),
        (bytes(3000) + frames(*VARIABLE), seconds(VARIABLE)),
        (b"APETAGEX" + struct.pack("<II", 2000, 90) + bytes(2016) + frames(*VARIABLE), seconds(VARIABLE)),
        (frames(MP3_128K, MP3_128K), 2 * MP3_128K[2]),
    ],
    ids=[
        "loud first",
        "quiet first",
        "wrong list",
        "two with lists",
        "two with tags",
        "tag with a footer",
        "two rates",
        "tag at the end",
        "gap",
        "cut",
        "junk first",
        "zeros first",
        "tag of another kind first",
        "two frames",
    ],
)
def test_the_frames_of_an_mp3_are_counted(content: bytes, length: float) -> None:
    facts = probe(content)

    assert facts.format == "MP3"
    assert facts.duration_s == pytest.approx(length, abs=0.03)


@pytest.mark.parametrize(
    ("content", "name", "length"),
    [
        (frames(*[MP2_128K] * 200), "MP2", 200 * MP2_128K[2]),
        (id3(100) + frames(*[MP2_128K] * 200), "MP2", 200 * MP2_128K[2]),
        (adts(215), "AAC", 215 * 1024 / 44_100),
        (id3(300) + adts(215), "AAC", 215 * 1024 / 44_100),
    ],
)
def test_what_only_begins_like_an_mp3_is_called_by_its_name(content: bytes, name: str, length: float) -> None:
    assert probe(content) == AudioFacts(name, pytest.approx(length), len(content))


@pytest.mark.parametrize(("encoder", "container", "name"), [("mp2", "mp2", "MP2"), ("aac", "adts", "AAC")])
def test_what_ffmpeg_writes_is_called_by_its_name(encoder: str, container: str, name: str) -> None:
    target = io.BytesIO()
    with av.open(target, "w", format=container) as file:
        stream = file.add_stream(encoder, rate=44_100, layout="mono")
        for start in range(0, 132_300, 1024):
            frame = av.AudioFrame(format=stream.format.name, layout="mono", samples=1024)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate, frame.pts = 44_100, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))

    facts = probe(target.getvalue())

    assert facts.format == name
    assert facts.duration_s == pytest.approx(3.0, abs=0.1)


def test_a_sound_that_is_too_large_to_be_counted_is_judged_by_its_part() -> None:
    content = frames(*VARIABLE * 200)

    facts = probe_audio(BoundedFile(lambda start, stop: content[start:stop], len(content), 2 * 1024 * 1024).buffered())

    assert facts.duration_s == pytest.approx(seconds(VARIABLE * 200), rel=0.02)


def test_a_sound_that_cannot_be_read_far_has_no_known_length() -> None:
    content = frames(*VARIABLE * 200)

    facts = probe_audio(BoundedFile(lambda start, stop: content[start:stop], len(content), 128 * 1024).buffered())

    assert facts == AudioFacts("MP3", None, len(content))


@given(st.binary(max_size=300), st.integers(1, 5000))
def test_no_bytes_between_frames_take_long(junk: bytes, times: int) -> None:
    content = frames(*[MP3_128K] * 4) + junk * times

    assert probe(content).format == "MP3"


# WAV ------------------------------------------------------------------------------------------------------------------

PCM = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
SOUND = bytes(4 * 32_000)


def chunk(kind: bytes, body: bytes, announced: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(body) if announced is None else announced) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes, kind: bytes = b"RIFF", announced: int | None = None) -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return kind + struct.pack("<I", len(content) if announced is None else announced) + content


FMT = chunk(b"fmt ", PCM)


@pytest.mark.parametrize("announced", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFDC, 200_000])
def test_the_sound_of_a_stream_goes_on_to_the_end_of_the_file(announced: int) -> None:
    noisy = b"\x01\xf0" * 64_000

    for sound in (SOUND, noisy):
        content = riff(FMT, chunk(b"LIST", b"INFOodd"), chunk(b"data", sound, announced), announced=announced)
        assert probe(content).duration_s == pytest.approx(4.0)


@pytest.mark.parametrize(
    "content",
    [
        riff(FMT, chunk(b"data", SOUND), chunk(b"LIST", b"INFO")),
        riff(FMT, chunk(b"data", b""), chunk(b"data", SOUND)),
        riff(chunk(b"ds64", bytes(28)), FMT, chunk(b"data", SOUND, 0xFFFFFFFF), kind=b"RF64", announced=0xFFFFFFFF),
        riff(
            chunk(b"ds64", struct.pack("<QQQI", 0, len(SOUND), len(SOUND) // 2, 0)),
            FMT,
            chunk(b"data", SOUND, 0xFFFFFFFF),
            chunk(b"LIST", bytes(64_000)),
            kind=b"RF64",
            announced=0xFFFFFFFF,
        ),
        riff(FMT, chunk(b"LIST", b"INFOodd")[:-1], chunk(b"data", SOUND)),
        # A byte rate that is wrong; that of PCM follows from the other fields.
        riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16_000, 1, 2, 16)), chunk(b"data", SOUND)),
        # ADPCM, of which only the byte rate tells the length.
        riff(chunk(b"fmt ", struct.pack("<HHIIHH", 0x11, 1, 16_000, 8_000, 256, 4)), chunk(b"data", bytes(32_000))),
        # MP3 in a WAV, whose byte rate is as wrong as any.
        riff(
            chunk(b"fmt ", struct.pack("<HHIIHH", 0x55, 1, 44_100, 99, 1, 0)),
            chunk(b"data", frames(*[MP3_32K] * 110, *[MP3_320K] * 43)),
            chunk(b"LIST", b"INFO"),
        ),
        riff(chunk(b"fmt ", struct.pack("<HHIIHH", 7, 2, 8_000, 16_000, 2, 8)), chunk(b"data", bytes(64_000))),
    ],
    ids=[
        "chunk behind",
        "empty chunk before",
        "rf64",
        "rf64, chunk behind",
        "no padding",
        "wrong byte rate",
        "adpcm",
        "mp3",
        "mu-law",
    ],
)
def test_a_wav_is_measured_by_its_sound(content: bytes) -> None:
    assert probe(content) == AudioFacts("WAV", pytest.approx(4.0, abs=0.01), len(content))


def test_a_compressed_wav_that_does_not_tell_how_much_has_no_known_length() -> None:
    content = riff(chunk(b"fmt ", struct.pack("<HHIIHH", 2, 1, 16_000, 0, 256, 4)), chunk(b"data", SOUND))

    assert probe(content) == AudioFacts("WAV", None, len(content))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (riff(FMT, chunk(b"data", b"")), "sound in it"),
        (riff(FMT, chunk(b"data", b"", 0xFFFFFFFF)), "sound in it"),
        (riff(FMT, chunk(b"data", b""), chunk(b"LIST", b"INFO")), "sound in it"),
        (riff(FMT), "sound in it"),
        (riff(FMT, chunk(b"LIST", b"INFO")), "sound in it"),
        (riff(chunk(b"data", SOUND)), "readable header"),
        (riff(chunk(b"data", SOUND), FMT), "sound in it"),
        (riff(chunk(b"fmt ", PCM[:14]), chunk(b"data", SOUND)), "readable header"),
        (riff(chunk(b"fmt ", bytes(16)), chunk(b"data", SOUND)), "readable header"),
        (riff(*[chunk(b"JUNK", b"")] * 200, FMT, chunk(b"data", SOUND)), "readable header"),
    ],
    ids=range(10),
)
def test_a_wav_without_sound_or_without_a_format_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(NotMediaError, match=why):
        probe(content)
