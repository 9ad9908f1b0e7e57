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

import difflib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_wan.api.gateways import GatewayName
from airflow_wan.api.resolutions import sizes_of
from airflow_wan.api.rules import (
    MB,
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
# driving_audio, and no BMP for the first frame. Nobody says whether a first_clip is billed: all of it counts.
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
    billed_input_s=10,
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

# Both, wan2.7-r2v: 1 to 5 references; 2 to 10 s with a video among them. Alibaba: clips of 1 to 30 s; voices of 15 MB;
# the sum of the clips is billed, up to 5 s. APIYI: voices of 1 to 10 s. It speaks of the output's price only, and gets
# its own bill from Alibaba, so the input counts there too.
_WAN_REFERENCES = Count(("reference_image", "reference_video"), 1, 5)
_WAN27_R2V = Model(
    media=MediaRule((_WAN_REFERENCES, *_at_most_one_each("first_frame"))),
    parameters=_PARAMETERS_WITH_RATIO,
    voiced=_words("reference_image reference_video"),
    longest_with_video_s=10,
    billed_input_s=5,
    limits={
        "reference_image": ImageLimits(),
        "first_frame": ImageLimits(),
        "reference_video": ClipLimits(shortest_s=1, longest_s=30, widest_ratio=8),
        "reference_voice": AudioLimits(shortest_s=1, longest_s=10),
    },
)

# Alibaba, wan2.7-videoedit: 0 to 3 images (an older copy of the page says 4), by URL or oss:// only; prompt optional;
# duration 0 (as long as the source) or 2 to 10, which only cuts the source; input billed too. APIYI: 1 to 5 images,
# prompt required, only the output billed (the input counts here all the same, as for wan2.7-r2v); duration, ratio and
# audio_setting not documented, and no way to reach a local image but a data URI.
_WAN27_EDIT = Model(
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 0, 3))),
    parameters={
        **_PARAMETERS_WITH_RATIO,
        "duration": Integer(2, 10, also=0),
        "audio_setting": Choice(("auto", "origin")),
    },
    prompt_required=False,
    default_duration_s=None,
    duration_only_cuts=True,
    billed_input_s=10,
    limits={"video": ClipLimits(), "reference_image": ImageLimits(data_uri=False)},
)
_WAN27_EDIT_APIYI = replace(
    _WAN27_EDIT,
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 1, 5))),
    prompt_required=True,
    limits={"video": ClipLimits(), "reference_image": ImageLimits()},
    undocumented=_words("duration ratio audio_setting"),
)

# wan2.6. APIYI: "same endpoint and schema, only the model name changes". Alibaba, its SDK and a field test: the older
# body; prompts of up to 1500 characters, which is stated for t2v; sound tracks of 3 to 30 s; shot_type, which works
# only with prompt_extend; ten sizes. Only third parties' clients say that i2v-flash takes `audio`. Not documented:
# other limits of media, whether i2v needs a prompt, how much of the input of r2v is billed (both as for wan2.7), and
# whether APIYI passes on a voice and what Alibaba has for wan2.6 only. The two models for us-east-1 are Alibaba's.
_OLDER_PROMPT_CHARS = 1500
_OLDER_SOUND = AudioLimits(shortest_s=3)
_SHOTS: Mapping[str, Parameter] = {"shot_type": Choice(("single", "multi"))}
_SILENCE: Mapping[str, Parameter] = {"audio": Boolean()}
_WITH_SHOTS: Mapping[str, Parameter] = {**_PARAMETERS_WITH_RATIO, **_SHOTS}
_WAN26_T2V = Model(
    media=_NO_MEDIA,
    parameters={**_WITH_SHOTS, "size": Choice(sizes_of(RESOLUTIONS))},
    prompt_chars=_OLDER_PROMPT_CHARS,
    takes_audio_url=True,
    limits={"audio_url": _OLDER_SOUND},
    legacy=LegacyBody(takes_size=True),
)
_WAN26_T2V_APIYI = replace(_WAN26_T2V, parameters=_WITH_SHOTS, legacy=None, undocumented=_words("audio_url shot_type"))
# The `dashscope` SDK has audio_url in its legacy call.
_WAN26_I2V = Model(
    media=MediaRule(
        _at_most_one_each("first_frame driving_audio"),
        sets=(_words("first_frame"), _words("first_frame driving_audio")),
    ),
    parameters={**_PARAMETERS, **_SHOTS},
    prompt_chars=_OLDER_PROMPT_CHARS,
    prompt_required=False,
    limits={"driving_audio": _OLDER_SOUND},
    legacy=LegacyBody({"first_frame": "img_url", "driving_audio": "audio_url"}),
)
_WAN26_I2V_APIYI = replace(_WAN26_I2V, prompt_required=True, legacy=None, undocumented=_words("shot_type"))
_WAN26_I2V_FLASH = replace(_WAN26_I2V, parameters={**_WAN26_I2V.parameters, **_SILENCE})
_WAN26_I2V_FLASH_APIYI = replace(
    _WAN26_I2V_APIYI,
    parameters={**_WAN26_I2V_APIYI.parameters, **_SILENCE},
    undocumented=_words("shot_type audio"),
    documented=False,
)
_WAN26_R2V = Model(
    media=MediaRule((_WAN_REFERENCES, Count(("reference_video",), 0, 3))),
    parameters={**_WAN26_T2V.parameters, "duration": Integer(2, 10)},
    prompt_chars=_OLDER_PROMPT_CHARS,
    billed_input_s=5,
    legacy=LegacyBody(
        {"reference_image": "reference_urls", "reference_video": "reference_urls"},
        lists=_words("reference_urls"),
        takes_size=True,
    ),
)
_WAN26_R2V_APIYI = replace(
    _WAN27_R2V,
    parameters=_WITH_SHOTS,
    prompt_chars=_OLDER_PROMPT_CHARS,
    undocumented=_words("reference_voice shot_type"),
)
_WAN26_R2V_FLASH = replace(_WAN26_R2V, parameters={**_WAN26_R2V.parameters, **_SILENCE})
_WAN26_R2V_FLASH_APIYI = replace(
    _WAN26_R2V_APIYI,
    parameters={**_WAN26_R2V_APIYI.parameters, **_SILENCE},
    undocumented=_words("reference_voice shot_type audio"),
)

