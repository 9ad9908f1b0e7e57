"""The catalogue's figures, row by row as the reference has them, and what must hold for any row."""

from __future__ import annotations

from itertools import product

import pytest

from airflow_wan.api.catalogue import (
    MB,
    MEDIA_KINDS,
    RATIOS,
    RESOLUTIONS,
    SIZES,
    AudioLimits,
    ClipLimits,
    ImageLimits,
    MediaKind,
    Model,
    family_of,
    find_model,
    known_model_ids,
)
from airflow_wan.api.gateways import GatewayName

A, D = GatewayName.APIYI, GatewayName.DASHSCOPE
WAN3 = ("wan3.0-video", "wan3.0-video-prime")


def row(model: str, gateway: GatewayName) -> Model:
    found = find_model(model, gateway)
    assert found is not None
    return found


EVERY_ROW = [(model, gateway) for model in known_model_ids() for gateway in GatewayName]


# Prompt needed, longest prompt and negative prompt (characters); default and longest video, longest with a reference
# video, most of the input billed (s).
@pytest.mark.parametrize(
    ("model", "gateway", "figures"),
    [
        ("wan2.7-t2v", A, (True, 5000, 500, 5, 15, None, 0)),
        ("wan2.7-t2v", D, (True, 5000, 500, 5, 15, None, 0)),
        ("wan2.7-i2v", A, (True, 5000, 500, 5, 15, None, 0)),
        ("wan2.7-i2v", D, (False, 5000, 500, 5, 15, None, 0)),
        ("wan2.7-r2v", A, (True, 5000, 500, 5, 15, 10, 0)),
        ("wan2.7-r2v", D, (True, 5000, 500, 5, 15, 10, 5)),
        ("wan2.7-videoedit", A, (True, 5000, 500, None, 10, None, 0)),
        ("wan2.7-videoedit", D, (False, 5000, 500, None, 10, None, 10)),
        ("wan2.6-t2v", A, (True, 1500, 500, 5, 15, None, 0)),
        ("wan2.6-t2v", D, (True, 1500, 500, 5, 15, None, 0)),
        ("wan2.6-i2v", A, (True, 1500, 500, 5, 15, None, 0)),
        ("wan2.6-i2v", D, (False, 1500, 500, 5, 15, None, 0)),
        ("wan2.6-i2v-flash", A, (True, 1500, 500, 5, 15, None, 0)),
        ("wan2.6-i2v-flash", D, (False, 1500, 500, 5, 15, None, 0)),
        ("wan2.6-r2v", A, (True, 1500, 500, 5, 15, 10, 0)),
        ("wan2.6-r2v", D, (True, 1500, 500, 5, 10, None, 5)),
        ("wan2.6-r2v-flash", A, (True, 1500, 500, 5, 15, 10, 0)),
        ("wan2.6-r2v-flash", D, (True, 1500, 500, 5, 10, None, 5)),
        *((f"happyhorse-1.{n}-{m}", A, (True, 5000, 500, 5, 15, None, 0)) for n in "01" for m in ("t2v", "i2v", "r2v")),
        *((f"happyhorse-1.{n}-{m}", D, (True, 5000, 0, 5, 15, None, 0)) for n in "01" for m in ("t2v", "i2v", "r2v")),
        ("happyhorse-1.0-video-edit", A, (True, 5000, 0, None, 15, None, 0)),
        ("happyhorse-1.0-video-edit", D, (True, 5000, 0, None, 15, None, 15)),
        *((model, gateway, (False, 20_000, 0, 5, 30, None, 0)) for model in WAN3 for gateway in (A, D)),
    ],
)
def test_a_model_has_the_figures_of_the_reference(
    model: str, gateway: GatewayName, figures: tuple[float | None, ...]
) -> None:
    found = row(model, gateway)

    assert figures == (
        found.prompt_required,
        found.prompt_chars,
        found.negative_prompt_chars,
        found.default_seconds,
        found.longest_seconds,
        found.longest_with_video,
        found.billed_input_seconds,
    )


