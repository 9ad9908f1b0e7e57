"""The figures that no request shows, as the reference has them, and what must hold for every row of the catalogue.

Figures that a request shows (prompts, parameters, media) are in tests/contract/test_catalogue.py.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from itertools import product

import pytest

from airflow_wan.api.catalogue import RATIOS, RESOLUTIONS, family_of, find_model, known_model_ids
from airflow_wan.api.gateways import GatewayName
from airflow_wan.api.resolutions import SIZES, TIER_PIXELS
from airflow_wan.api.rules import MB, MEDIA_KINDS, AudioLimits, ClipLimits, ImageLimits, MediaKind, Model

A, D = GatewayName.APIYI, GatewayName.DASHSCOPE


def row(model: str, gateway: GatewayName) -> Model:
    found = find_model(model, gateway)
    assert found is not None
    return found


EVERY_ROW = [(model, gateway) for model in known_model_ids() for gateway in GatewayName]

# Default and longest duration, most of the input billed, in seconds; of the models and gateways that differ from USUAL.
USUAL = (5, 15, 0)
UNUSUAL = {
    ("wan2.7-i2v", A): (5, 15, 10),
    ("wan2.7-i2v", D): (5, 15, 10),
    ("wan2.7-r2v", A): (5, 15, 5),
    ("wan2.7-r2v", D): (5, 15, 5),
    ("wan2.7-videoedit", A): (None, 10, 10),
    ("wan2.7-videoedit", D): (None, 10, 10),
    ("wan2.6-r2v*", A): (5, 15, 5),
    ("wan2.6-r2v*", D): (5, 10, 5),
    ("wan2.5-*", A): (5, 10, 0),
    ("wan2.5-*", D): (5, 10, 0),
    ("wan2.2-*", A): (5, 5, 0),
    ("wan2.2-*", D): (5, 5, 0),
    ("happyhorse-1.0-video-edit", A): (None, 15, 60),
    ("happyhorse-1.0-video-edit", D): (None, 15, 60),
    ("wan3.0-video*", A): (5, 30, 15),
    ("wan3.0-video*", D): (5, 30, 15),
}


@pytest.mark.parametrize(("model", "gateway"), EVERY_ROW)
def test_a_model_has_the_durations_of_the_reference(model: str, gateway: GatewayName) -> None:
    found = row(model, gateway)
    expected = [
        figures for (pattern, where), figures in UNUSUAL.items() if where is gateway and fnmatch(model, pattern)
    ]

    assert [(found.default_duration_s, found.longest_duration_s, found.billed_input_s)] == (expected or [USUAL])


IMAGE_27 = ImageLimits(
    formats=("JPEG", "PNG", "BMP", "WEBP"),
    shortest_side_px=240,
    longest_side_px=8000,
    widest_ratio=8,
    largest_bytes=20 * MB,
    png_alpha=False,
)
SOUND_27 = AudioLimits(formats=("WAV", "MP3"), shortest_s=2, longest_s=30, largest_bytes=15 * MB)
SOUND_26 = AudioLimits(formats=("WAV", "MP3"), shortest_s=3, longest_s=30, largest_bytes=15 * MB)
CLIP_27 = ClipLimits(
    shortest_s=2,
    longest_s=10,
    shortest_side_px=240,
    longest_side_px=4096,
    widest_ratio=None,
    largest_bytes=100 * MB,
)
IMAGE_25 = ImageLimits(
    formats=("JPEG", "PNG", "BMP", "WEBP"),
    shortest_side_px=360,
    longest_side_px=2000,
    widest_ratio=None,
    largest_bytes=10 * MB,
)
HORSE_FRAME = ImageLimits(
    formats=("JPEG", "PNG", "WEBP"),
    shortest_side_px=300,
    longest_side_px=None,
    widest_ratio=2.5,
    largest_bytes=20 * MB,
    png_alpha=True,
)
HORSE_REFERENCE = ImageLimits(
    formats=("JPEG", "PNG", "WEBP"),
    shortest_side_px=400,
    longest_side_px=None,
    widest_ratio=None,
    largest_bytes=20 * MB,
    png_alpha=True,
)


@pytest.mark.parametrize(
    ("model", "gateway", "role", "limits"),
    [
        ("wan2.7-t2v", D, "audio_url", SOUND_27),
        ("wan2.7-i2v", D, "first_frame", IMAGE_27),
        ("wan2.7-i2v", D, "last_frame", IMAGE_27),
        ("wan2.7-i2v", A, "last_frame", IMAGE_27),
        ("wan2.7-i2v", D, "driving_audio", SOUND_27),
        ("wan2.7-i2v", A, "driving_audio", SOUND_27),
        ("wan2.7-i2v", D, "first_clip", CLIP_27),
        ("wan2.7-r2v", A, "reference_voice", AudioLimits(("WAV", "MP3"), 1, 10, 15 * MB)),
        ("wan2.7-r2v", D, "reference_image", IMAGE_27),
        ("wan2.7-r2v", D, "first_frame", IMAGE_27),
        ("wan2.7-r2v", D, "reference_video", ClipLimits(1, 30, 240, 4096, 8, 100 * MB)),
        ("wan2.7-videoedit", D, "video", CLIP_27),
        ("wan2.7-videoedit", D, "reference_image", replace(IMAGE_27, data_uri=False)),
        ("wan2.7-videoedit", A, "reference_image", IMAGE_27),
        ("wan2.6-i2v", D, "first_frame", None),
        ("wan2.6-i2v", D, "driving_audio", SOUND_26),
        ("wan2.6-t2v", D, "audio_url", SOUND_26),
        ("wan2.5-t2v-preview", D, "audio_url", SOUND_26),
        ("wan2.5-i2v-preview", D, "first_frame", IMAGE_25),
        ("wan2.2-kf2v-flash", D, "last_frame", IMAGE_25),
        ("happyhorse-1.1-i2v", A, "first_frame", HORSE_FRAME),
        ("happyhorse-1.0-r2v", D, "reference_image", HORSE_REFERENCE),
        ("happyhorse-1.0-video-edit", D, "video", ClipLimits(3, 60, 360, 4096, 2.5, 100 * MB)),
        ("happyhorse-1.0-video-edit", A, "reference_image", HORSE_FRAME),
        ("wan3.0-video", A, "reference_video", ClipLimits(1, 15, 240, 4096, 8, 100 * MB)),
        ("wan3.0-video-prime", D, "reference_audio", AudioLimits(("WAV", "MP3"), 1, 15, 15 * MB)),
        ("wan3.0-video", D, "first_frame", IMAGE_27),
        ("wan3.0-video", D, "reference_image", IMAGE_27),
    ],
)
def test_a_file_has_the_limits_of_the_reference(
    model: str, gateway: GatewayName, role: str, limits: ImageLimits | AudioLimits | ClipLimits | None
) -> None:
    assert row(model, gateway).limits.get(role) == limits


def test_apiyi_names_no_bmp_among_the_formats_of_a_first_frame() -> None:
    limits = row("wan2.7-i2v", A).limits["first_frame"]

    assert isinstance(limits, ImageLimits)
    assert limits.formats == ("JPEG", "PNG", "WEBP")


@pytest.mark.parametrize(("model", "gateway"), EVERY_ROW)
def test_a_row_has_limits_and_notes_only_for_fields_of_its_model(model: str, gateway: GatewayName) -> None:
    found = row(model, gateway)
    beside = ({"audio_url"} if found.takes_audio_url else set()) | ({"reference_voice"} if found.voiced else set())
    fields = found.media.types | beside

    assert found.voiced <= found.media.types
    assert found.limits.keys() <= fields
    assert found.undocumented <= fields | found.parameters.keys()
    assert not found.notes.keys() & found.media.types
    for combination in found.media.sets:
        assert combination <= found.media.types


@pytest.mark.parametrize(("model", "gateway"), EVERY_ROW)
def test_a_limit_fits_the_kind_of_its_file(model: str, gateway: GatewayName) -> None:
    kinds = {MediaKind.IMAGE: ImageLimits, MediaKind.AUDIO: AudioLimits, MediaKind.VIDEO: ClipLimits}

    for role, limits in row(model, gateway).limits.items():
        assert isinstance(limits, kinds[MEDIA_KINDS[role]])


def test_only_documents_and_pages_have_no_known_kind() -> None:
    types = {media_type for model, gateway in EVERY_ROW for media_type in row(model, gateway).media.types}

    assert types - MEDIA_KINDS.keys() == {"file", "link"}


def test_a_legacy_body_has_a_field_for_every_media_type() -> None:
    for model, gateway in EVERY_ROW:
        found = row(model, gateway)
        if found.legacy is not None:
            assert found.legacy.fields.keys() == found.media.types
            assert found.legacy.takes_size == ("size" in found.parameters)


@pytest.mark.parametrize(("model", "gateway"), EVERY_ROW)
def test_a_model_that_takes_videos_says_how_much_of_them_is_billed(model: str, gateway: GatewayName) -> None:
    found = row(model, gateway)
    videos = [media_type for media_type in found.media.types if MEDIA_KINDS.get(media_type) is MediaKind.VIDEO]

    assert (found.billed_input_s > 0) == bool(videos)
    assert found.default_duration_s is not None or found.longest_duration_s is not None


@pytest.mark.parametrize("gateway", list(GatewayName))
@pytest.mark.parametrize(
    ("snapshot", "family"),
    [
        ("wan2.7-t2v-2026-06-12", "wan2.7-t2v"),
        ("wan2.7-t2v-2026-04-25", "wan2.7-t2v"),
        ("wan2.7-i2v-2026-04-25", "wan2.7-i2v"),
        ("wan2.7-r2v-2026-06-12", "wan2.7-r2v"),
    ],
)
def test_a_dated_snapshot_has_the_row_of_its_family(snapshot: str, family: str, gateway: GatewayName) -> None:
    assert family_of(snapshot) == family
    assert find_model(snapshot, gateway) is find_model(family, gateway) is not None


@pytest.mark.parametrize("model", ["", "wan2.7", "wan2.7-i2v-20260425", "WAN2.7-I2V", "wan2.7-video-edit", "wan9-x2v"])
def test_a_misspelt_model_id_has_no_row(model: str) -> None:
    assert find_model(model, A) is find_model(model, D) is None


def test_every_resolution_and_ratio_has_a_size_of_about_that_area_and_ratio() -> None:
    assert SIZES.keys() == {*product(RESOLUTIONS, RATIOS), *product(["480P"], ["16:9", "9:16", "1:1"])}
    for (tier, ratio), size in SIZES.items():
        width, height = map(int, size.split("*"))
        across, down = map(int, ratio.split(":"))
        assert width / height == pytest.approx(across / down, rel=0.03)
        assert width * height == pytest.approx(TIER_PIXELS[tier], rel=0.06)