# wan2.5 and wan2.2: Alibaba's image-to-video page of 2025, and copies of its other pages of that time. Prompts of 1500
# (some copies: 2000) and 800 characters; images of 360 to 2000 px and 10 MB; sound, and 5 or 10 s, with wan2.5 only.
# Whether their pictures may be as wide as one likes is not documented. APIYI documents none of them.
_OLDER_IMAGE = ImageLimits(shortest_side_px=360, longest_side_px=2000, widest_ratio=None, largest_bytes=10 * MB)
_WAN22_PROMPT_CHARS = 800
_ALL_RESOLUTIONS = ("480P", *RESOLUTIONS)


def _older(model: Model, resolutions: tuple[str, ...], duration: Integer) -> Model:
    parameters = {**_without(model.parameters, "shot_type"), "resolution": Choice(resolutions), "duration": duration}
    if "size" in parameters:
        parameters["size"] = Choice(sizes_of(resolutions))
    limits = {**model.limits, "first_frame": _OLDER_IMAGE} if "first_frame" in model.media.types else model.limits
    return replace(model, parameters=parameters, limits=limits)


_FIVE_OR_TEN_S, _FIVE_S = Integer(5, 5, also=10), Integer(5, 5)
_WAN25_T2V = _older(_WAN26_T2V, _ALL_RESOLUTIONS, _FIVE_OR_TEN_S)
_WAN25_T2V = replace(_WAN25_T2V, parameters={**_WAN25_T2V.parameters, **_SILENCE})
_WAN25_I2V = _older(_WAN26_I2V_FLASH, _ALL_RESOLUTIONS, _FIVE_OR_TEN_S)
_WAN22_T2V = replace(
    _older(_WAN26_T2V, ("480P", "1080P"), _FIVE_S), prompt_chars=_WAN22_PROMPT_CHARS, takes_audio_url=False, limits={}
)
_WAN22_I2V_FLASH = Model(
    media=MediaRule(_at_most_one_each("first_frame"), sets=(_words("first_frame"),)),
    parameters={**_PARAMETERS, "resolution": Choice(_ALL_RESOLUTIONS), "duration": _FIVE_S},
    prompt_chars=_WAN22_PROMPT_CHARS,
    prompt_required=False,
    limits={"first_frame": _OLDER_IMAGE},
    legacy=LegacyBody({"first_frame": "img_url"}),
    notes={"driving_audio": "wan2.2 makes silent videos; use wan2.7-i2v for speech"},
)
_WAN22_I2V_PLUS = replace(
    _WAN22_I2V_FLASH, parameters={**_WAN22_I2V_FLASH.parameters, "resolution": Choice(("480P", "1080P"))}
)
# The SDK and Alibaba's page of first and last frames: its own fields, at a path of its own.
_WAN22_KF2V = replace(
    _WAN22_I2V_FLASH,
    media=MediaRule(_at_most_one_each("first_frame last_frame"), sets=(_words("first_frame last_frame"),)),
    limits={"first_frame": _OLDER_IMAGE, "last_frame": _OLDER_IMAGE},
    legacy=LegacyBody({"first_frame": "first_frame_url", "last_frame": "last_frame_url"}),
)