IMAGE_27 = ImageLimits(
    formats=("JPEG", "PNG", "BMP", "WEBP"),
    shortest_side_px=240,
    longest_side_px=8000,
    widest_ratio=8,
    largest_bytes=20 * MB,
    png_alpha=False,
)
SOUND_27 = AudioLimits(formats=("WAV", "MP3"), shortest_s=2, longest_s=30, largest_bytes=15 * MB)
CLIP_27 = ClipLimits(shortest_s=2, longest_s=10, shortest_side_px=240, longest_side_px=4096, largest_bytes=100 * MB)
HORSE_IMAGE = ImageLimits(
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
        ("wan2.7-r2v", A, "reference_voice", AudioLimits(("WAV", "MP3"), 1, 10, None)),
        ("wan2.7-r2v", D, "reference_image", None),
        ("wan2.7-r2v", D, "reference_video", None),
        ("wan2.7-videoedit", D, "video", CLIP_27),
        (
            "wan2.7-videoedit",
            D,
            "reference_image",
            ImageLimits(("JPEG", "PNG", "BMP", "WEBP"), None, None, None, 20 * MB, png_alpha=True),
        ),
        ("wan2.6-i2v", D, "first_frame", None),
        ("happyhorse-1.1-i2v", A, "first_frame", HORSE_IMAGE),
        ("happyhorse-1.0-r2v", D, "reference_image", HORSE_IMAGE),
        ("happyhorse-1.0-video-edit", D, "video", ClipLimits(3, 60, None, None, None)),
        ("happyhorse-1.0-video-edit", A, "reference_image", HORSE_IMAGE),
        ("wan3.0-video", A, "reference_video", ClipLimits(None, 15, None, None, None)),
        ("wan3.0-video-prime", D, "reference_audio", AudioLimits((), None, 15, None)),
        ("wan3.0-video", D, "first_frame", None),
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
def test_what_a_row_says_of_fields_is_of_fields_it_takes(model: str, gateway: GatewayName) -> None:
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
def test_a_limit_is_of_the_kind_of_its_file(model: str, gateway: GatewayName) -> None:
    kinds = {MediaKind.IMAGE: ImageLimits, MediaKind.AUDIO: AudioLimits, MediaKind.VIDEO: ClipLimits}

    for role, limits in row(model, gateway).limits.items():
        assert isinstance(limits, kinds[MEDIA_KINDS[role]])


def test_only_documents_and_pages_are_of_no_known_kind() -> None:
    types = {media_type for model, gateway in EVERY_ROW for media_type in row(model, gateway).media.types}

    assert types - MEDIA_KINDS.keys() == {"file", "link"}


def test_the_legacy_body_is_for_wan26_at_dashscope_and_has_a_field_for_every_media_type() -> None:
    legacy = {(model, gateway) for model, gateway in EVERY_ROW if row(model, gateway).legacy}

    assert legacy == {(model, D) for model in known_model_ids() if model.startswith("wan2.6-")}
    for model, gateway in legacy:
        found = row(model, gateway)
        assert found.legacy is not None
        assert found.legacy.fields.keys() == found.media.types
        assert found.legacy.takes_size == ("size" in found.parameters)


def test_only_one_model_is_undocumented_at_a_gateway() -> None:
    undocumented = [place for place in EVERY_ROW if not row(*place).documented]

    assert undocumented == [("wan2.6-i2v-flash", A)]


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
def test_an_id_that_is_nearly_one_has_no_row(model: str) -> None:
    assert find_model(model, A) is find_model(model, D) is None


def test_a_size_is_known_for_every_resolution_and_ratio_and_has_about_their_pixels() -> None:
    assert SIZES.keys() == set(product(RESOLUTIONS, RATIOS))
    for (tier, ratio), size in SIZES.items():
        width, height = map(int, size.split("*"))
        across, down = map(int, ratio.split(":"))
        assert width / height == pytest.approx(across / down, rel=0.025)
        assert width * height == pytest.approx({"720P": 1280 * 720, "1080P": 1920 * 1080}[tier], rel=0.025)
