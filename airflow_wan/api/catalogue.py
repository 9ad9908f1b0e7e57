"""The catalogue: what each model takes at each gateway, in one table, with the source of every figure beside it.

To add a model:

1. Write its `Model` for each gateway, with a comment that names the source, and add both to ``_CATALOGUE``. Start from
   the row of a similar model and state only what differs (``replace``). `Model` explains every field.
2. Add it to the emulator's own table (emulator/catalogue.py), from the documentation and not from here: the contract
   tests find errors of either table by comparing the two.
3. Add its id to ``PLAINEST_MEDIA`` in tests/contract/test_catalogue.py, with cases for what is special about it.

A test that fails says what is missing. A model id that is not in the table works too: its request is sent as given,
with a warning.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_wan.api.gateways import GatewayName
from airflow_wan.api.rules import (
    AudioLimits,
    Boolean,
    Choice,
    ClipLimits,
    Count,
    ImageLimits,
    Integer,
    LegacyBody,
    MediaRule,
    Model,
    Parameter,
    Pattern,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4")
RESOLUTIONS = ("720P", "1080P")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _at_most_one_each(media_types: str) -> tuple[Count, ...]:
    return tuple(Count((media_type,), 0, 1) for media_type in media_types.split())


def _without(parameters: Mapping[str, Parameter], name: str) -> dict[str, Parameter]:
    return {other: rule for other, rule in parameters.items() if other != name}


# --------------------------------------------------------------------------------------------------------------------
# Sources: "Alibaba" is Model Studio's API reference, which describes DashScope; "APIYI" is docs.apiyi.com. A constant
# without a gateway in its name describes DashScope; APIYI's row states only what APIYI documents differently.

# Both gateways, for every Wan model.
_PARAMETERS: Mapping[str, Parameter] = {
    "resolution": Choice(RESOLUTIONS),
    "duration": Integer(2, 15),
    "prompt_extend": Boolean(),
    "watermark": Boolean(),
    "seed": Integer(0, 2_147_483_647),
}
_PARAMETERS_WITH_RATIO: Mapping[str, Parameter] = {**_PARAMETERS, "ratio": Choice(RATIOS)}
_NO_MEDIA = MediaRule()

# Alibaba, wan2.7-t2v: audio_url of 2 to 30 s and 15 MB. APIYI documents no audio_url.
_WAN27_T2V = Model(
    media=_NO_MEDIA, parameters=_PARAMETERS_WITH_RATIO, takes_audio_url=True, limits={"audio_url": AudioLimits()}
)
_WAN27_T2V_APIYI = replace(_WAN27_T2V, undocumented=_words("audio_url"))

# Alibaba, wan2.7-i2v: six combinations of media; prompt optional. APIYI: prompt required, only first_frame and
# driving_audio, and no BMP for the first frame.
_WAN27_I2V = Model(
    media=MediaRule(
        _at_most_one_each("first_frame last_frame driving_audio first_clip"),
        sets=(
            _words("first_frame"),
            _words("first_frame driving_audio"),
            _words("first_frame last_frame"),
            _words("first_frame last_frame driving_audio"),
            _words("first_clip"),
            _words("first_clip last_frame"),
        ),
    ),
    parameters=_PARAMETERS,
    prompt_required=False,
    limits={
        "first_frame": ImageLimits(),
        "last_frame": ImageLimits(),
        "driving_audio": AudioLimits(),
        "first_clip": ClipLimits(),
    },
)
_WAN27_I2V_APIYI = replace(
    _WAN27_I2V,
    prompt_required=True,
    limits={**_WAN27_I2V.limits, "first_frame": ImageLimits(formats=("JPEG", "PNG", "WEBP"))},
    undocumented=_words("last_frame first_clip"),
)

# Both, wan2.7-r2v: 1 to 5 references; 2 to 10 s with a video among them. APIYI: voices of 1 to 10 s. Alibaba bills up
# to 5 s of input video, of all clips together; APIYI mentions the output only. No limits of images and videos were
# found.
_WAN_REFERENCES = Count(("reference_image", "reference_video"), 1, 5)
_WAN27_R2V = Model(
    media=MediaRule((_WAN_REFERENCES, *_at_most_one_each("first_frame"))),
    parameters=_PARAMETERS_WITH_RATIO,
    voiced=_words("reference_image reference_video"),
    longest_with_video_s=10,
    billed_input_s=5,
    limits={"reference_voice": AudioLimits(shortest_s=1, longest_s=10, largest_bytes=None)},
)
_WAN27_R2V_APIYI = replace(_WAN27_R2V, billed_input_s=0)

# Alibaba, wan2.7-videoedit: 0 to 4 images, prompt optional, duration 0 (as long as the source) or 2 to 10, input billed
# too. APIYI: 1 to 5 images, prompt required, only the output billed; duration, ratio and audio_setting not documented.
_WAN27_EDIT = Model(
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 0, 4))),
    parameters={
        **_PARAMETERS_WITH_RATIO,
        "duration": Integer(2, 10, also=0),
        "audio_setting": Choice(("auto", "origin")),
    },
    prompt_required=False,
    default_duration_s=None,
    billed_input_s=10,
    limits={
        "video": ClipLimits(),
        "reference_image": ImageLimits(shortest_side_px=None, longest_side_px=None, widest_ratio=None, png_alpha=True),
    },
)
_WAN27_EDIT_APIYI = replace(
    _WAN27_EDIT,
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 1, 5))),
    prompt_required=True,
    billed_input_s=0,
    undocumented=_words("duration ratio audio_setting"),
)

# wan2.6. APIYI: "same endpoint and schema, only the model name changes". Alibaba, its SDK and a field test: the older
# body; prompts of up to 1500 characters, which is stated for t2v. Not documented: limits of media, whether i2v needs a
# prompt, whether the input of r2v is billed (both as for wan2.7), and whether APIYI passes on a voice and what Alibaba
# has for wan2.6 only.
_WAN26_PROMPT_CHARS = 1500
_WITH_SHOTS: Mapping[str, Parameter] = {**_PARAMETERS_WITH_RATIO, "shot_type": Choice(("single", "multi"))}
_WITH_SIZE: Mapping[str, Parameter] = {**_WITH_SHOTS, "size": Pattern(r"\d{3,4}\*\d{3,4}", "1280*720")}
_WAN26_T2V = Model(
    media=_NO_MEDIA,
    parameters=_WITH_SIZE,
    prompt_chars=_WAN26_PROMPT_CHARS,
    takes_audio_url=True,
    legacy=LegacyBody(takes_size=True),
)
_WAN26_T2V_APIYI = replace(_WAN26_T2V, parameters=_WITH_SHOTS, legacy=None, undocumented=_words("audio_url shot_type"))
# The `dashscope` SDK has audio_url in its legacy call.
_WAN26_I2V = Model(
    media=MediaRule(
        _at_most_one_each("first_frame driving_audio"),
        sets=(_words("first_frame"), _words("first_frame driving_audio")),
    ),
    parameters=_PARAMETERS,
    prompt_chars=_WAN26_PROMPT_CHARS,
    prompt_required=False,
    legacy=LegacyBody({"first_frame": "img_url", "driving_audio": "audio_url"}),
)
_WAN26_I2V_APIYI = replace(_WAN26_I2V, prompt_required=True, legacy=None)
_WAN26_R2V = Model(
    media=MediaRule((_WAN_REFERENCES, Count(("reference_video",), 0, 3))),
    parameters={**_WITH_SIZE, "duration": Integer(2, 10)},
    prompt_chars=_WAN26_PROMPT_CHARS,
    billed_input_s=5,
    legacy=LegacyBody(
        {"reference_image": "reference_urls", "reference_video": "reference_urls"},
        lists=_words("reference_urls"),
        takes_size=True,
    ),
)
_WAN26_R2V_APIYI = replace(
    _WAN27_R2V_APIYI,
    parameters=_WITH_SHOTS,
    prompt_chars=_WAN26_PROMPT_CHARS,
    undocumented=_words("reference_voice shot_type"),
)
_WAN26_R2V_FLASH = replace(_WAN26_R2V, parameters={**_WAN26_R2V.parameters, "audio": Boolean()})
_WAN26_R2V_FLASH_APIYI = replace(
    _WAN26_R2V_APIYI,
    parameters={**_WAN26_R2V_APIYI.parameters, "audio": Boolean()},
    undocumented=_words("reference_voice shot_type audio"),
)

# HappyHorse. Alibaba: 3 to 15 s, no prompt_extend and no negative_prompt, nine ratios (not listed), images of 400 px
# and more and 20 MB. APIYI: 2 to 15 s, prompt_extend, and a ratio, for which Wan's values are assumed. Nobody states
# the longest prompt; Wan's is assumed.
_HORSE_IMAGE = ImageLimits(
    formats=("JPEG", "PNG", "WEBP"),
    shortest_side_px=400,
    longest_side_px=None,
    widest_ratio=None,
    png_alpha=True,
)
_HORSE_PARAMETERS: Mapping[str, Parameter] = {
    **_without(_PARAMETERS, "prompt_extend"),
    "duration": Integer(3, 15),
    "ratio": Pattern(r"\d{1,2}:\d{1,2}", "16:9"),
}
_HORSE_T2V = Model(media=_NO_MEDIA, parameters=_HORSE_PARAMETERS, negative_prompt_chars=0)
_HORSE_T2V_APIYI = Model(media=_NO_MEDIA, parameters=_PARAMETERS_WITH_RATIO)


def _horse_i2v(t2v: Model) -> Model:
    return replace(
        t2v,
        media=MediaRule(_at_most_one_each("first_frame"), sets=(_words("first_frame"),)),
        parameters=_without(t2v.parameters, "ratio"),
        limits={"first_frame": _HORSE_IMAGE},
        notes={"driving_audio": "HappyHorse image-to-video has no lip-sync; use wan2.7-i2v for that"},
    )


def _horse_r2v(t2v: Model) -> Model:
    return replace(t2v, media=MediaRule((Count(("reference_image",), 1, 9),)), limits={"reference_image": _HORSE_IMAGE})


# Alibaba: a video of 3 to 60 s, 0 to 5 images, output of at most 15 s; only resolution, watermark, audio_setting and
# seed. APIYI: 1 to 5 images; its list of parameters was not recorded. That Alibaba bills the input is assumed from
# wan2.7-videoedit.
_HORSE_EDIT = Model(
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 0, 5))),
    parameters={
        **{name: _PARAMETERS[name] for name in ("resolution", "watermark", "seed")},
        "audio_setting": Choice(("auto", "origin")),
    },
    negative_prompt_chars=0,
    default_duration_s=None,
    longest_from_source_s=15,
    billed_input_s=15,
    limits={
        "video": ClipLimits(
            shortest_s=3, longest_s=60, shortest_side_px=None, longest_side_px=None, largest_bytes=None
        ),
        "reference_image": _HORSE_IMAGE,
    },
)
_HORSE_EDIT_APIYI = replace(
    _HORSE_EDIT,
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 1, 5))),
    billed_input_s=0,
    undocumented=_words("audio_setting"),
)

# wan3.0. Third parties' copies of Alibaba's figures, and APIYI's pages: the media decide on the mode. Nobody says how
# much of the input is billed; input and output together are at most 30 s. The sources disagree about prompt_extend.
_WAN30 = Model(
    media=MediaRule(
        (
            *_at_most_one_each("first_frame last_frame"),
            Count(("reference_image",), 0, 10),
            Count(("reference_video",), 0, 5),
            Count(("reference_audio",), 0, 5),
            Count(("file", "link"), 0, 1),
        ),
        never_together=(
            _words("first_frame last_frame"),
            _words("reference_image reference_video reference_audio file link"),
        ),
    ),
    parameters={
        **_PARAMETERS,
        "resolution": Choice(("480P", *RESOLUTIONS)),
        "ratio": Choice(("adaptive", *RATIOS)),
        "duration": Integer(2, 30, also=-1),
        "audio": Boolean(),
        "enable_thinking": Boolean(),
    },
    prompt_chars=20_000,
    prompt_required=False,
    negative_prompt_chars=0,
    limits={
        "reference_video": ClipLimits(
            shortest_s=None, longest_s=15, shortest_side_px=None, longest_side_px=None, largest_bytes=None
        ),
        "reference_audio": AudioLimits(formats=(), shortest_s=None, longest_s=15, largest_bytes=None),
    },
)


def _row(*, dashscope: Model, apiyi: Model) -> Mapping[GatewayName, Model]:
    return {GatewayName.DASHSCOPE: dashscope, GatewayName.APIYI: apiyi}


_HORSE_T2V_ROW = _row(dashscope=_HORSE_T2V, apiyi=_HORSE_T2V_APIYI)
_HORSE_I2V_ROW = _row(dashscope=_horse_i2v(_HORSE_T2V), apiyi=_horse_i2v(_HORSE_T2V_APIYI))
_HORSE_R2V_ROW = _row(dashscope=_horse_r2v(_HORSE_T2V), apiyi=_horse_r2v(_HORSE_T2V_APIYI))

_CATALOGUE: Mapping[str, Mapping[GatewayName, Model]] = {
    "wan2.7-t2v": _row(dashscope=_WAN27_T2V, apiyi=_WAN27_T2V_APIYI),
    "wan2.7-i2v": _row(dashscope=_WAN27_I2V, apiyi=_WAN27_I2V_APIYI),
    "wan2.7-r2v": _row(dashscope=_WAN27_R2V, apiyi=_WAN27_R2V_APIYI),
    "wan2.7-videoedit": _row(dashscope=_WAN27_EDIT, apiyi=_WAN27_EDIT_APIYI),
    "wan2.6-t2v": _row(dashscope=_WAN26_T2V, apiyi=_WAN26_T2V_APIYI),
    "wan2.6-i2v": _row(dashscope=_WAN26_I2V, apiyi=_WAN26_I2V_APIYI),
    "wan2.6-i2v-flash": _row(dashscope=_WAN26_I2V, apiyi=replace(_WAN26_I2V_APIYI, documented=False)),
    "wan2.6-r2v": _row(dashscope=_WAN26_R2V, apiyi=_WAN26_R2V_APIYI),
    "wan2.6-r2v-flash": _row(dashscope=_WAN26_R2V_FLASH, apiyi=_WAN26_R2V_FLASH_APIYI),
    "happyhorse-1.1-t2v": _HORSE_T2V_ROW,
    "happyhorse-1.1-i2v": _HORSE_I2V_ROW,
    "happyhorse-1.1-r2v": _HORSE_R2V_ROW,
    "happyhorse-1.0-t2v": _HORSE_T2V_ROW,
    "happyhorse-1.0-i2v": _HORSE_I2V_ROW,
    "happyhorse-1.0-r2v": _HORSE_R2V_ROW,
    "happyhorse-1.0-video-edit": _row(dashscope=_HORSE_EDIT, apiyi=_HORSE_EDIT_APIYI),
    "wan3.0-video": _row(dashscope=_WAN30, apiyi=_WAN30),
    "wan3.0-video-prime": _row(dashscope=_WAN30, apiyi=_WAN30),
}

_SNAPSHOT_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def find_model(model_id: str, gateway: GatewayName) -> Model | None:
    """Return what a model takes at a gateway, or None if the catalogue does not know it.

    A dated snapshot (``wan2.7-i2v-2026-04-25``) takes what its family takes.
    """
    return _CATALOGUE.get(family_of(model_id), {}).get(gateway)


def family_of(model_id: str) -> str:
    """Return a model id without its snapshot date."""
    return _SNAPSHOT_DATE.sub("", model_id)


def known_model_ids() -> tuple[str, ...]:
    """Return every model id of the catalogue."""
    return tuple(_CATALOGUE)