# HappyHorse. Alibaba: 3 to 15 s, no prompt_extend and no negative_prompt; nine ratios; also 480P; prompts of 5000
# characters, of which a Chinese one counts double (stated for i2v, where a prompt is optional). APIYI: 2 to 15 s,
# prompt_extend, a prompt that is required, and a ratio, for which Wan's values are assumed. The watermark is on by
# default at Alibaba and off at APIYI, whose own models are Alibaba's: it is always sent.
_HORSE_IMAGE = ImageLimits(
    formats=("JPEG", "PNG", "WEBP"),
    shortest_side_px=300,
    longest_side_px=None,
    widest_ratio=2.5,
    png_alpha=True,
)
_HORSE_REFERENCE = replace(_HORSE_IMAGE, shortest_side_px=400, widest_ratio=None)
_HORSE_T2V = Model(
    media=_NO_MEDIA,
    parameters={
        **_without(_PARAMETERS, "prompt_extend"),
        "resolution": Choice(_ALL_RESOLUTIONS),
        "duration": Integer(3, 15),
        "ratio": Choice((*RATIOS, "21:9", "9:21", "4:5", "5:4")),
    },
    chinese_chars=2,
    negative_prompt_chars=0,
    sent_by_default={"watermark": False},
)
_HORSE_T2V_APIYI = Model(
    media=_NO_MEDIA, parameters=_PARAMETERS_WITH_RATIO, chinese_chars=2, sent_by_default={"watermark": False}
)


def _horse_i2v(t2v: Model, *, prompt_required: bool) -> Model:
    return replace(
        t2v,
        media=MediaRule(_at_most_one_each("first_frame"), sets=(_words("first_frame"),)),
        parameters=_without(t2v.parameters, "ratio"),
        prompt_required=prompt_required,
        limits={"first_frame": _HORSE_IMAGE},
        notes={"driving_audio": "HappyHorse image-to-video has no lip-sync; use wan2.7-i2v for that"},
    )


def _horse_r2v(t2v: Model) -> Model:
    return replace(
        t2v, media=MediaRule((Count(("reference_image",), 1, 9),)), limits={"reference_image": _HORSE_REFERENCE}
    )


# Alibaba: a video of 3 to 60 s, 0 to 5 images, output of at most 15 s; only resolution, watermark, audio_setting and
# seed. APIYI: 1 to 5 images; its list of parameters was not recorded. Nobody says how much of the input is billed: all
# of it counts. The video must have more than 8 frames a second, which is not measured here.
_HORSE_EDIT = Model(
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 0, 5))),
    parameters={
        **{name: _HORSE_T2V.parameters[name] for name in ("resolution", "watermark", "seed")},
        "audio_setting": Choice(("auto", "origin")),
    },
    chinese_chars=2,
    negative_prompt_chars=0,
    default_duration_s=None,
    longest_from_source_s=15,
    billed_input_s=60,
    sent_by_default={"watermark": False},
    limits={
        "video": ClipLimits(shortest_s=3, longest_s=60, shortest_side_px=360, longest_side_px=4096, widest_ratio=2.5),
        "reference_image": _HORSE_IMAGE,
    },
)
_HORSE_EDIT_APIYI = replace(
    _HORSE_EDIT,
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 1, 5))),
    parameters={**_HORSE_EDIT.parameters, "resolution": Choice(RESOLUTIONS)},
    undocumented=_words("audio_setting"),
)

