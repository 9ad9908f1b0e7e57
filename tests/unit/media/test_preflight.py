"""The limits that preflight checks, and its messages."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from media_files import tone
from PIL import Image

from airflow_wan.api.media_items import MediaReference
from airflow_wan.api.rules import MB, AudioLimits, ClipLimits, ImageLimits
from airflow_wan.media import preflight
from airflow_wan.media.probing import AudioFacts, ClipFacts, ImageFacts

if TYPE_CHECKING:
    from airflow_wan.api.rules import MediaLimits
    from airflow_wan.media.probing import MediaFacts


def png(size: tuple[int, int] = (640, 360), mode: str = "RGB", kind: str = "PNG") -> bytes:
    target = io.BytesIO()
    Image.new(mode, size).save(target, kind)
    return target.getvalue()


def problems(role: str, content: bytes, limits: MediaLimits | None) -> list[str]:
    reference = MediaReference(role, "s3://b/file", limits)
    return list(preflight.measure(reference, "s3://b/file", io.BytesIO(content)).problems)


@pytest.mark.parametrize(
    ("role", "content", "limits"),
    [
        ("first_frame", png(), ImageLimits()),
        ("first_frame", png((240, 240)), ImageLimits()),
        ("first_frame", png((1920, 240)), ImageLimits()),
        ("first_frame", png(mode="RGBA", kind="WEBP"), ImageLimits()),
        ("first_frame", png(mode="RGBA"), ImageLimits(png_alpha=True)),
        ("first_frame", png((10, 10)), None),
        ("driving_audio", tone(2.0), AudioLimits()),
        ("driving_audio", tone(1.95), AudioLimits()),
        ("driving_audio", tone(30.05), AudioLimits()),
        ("link", b"a page", None),
    ],
)
def test_a_file_within_the_limits_passes(role: str, content: bytes, limits: MediaLimits | None) -> None:
    assert problems(role, content, limits) == []


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "a WebM"),
        (b"\x1aE\xdf\xa3\xa3B\x86\x81\x01B\x82\x88matroska", "a Matroska file"),
        (b"RIFF\0\0\0\0AVI LIST", "an AVI"),
        (b"G@\x11\x10".ljust(188, b"\xff") + b"G", "an MPEG transport stream"),
        (b"OggS\0\2" + bytes(50), "an Ogg file"),
        (tone(2.0), "a WAV"),
        (png(), "a PNG image"),
        (b"%PDF-1.7\n\x00", "a PDF"),
        (b"\xff\x0a" + bytes(50), "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "a JPEG XL image"),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_name(content: bytes, name: str) -> None:
    assert problems("video", content, ClipLimits()) == [f"video: s3://b/file is not an MP4 or MOV clip (it is {name})."]


@pytest.mark.parametrize(
    ("role", "content", "limits", "sentence"),
    [
        ("first_frame", png((239, 640)), ImageLimits(), "is 239x640 px; 240 to 8000 px a side are allowed."),
        ("first_frame", png((8001, 1100)), ImageLimits(), "is 8001x1100 px; 240 to 8000 px a side are allowed."),
        ("last_frame", png((2400, 240)), ImageLimits(), "is 2400x240 px, so 1:10.0; at most 1:8 is allowed."),
        ("first_frame", png(kind="GIF"), ImageLimits(), "is GIF; JPEG, PNG, BMP or WEBP is allowed."),
        (
            "first_frame",
            png(mode="RGBA"),
            ImageLimits(),
            "is a PNG with transparency (an alpha channel); only one without is allowed.",
        ),
        (
            "first_frame",
            png() + bytes(21 * MB),
            ImageLimits(),
            "has 21.0 MB; at most 20 MB are allowed.",
        ),
        (
            "first_frame",
            tone(1),
            ImageLimits(),
            "is not an image of a known format (it is a WAV); JPEG, PNG, BMP or WEBP is allowed.",
        ),
        ("first_frame", b"text", None, "is not an image of a known format (it holds text)."),
        ("driving_audio", tone(1.0), AudioLimits(), "lasts 1.00 s; 2 to 30 s are allowed."),
        ("driving_audio", tone(31.0), AudioLimits(), "lasts 31.00 s; 2 to 30 s are allowed."),
        (
            "driving_audio",
            png(),
            AudioLimits(),
            "is not a sound file of a known format (it is a PNG image); WAV or MP3 is allowed.",
        ),
    ],
)
def test_a_problem_names_the_role_the_measured_and_the_allowed_value(
    role: str, content: bytes, limits: MediaLimits | None, sentence: str
) -> None:
    assert problems(role, content, limits) == [f"{role}: s3://b/file {sentence}"]


def test_every_problem_of_a_file_is_reported() -> None:
    assert len(problems("first_frame", png((2000, 100), "RGBA"), ImageLimits())) == 3


@pytest.mark.parametrize(
    ("facts", "limits", "sentences"),
    [
        (ClipFacts(11.0, 640, 360, 5), ClipLimits(), ["lasts 11.00 s; 2 to 10 s are allowed"]),
        (ClipFacts(11.0, 640, 360, 5), ClipLimits(longest_s=None), []),
        (ClipFacts(1.0, 640, 360, 5), ClipLimits(longest_s=None), ["lasts 1.00 s; at least 2 s are allowed"]),
        (ClipFacts(61.0, 640, 360, 5), ClipLimits(None, 60.0), ["lasts 61.00 s; at most 60 s are allowed"]),
        (ClipFacts(None, None, None, 5), ClipLimits(), []),
        (ClipFacts(5.0, 5000, 360, 5), ClipLimits(), ["is 5000x360 px; 240 to 4096 px a side are allowed"]),
        (
            ClipFacts(5.0, 2600, 300, 5),
            ClipLimits(widest_ratio=8),
            ["is 2600x300 px, so 1:8.7; at most 1:8 is allowed"],
        ),
        (ClipFacts(5.0, 2600, 300, 5), ClipLimits(), []),
        (ClipFacts(5.0, 640, 360, 101 * MB), ClipLimits(), ["has 101.0 MB; at most 100 MB are allowed"]),
        (AudioFacts("FLAC", None, 5), AudioLimits(), ["is FLAC; WAV or MP3 is allowed"]),
        (AudioFacts("MP3", 5.0, 99 * MB), AudioLimits(largest_bytes=None), []),
        (ImageFacts("JPEG", 640, 360, has_alpha=False, bytes=5), ImageLimits(), []),
    ],
)
def test_undocumented_limits_are_not_checked(facts: MediaFacts, limits: MediaLimits, sentences: list[str]) -> None:
    assert list(preflight.violations(facts, limits)) == sentences


def test_facts_are_returned() -> None:
    reference: Any = MediaReference("driving_audio", "s3://b/file", AudioLimits())

    measured = preflight.measure(reference, "s3://b/file", io.BytesIO(tone(4.0)))

    assert measured.facts == AudioFacts("WAV", 4.0, len(tone(4.0)))