# wan3.0. Alibaba's API reference (edition of October 2026): the media decide on the mode. APIYI's pages agree. The
# whole input is billed (a sister gateway's page and three price tables): at most the 15 s that clips may last together.
# A video must have at least 16 frames a second, which is not measured here.
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
        needs={"last_frame": "first_frame"},
    ),
    parameters={
        **_PARAMETERS,
        "resolution": Choice(_ALL_RESOLUTIONS),
        "ratio": Choice(("adaptive", "21:9", *RATIOS)),
        "duration": Integer(2, 30, also=-1),
        "seed": Integer(0, 2_147_483_647, also=-1),
        "audio": Boolean(),
    },
    prompt_chars=20_000,
    prompt_required=False,
    negative_prompt_chars=0,
    longest_together_s={"reference_video": 15, "reference_audio": 15},
    longest_in_all_s=30,
    billed_input_s=15,
    https_only=True,
    rewritten=_words("file link"),
    limits={
        "first_frame": ImageLimits(),
        "last_frame": ImageLimits(),
        "reference_image": ImageLimits(),
        "reference_video": ClipLimits(shortest_s=1, longest_s=15, widest_ratio=8),
        "reference_audio": AudioLimits(shortest_s=1, longest_s=15),
    },
)


def _row(*, dashscope: Model, apiyi: Model) -> Mapping[GatewayName, Model]:
    return {GatewayName.DASHSCOPE: dashscope, GatewayName.APIYI: apiyi}


def _only_alibaba(model: Model) -> Mapping[GatewayName, Model]:
    """Return the row of a model that APIYI does not document; there it is sent as Alibaba documents it."""
    return _row(dashscope=model, apiyi=replace(model, documented=False))


_HORSE_T2V_ROW = _row(dashscope=_HORSE_T2V, apiyi=_HORSE_T2V_APIYI)
_HORSE_I2V_ROW = _row(
    dashscope=_horse_i2v(_HORSE_T2V, prompt_required=False), apiyi=_horse_i2v(_HORSE_T2V_APIYI, prompt_required=True)
)
_HORSE_R2V_ROW = _row(dashscope=_horse_r2v(_HORSE_T2V), apiyi=_horse_r2v(_HORSE_T2V_APIYI))

_CATALOGUE: Mapping[str, Mapping[GatewayName, Model]] = {
    "wan2.7-t2v": _row(dashscope=_WAN27_T2V, apiyi=_WAN27_T2V_APIYI),
    "wan2.7-i2v": _row(dashscope=_WAN27_I2V, apiyi=_WAN27_I2V_APIYI),
    "wan2.7-r2v": _row(dashscope=_WAN27_R2V, apiyi=_WAN27_R2V),
    "wan2.7-videoedit": _row(dashscope=_WAN27_EDIT, apiyi=_WAN27_EDIT_APIYI),
    "wan2.6-t2v": _row(dashscope=_WAN26_T2V, apiyi=_WAN26_T2V_APIYI),
    "wan2.6-i2v": _row(dashscope=_WAN26_I2V, apiyi=_WAN26_I2V_APIYI),
    "wan2.6-i2v-flash": _row(dashscope=_WAN26_I2V_FLASH, apiyi=_WAN26_I2V_FLASH_APIYI),
    "wan2.6-r2v": _row(dashscope=_WAN26_R2V, apiyi=_WAN26_R2V_APIYI),
    "wan2.6-r2v-flash": _row(dashscope=_WAN26_R2V_FLASH, apiyi=_WAN26_R2V_FLASH_APIYI),
    "wan2.6-t2v-us": _only_alibaba(_WAN26_T2V),
    "wan2.6-i2v-us": _only_alibaba(_WAN26_I2V),
    "wan2.5-t2v-preview": _only_alibaba(_WAN25_T2V),
    "wan2.5-i2v-preview": _only_alibaba(_WAN25_I2V),
    "wan2.2-t2v-plus": _only_alibaba(_WAN22_T2V),
    "wan2.2-i2v-flash": _only_alibaba(_WAN22_I2V_FLASH),
    "wan2.2-i2v-plus": _only_alibaba(_WAN22_I2V_PLUS),
    "wan2.2-kf2v-flash": _only_alibaba(_WAN22_KF2V),
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

_LONGEST_MODEL_ID = 100

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


def nearest_model_id(model_id: str) -> str | None:
    """Return the model id of the catalogue that an author may have meant, or None if none is near."""
    written = {_without_punctuation(known): known for known in _CATALOGUE}
    near = difflib.get_close_matches(_without_punctuation(family_of(model_id)), written, n=1, cutoff=0.75)
    return written[near[0]] if near else None


def _without_punctuation(model_id: str) -> str:
    """Return what makes up a model id, without the name of its maker, which some gateways put before it."""
    return re.sub(r"[\W_]", "", model_id.rpartition("/")[2][:_LONGEST_MODEL_ID]).lower()
