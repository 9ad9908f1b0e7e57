from __future__ import annotations

import json
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.api.arguments import is_unset
from airflow_wan.api.catalogue import find_model, known_model_ids
from airflow_wan.api.gateways import APIYI, DASHSCOPE, Gateway, create_call
from airflow_wan.api.requests import VideoRequest, build_video_request
from airflow_wan.api.rules import Integer, MediaKind
from airflow_wan.exceptions import InvalidVideoRequest

IMAGE = "https://your-cdn.com/rap.png"
AUDIO = "https://your-cdn.com/rap.mp3"
CLIP = "https://your-cdn.com/clip.mp4"
VOICE = "https://your-cdn.com/voice.mp3"

SEED_PROMPT = "一个由喷漆所画成的少年从墙上活过来,演唱英文 rap,夜晚铁路桥下,电影级光影"
SEED_BODY: dict[str, object] = {
    "model": "wan2.7-i2v",
    "input": {
        "prompt": SEED_PROMPT,
        "media": [{"type": "first_frame", "url": IMAGE}, {"type": "driving_audio", "url": AUDIO}],
    },
    "parameters": {"resolution": "720P", "duration": 10, "prompt_extend": True, "watermark": True},
}


def item(media_type: str, url: str | None = None) -> dict[str, Any]:
    urls = {"driving_audio": AUDIO, "first_clip": CLIP, "reference_video": CLIP, "video": CLIP}
    return {"type": media_type, "url": url or urls.get(media_type, IMAGE)}


FIRST, LAST, SOUND = item("first_frame"), item("last_frame"), item("driving_audio")
FACE, SCENE = item("reference_image"), item("reference_video")
VOICED_FACE = FACE | {"reference_voice": VOICE}
EDIT = {"media": [item("video"), FACE]}


def build(**arguments: Any) -> VideoRequest:
    """Build the smallest good request, changed by the arguments."""
    good: dict[str, Any] = {
        "gateway": APIYI,
        "base_url": "https://api.apiyi.com",
        "model": "wan2.7-i2v",
        "prompt": "a kite",
        "media": [FIRST],
    }
    return build_video_request(**good | arguments)


def problems_of(**arguments: Any) -> list[str]:
    with pytest.raises(InvalidVideoRequest) as caught:
        build(**arguments)
    return caught.value.problems


# What is sent --------------------------------------------------------------------------------------------------------


def test_the_seed_request_is_the_seed_json_to_the_letter() -> None:
    request = build(
        prompt=SEED_PROMPT,
        media=[FIRST, SOUND],
        parameters={"resolution": "720P", "duration": 10, "prompt_extend": True, "watermark": True},
    )

    assert json.dumps(request.body) == json.dumps(SEED_BODY)
    assert request.warnings == ()


def test_an_argument_that_is_not_given_is_not_sent_except_the_resolution() -> None:
    request = build(parameters={"duration": None, "seed": "", "watermark": "None"}, negative_prompt="  ")

    assert request.body == {
        "model": "wan2.7-i2v",
        "input": {"prompt": "a kite", "media": [FIRST]},
        "parameters": {"resolution": "720P"},
    }


@pytest.mark.parametrize("unset", [None, "", "None"])
def test_a_resolution_is_always_sent(unset: str | None) -> None:
    assert build(parameters={"resolution": unset}).parameters == {"resolution": "720P"}
    assert build(parameters={"resolution": "1080P"}).parameters == {"resolution": "1080P"}


def test_the_negative_prompt_is_sent_in_the_input() -> None:
    assert build(negative_prompt="rain").body["input"]["negative_prompt"] == "rain"


def test_a_request_is_shown_without_urls() -> None:
    request = build(media=[FIRST, SOUND], parameters={"duration": 10})

    assert str(request) == "wan2.7-i2v, 720P, 10 s, first_frame + driving_audio"
    assert request.model == "wan2.7-i2v"
    assert request.prompt == "a kite"


def test_the_create_call_goes_to_the_documented_path_with_the_async_header(gateway: Gateway) -> None:
    call = create_call(gateway, SEED_BODY)

    prefix = "/wan" if gateway is APIYI else ""
    assert (call.method, call.path) == ("POST", f"{prefix}/api/v1/services/aigc/video-generation/video-synthesis")
    assert call.headers == {"X-DashScope-Async": "enable"}


def test_a_model_of_a_first_and_a_last_frame_has_a_path_of_its_own_at_dashscope() -> None:
    body = {"model": "wan2.2-kf2v-flash", "input": {}, "parameters": {}}

    assert create_call(DASHSCOPE, body).path == "/api/v1/services/aigc/image2video/video-synthesis"
    assert create_call(APIYI, body).path == APIYI.create_path


@pytest.mark.parametrize("text", [None, "", "  ", "None", " None "])
def test_none_and_what_a_template_renders_for_it_count_as_not_given(text: str | None) -> None:
    assert is_unset(text)


@pytest.mark.parametrize("value", [0, False, "0", "none of it", []])
def test_falsy_values_count_as_given(value: object) -> None:
    assert not is_unset(value)


# wan2.6 at DashScope needs the legacy body. The contract tests hold the bodies of all models to the reference.
@pytest.mark.parametrize(
    ("model", "arguments", "inputs", "parameters"),
    [
        ("wan2.6-t2v", {"parameters": {"resolution": "1080P", "ratio": "1:1"}}, {}, {"size": "1440*1440"}),
        ("wan2.6-t2v", {"audio_url": AUDIO}, {"audio_url": AUDIO}, {"size": "1280*720"}),
        ("wan2.6-t2v", {"parameters": {"size": "832*1088", "resolution": "1080P"}}, {}, {"size": "832*1088"}),
        ("wan2.6-t2v", {"parameters": {"resolution": "1080P", "ratio": "4:3"}}, {}, {"size": "1632*1248"}),
        ("wan2.6-t2v-us", {"parameters": {"resolution": "1080P", "ratio": "3:4"}}, {}, {"size": "1248*1632"}),
        ("wan2.5-t2v-preview", {"parameters": {"resolution": "480P", "ratio": "1:1"}}, {}, {"size": "624*624"}),
        ("wan2.2-t2v-plus", {}, {}, {"size": "832*480"}),
        ("wan2.6-i2v-us", {"media": [FIRST]}, {"img_url": IMAGE}, {"resolution": "720P"}),
        ("wan2.2-i2v-plus", {"media": [FIRST]}, {"img_url": IMAGE}, {"resolution": "480P"}),
        (
            "wan2.2-kf2v-flash",
            {"media": [FIRST, LAST]},
            {"first_frame_url": IMAGE, "last_frame_url": IMAGE},
            {"resolution": "720P"},
        ),
        ("wan2.6-i2v", {"media": [FIRST, SOUND]}, {"img_url": IMAGE, "audio_url": AUDIO}, {"resolution": "720P"}),
        ("wan2.6-i2v-2025-12-01", {"media": [FIRST]}, {"img_url": IMAGE}, {"resolution": "720P"}),
        ("wan2.6-r2v", {"media": [SCENE, FACE]}, {"reference_urls": [CLIP, IMAGE]}, {"size": "1280*720"}),
        (
            "wan2.6-r2v-flash",
            {"media": [FACE], "parameters": {"audio": "False"}},
            {"reference_urls": [IMAGE]},
            {"audio": False, "size": "1280*720"},
        ),
    ],
)
def test_the_legacy_body_has_a_field_for_each_media_type_and_a_size(
    model: str, arguments: dict[str, Any], inputs: dict[str, Any], parameters: dict[str, Any]
) -> None:
    request = build(**{"gateway": DASHSCOPE, "model": model, "media": None} | arguments)

    assert request.body == {"model": model, "input": {"prompt": "a kite"} | inputs, "parameters": parameters}


def test_wan26_is_sent_to_apiyi_in_the_usual_body() -> None:
    assert build(model="wan2.6-i2v").body["input"] == {"prompt": "a kite", "media": [FIRST]}


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gateway", "model", "arguments", "facts"),
    [
        (APIYI, "wan2.7-i2v", {"media": None}, ["media: wan2.7-i2v", "first_frame", "no media"]),
        (APIYI, "wan2.7-i2v", {"media": [item("first_frame", "rap.png")]}, ["first_frame: 'rap.png'", "absolute path"]),
        (APIYI, "wan2.7-i2v", {"media": [FIRST], "parameters": {"duration": 99}}, ["duration must be", "99"]),
        (APIYI, "wan2.7-i2v", {"media": [FIRST], "audio_url": AUDIO}, ["audio_url", "wan2.7-i2v"]),
        (APIYI, "wan2.7-t2v", {"audio_url": 7}, ["audio_url: 7", "not a URL"]),
        (APIYI, "wan2.7-r2v", {"media": [SCENE], "parameters": {"duration": 11}}, ["10 with a reference_video", "11"]),
        (DASHSCOPE, "happyhorse-1.1-t2v", {"negative_prompt": "rain"}, ["negative_prompt", "DashScope", "happyhorse"]),
        (APIYI, "wan3.0-video", {"prompt": None}, ["prompt is missing", "media"]),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused_with_that_rule(
    gateway: Gateway, model: str, arguments: dict[str, Any], facts: list[str]
) -> None:
    (problem,) = problems_of(**{"gateway": gateway, "model": model, "media": None} | arguments)

    for fact in facts:
        assert fact in problem


@pytest.mark.parametrize("name", ["parameters", "extra_body"])
@pytest.mark.parametrize("value", ["duration=5", [("duration", 5)], 5, "{'duration': 5}"])
def test_an_argument_that_must_be_a_dict_is_refused_as_anything_else(name: str, value: Any) -> None:
    (problem,) = problems_of(**{name: value})

    assert problem.startswith(f"{name} must be a dict, got {value!r}")


@pytest.mark.parametrize("model", ["wan2.7-i2v", "wan2.6-i2v", "happyhorse-1.1-i2v"])
def test_a_prompt_over_the_limit_is_sent_with_a_warning_since_the_gateway_cuts_it(model: str) -> None:
    row = find_model(model, APIYI.name)
    assert row
    for name, longest in (("prompt", row.prompt_chars), ("negative_prompt", row.negative_prompt_chars)):
        assert not [warning for warning in build(model=model, **{name: "x" * longest}).warnings if name in warning]

        request = build(model=model, **{name: "x" * (longest + 1)})

        (warning,) = [warning for warning in request.warnings if warning.startswith(name)]
        assert f"{longest + 1} characters" in warning
        assert f"first {longest} " in warning
        assert request.body["input"][name] == "x" * (longest + 1)


def test_a_chinese_character_counts_as_two_in_a_prompt_of_happyhorse() -> None:
    for prompt, cut in (("字" * 2500, False), ("字" * 2501, True), ("x" * 5000, False), ("字" * 2499 + "ab", False)):
        request = build(gateway=DASHSCOPE, model="happyhorse-1.1-i2v", prompt=prompt)

        assert bool(request.warnings) is cut


def test_the_watermark_of_happyhorse_is_always_sent_because_its_default_is_on(gateway: Gateway) -> None:
    assert build(gateway=gateway, model="happyhorse-1.1-i2v").parameters["watermark"] is False
    asked = build(gateway=gateway, model="happyhorse-1.1-i2v", parameters={"watermark": "True"})
    assert asked.parameters["watermark"] is True


@pytest.mark.parametrize("model", ["wan2.7-t2v", "wan2.6-t2v", "happyhorse-1.1-t2v", "wan9-x2v"])
@pytest.mark.parametrize(("number", "text"), [(5, "5"), (2.5, "2.5"), (-7, "-7")])
def test_a_number_that_native_rendering_made_is_sent_as_text(model: str, number: float, text: str) -> None:
    assert build(model=model, media=None, prompt=number).body["input"] == {"prompt": text}


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("wan2.7_t2v", "wan2.7-t2v"),
        ("wan27-i2v", "wan2.7-i2v"),
        ("Wan2.7-i2v", "wan2.7-i2v"),
        ("WAN2.7-I2V-2026-04-25", "wan2.7-i2v"),
        ("wan2.7-i2vv", "wan2.7-i2v"),
        ("wan2.7-video-edit", "wan2.7-videoedit"),
        ("happyhorse1.1-t2v", "happyhorse-1.1-t2v"),
        ("wan-3.0-video", "wan3.0-video"),
        ("alibaba/wan2.7-i2v", "wan2.7-i2v"),
    ],
)
def test_a_misspelt_model_id_is_told_which_one_may_be_meant(typo: str, meant: str) -> None:
    (warning,) = build(model=typo).warnings

    assert f"did you mean {meant}?" in warning


@pytest.mark.parametrize("model", ["sora-2", "x", "wan" * 1000, "/", "模型"])
def test_a_model_id_that_is_near_to_none_gets_the_list_of_all(model: str) -> None:
    (warning,) = build(model=model).warnings

    assert "did you mean" not in warning
    assert "wan2.7-t2v" in warning


def test_media_may_be_paths() -> None:
    voiced = {"type": "reference_image", "url": Path("/data/a.png"), "reference_voice": Path("/data/a.mp3")}
    request = build(model="wan2.7-r2v", media=[voiced])

    assert request.body["input"]["media"] == [
        {"type": "reference_image", "url": "/data/a.png", "reference_voice": "/data/a.mp3"}
    ]
    assert build(model="wan2.7-t2v", media=None, audio_url=Path("/a.mp3")).body["input"]["audio_url"] == "/a.mp3"
    assert problems_of(media=[{"type": "first_frame", "url": Path("a.png")}])


@pytest.mark.parametrize(
    ("gateway", "model", "media", "fine"),
    [
        (DASHSCOPE, "wan2.7-i2v", [item("first_frame", "http://cdn.example.com/a.png")], True),
        (DASHSCOPE, "wan2.6-i2v", [item("first_frame", "http://cdn.example.com/a.png")], True),
        (DASHSCOPE, "wan9-x2v", [item("first_frame", "http://cdn.example.com/a.png")], True),
        (DASHSCOPE, "wan2.7-i2v", [item("first_frame", "http://192.168.0.3/a.png")], False),
        (DASHSCOPE, "wan3.0-video", [item("first_frame", "http://cdn.example.com/a.png")], False),
        (DASHSCOPE, "wan3.0-video", [item("link", "http://example.com/page")], False),
        (APIYI, "wan2.7-i2v", [item("first_frame", "http://cdn.example.com/a.png")], False),
    ],
)
def test_media_by_plain_http_pass_where_the_gateway_documents_them(
    gateway: Gateway, model: str, media: list[dict[str, Any]], fine: bool
) -> None:
    if fine:
        assert build(gateway=gateway, model=model, media=media)
    else:
        assert problems_of(gateway=gateway, model=model, media=media)


def test_an_image_to_edit_with_is_no_data_uri_at_dashscope() -> None:
    media = [item("video"), item("reference_image", "data:image/png;base64,iVBORw0KGgo=")]

    (problem,) = problems_of(gateway=DASHSCOPE, model="wan2.7-videoedit", media=media)
    assert "by URL only" in problem
    assert build(gateway=APIYI, model="wan2.7-videoedit", media=media)


def test_shots_without_a_rewritten_prompt_have_a_warning() -> None:
    parameters = {"shot_type": "multi", "prompt_extend": False}

    (warning,) = build(gateway=DASHSCOPE, model="wan2.6-i2v", parameters=parameters).warnings

    assert "shot_type has no effect" in warning


@pytest.mark.parametrize(
    ("media", "lengths", "parameters", "fact"),
    [
        ([item("reference_video")] * 2, [8.0, 7.0], {}, None),
        ([item("reference_video")] * 2, [8.0, 8.0], {}, "reference_video: together they last 16.00 s"),
        ([item("reference_audio", AUDIO)] * 3, [6.0, 6.0, 6.0], {}, "reference_audio: together they last 18.00 s"),
        ([item("reference_audio", AUDIO)] * 3, [5.0, 5.0, None], {}, None),
        ([item("reference_video")], [15.0], {"duration": 15}, None),
        ([item("reference_video")], [15.0], {"duration": 16}, "more than the 30 s"),
        ([item("reference_video")], [15.0], {"duration": -1}, None),
        ([item("reference_image")], [None], {"duration": 30}, None),
        ([item("reference_audio", AUDIO)], [15.0], {"duration": 30}, None),
    ],
)
def test_files_that_last_too_long_together_are_a_problem(
    media: list[dict[str, Any]], lengths: list[float | None], parameters: dict[str, Any], fact: str | None
) -> None:
    request = build(model="wan3.0-video", media=media, parameters=parameters)

    problems = request.length_problems(lengths)

    assert [fact in problem for problem in problems] == ([True] if fact else [])


def test_a_duration_that_no_clip_leaves_room_for_is_refused_before_the_clip_is_measured() -> None:
    assert problems_of(model="wan3.0-video", media=[item("reference_video")], parameters={"duration": 30})


def test_a_page_or_document_needs_a_rewritten_prompt() -> None:
    media = [item("link")]

    assert problems_of(model="wan3.0-video", media=media, parameters={"prompt_extend": False})
    assert build(model="wan3.0-video", media=media, parameters={"prompt_extend": True})


@pytest.mark.parametrize("unset", [None, "", "None"])
def test_a_prompt_is_required_at_apiyi_only(unset: str | None) -> None:
    (problem,) = problems_of(gateway=APIYI, prompt=unset)

    assert problem.startswith("prompt is missing; APIYI")
    assert "prompt" not in build(gateway=DASHSCOPE, prompt=unset).body["input"]


@pytest.mark.parametrize("prompt", [True, ["a"], {"a": 1}])
def test_a_prompt_that_is_not_text_is_refused(prompt: Any) -> None:
    (problem,) = problems_of(prompt=prompt)

    assert problem.startswith("prompt must be text")
    assert repr(prompt) in problem


@pytest.mark.parametrize("model", [None, "", "None", 7, ["wan2.7-i2v"]])
def test_a_missing_model_is_refused(model: Any) -> None:
    (problem,) = problems_of(model=model)

    assert problem.startswith("model must be a model id")
    assert repr(model) in problem


def test_all_problems_are_reported_at_once_and_in_full() -> None:
    arguments: dict[str, Any] = {
        "prompt": ["p"],
        "negative_prompt": {"n": 1},
        "media": [item("first_frame", "http://a.example/x.png"), item("driving_audio", "x.mp3"), item("frist_frame")],
        "parameters": {
            "resolution": "720p",
            "duration": 16,
            "watermark": "yes",
            "prompt_extend": "no",
            "seed": -1,
            "ratio": "16:9",
            **{f"p{number}": "x" * 200 for number in range(8)},
        },
    }

    with pytest.raises(InvalidVideoRequest) as caught:
        build(**arguments)

    problems = caught.value.problems
    names = [problem.split(maxsplit=1)[0].rstrip(":") for problem in problems]
    assert names == [
        *("first_frame", "driving_audio", "prompt", "negative_prompt", "media"),
        *("resolution", "duration", "watermark", "prompt_extend", "seed"),
        *["parameters"] * 9,
    ]
    assert all(problem in str(caught.value) for problem in problems)
    assert "Nothing was sent" in str(caught.value)
    assert not caught.value.retry_can_help


# What passes with a warning ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "arguments", "fields"),
    [
        ("wan2.7-t2v", {"audio_url": AUDIO}, "audio_url"),
        ("wan2.6-t2v", {"audio_url": AUDIO, "parameters": {"shot_type": "multi"}}, "audio_url, shot_type"),
        ("wan2.7-i2v", {"media": [FIRST, LAST]}, "last_frame"),
        ("wan2.7-i2v", {"media": [item("first_clip"), LAST]}, "first_clip, last_frame"),
        ("wan2.6-r2v", {"media": [VOICED_FACE]}, "reference_voice"),
        ("wan2.6-r2v-flash", {"media": [FACE], "parameters": {"audio": True}}, "audio"),
        ("wan2.7-videoedit", EDIT | {"parameters": {"duration": 5, "ratio": "1:1"}}, "duration, ratio"),
        ("happyhorse-1.0-video-edit", EDIT | {"parameters": {"audio_setting": "auto"}}, "audio_setting"),
        ("wan2.6-i2v-flash", {"media": [FIRST]}, "wan2.6-i2v-flash"),
    ],
)
def test_a_field_that_apiyi_does_not_document_passes_with_a_warning(
    model: str, arguments: dict[str, Any], fields: str
) -> None:
    (warning,) = build(**{"gateway": APIYI, "model": model, "media": None} | arguments).warnings

    assert warning.startswith(f"APIYI does not document {fields}")
    assert model in warning
    assert "unknown whether" in warning


def test_a_field_that_dashscope_documents_passes_without_a_warning() -> None:
    arguments = EDIT | {"parameters": {"duration": 5, "ratio": "1:1", "audio_setting": "auto"}}

    assert build(gateway=DASHSCOPE, model="wan2.7-videoedit", **arguments).warnings == ()


def test_a_dated_snapshot_has_the_rules_of_its_family() -> None:
    request = build(model="wan2.7-i2v-2026-04-25")

    assert request.model == "wan2.7-i2v-2026-04-25"
    assert request.warnings == ()
    assert problems_of(model="wan2.7-i2v-2026-04-25", parameters={"duration": 16})


def test_the_request_of_an_unknown_model_passes_as_given_with_a_warning() -> None:
    media = [{"type": "link", "url": IMAGE, "weight": 0.5, "reference_voice": AUDIO}]

    request = build(model="wan9-x2v", prompt="p" * 9999, media=media, parameters={"ratio": "21:9", "duration": "99"})

    assert request.body == {
        "model": "wan9-x2v",
        "input": {"prompt": "p" * 9999, "media": media},
        "parameters": {"ratio": "21:9", "duration": 99},
    }
    (warning,) = request.warnings
    assert warning.startswith("'wan9-x2v' is not in this package's catalogue")


def test_an_unknown_model_needs_neither_prompt_nor_media() -> None:
    assert build(model="wan9-x2v", prompt=None, media=None).body == {"model": "wan9-x2v", "input": {}, "parameters": {}}


# Properties of a request ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gateway", "model", "arguments", "lengths", "expected", "billed"),
    [
        (APIYI, "wan2.7-i2v", {}, [], 5, 5),
        (APIYI, "wan2.7-i2v", {"parameters": {"duration": "10"}}, [], 10, 10),
        (APIYI, "wan2.7-i2v", {"media": [item("first_clip")]}, [3.0], 5, 9),
        (DASHSCOPE, "wan2.7-r2v", {"media": [FACE]}, [], 5, 5),
        (DASHSCOPE, "wan2.7-r2v", {"media": [FACE, SCENE]}, [None], 5, 10),
        (DASHSCOPE, "wan2.7-r2v", {"media": [SCENE, SCENE]}, [1.2, 1.2], 5, 9),
        (DASHSCOPE, "wan2.7-r2v", {"media": [SCENE, SCENE]}, [8.0, 8.0], 5, 10),
        (APIYI, "wan2.7-r2v", {"media": [FACE, SCENE]}, [None], 5, 10),
        (DASHSCOPE, "wan2.7-videoedit", EDIT, [None], None, 20),
        (DASHSCOPE, "wan2.7-videoedit", EDIT, [3.5], None, 8),
        (DASHSCOPE, "wan2.7-videoedit", EDIT | {"parameters": {"duration": 0}}, [None], None, 20),
        # A duration only cuts the source: what is longer than the source cannot come out.
        (DASHSCOPE, "wan2.7-videoedit", EDIT | {"parameters": {"duration": 4}}, [None], None, 14),
        (DASHSCOPE, "wan2.7-videoedit", EDIT | {"parameters": {"duration": 4}}, [8.5], 4, 13),
        (DASHSCOPE, "wan2.7-videoedit", EDIT | {"parameters": {"duration": 9}}, [3.5], 3.5, 8),
        (DASHSCOPE, "happyhorse-1.0-video-edit", EDIT, [None], None, 75),
        (DASHSCOPE, "happyhorse-1.0-video-edit", EDIT, [20.5], None, 36),
        (APIYI, "wan3.0-video", {"media": None, "parameters": {"duration": -1}}, [], None, 30),
        (APIYI, "wan3.0-video", {"media": [SCENE]}, [8.0], 5, 14),
        (APIYI, "wan3.0-video", {"media": [SCENE]}, [None], 5, 20),
        (APIYI, "wan3.0-video", {"media": [SCENE, SCENE]}, [4.0, None], 5, 20),
        (APIYI, "wan3.0-video", {"media": [SCENE], "parameters": {"duration": -1}}, [8.0], None, 30),
        (APIYI, "wan9-x2v", {}, [], None, None),
        (APIYI, "wan9-x2v", {"parameters": {"duration": "7"}}, [], 7, 7),
        (APIYI, "wan9-x2v", {"media": [SCENE], "parameters": {"duration": "7"}}, [2.0], 7, 10),
        (APIYI, "wan9-x2v", {"media": [SCENE], "parameters": {"duration": "7"}}, [None], 7, None),
        # What extra_body brings cannot be measured.
        (
            DASHSCOPE,
            "wan2.6-r2v",
            {"media": [FACE], "extra_body": {"input": {"reference_video_urls": [CLIP]}}},
            [],
            5,
            10,
        ),
        (DASHSCOPE, "wan2.7-t2v", {"media": None, "extra_body": {"input": {"media": [SCENE]}}}, [], 5, None),
        (DASHSCOPE, "wan2.7-t2v", {"media": None, "extra_body": {"input": {"audio_url": AUDIO}}}, [], 5, 5),
        (DASHSCOPE, "wan2.7-t2v", {"media": None, "extra_body": {"model": "wan3.0-video"}}, [], 5, 5),
        (DASHSCOPE, "wan2.7-t2v", {"media": None, "extra_body": {"parameters": {"n": 4}}}, [], 5, 20),
        (DASHSCOPE, "wan2.7-t2v", {"media": None, "extra_body": {"parameters": {"duration": 4.2}}}, [], 4.2, 5),
        (DASHSCOPE, "wan2.7-t2v", {"media": None, "extra_body": {"parameters": {"duration": True}}}, [], None, 15),
        (DASHSCOPE, "wan2.7-t2v", {"media": None, "extra_body": {"model": "wan9-x2v"}}, [], None, None),
    ],
)
def test_a_request_knows_how_long_the_video_must_be_and_what_can_be_billed_at_most(
    gateway: Gateway,
    model: str,
    arguments: dict[str, Any],
    lengths: list[float | None],
    expected: float | None,
    billed: float | None,
) -> None:
    request = build(gateway=gateway, model=model, **arguments)

    assert request.expected_seconds(lengths) == expected
    assert request.billed_seconds(lengths) == billed


@pytest.mark.parametrize(("model", "instead"), [("wan2.2-t2v-plus", "wan2.7-t2v"), ("wan2.7-t2v", "wan2.2-t2v-plus")])
def test_a_model_that_extra_body_replaces_may_ignore_the_resolution_of_the_other(model: str, instead: str) -> None:
    request = build(gateway=DASHSCOPE, model=model, media=None, extra_body={"model": instead})

    assert request.billed_resolutions == ()
    assert request.resolution is None


def test_a_size_of_a_model_that_takes_none_may_be_billed_all_the_same() -> None:
    request = build(gateway=DASHSCOPE, model="wan2.7-t2v", media=None, extra_body={"parameters": {"size": "1920*1080"}})

    assert request.resolution == "720P"
    assert request.billed_resolutions == ("720P", "1080P")


@pytest.mark.parametrize(
    ("model", "parameters", "resolution"),
    [
        ("wan2.7-t2v", {}, "720P"),
        ("wan2.7-t2v", {"resolution": "1080P"}, "1080P"),
        ("wan3.0-video", {"resolution": "480P"}, "480P"),
        ("wan2.6-t2v", {}, "720P"),
        ("wan2.6-t2v", {"resolution": "1080P", "ratio": "1:1"}, "1080P"),
        ("wan2.6-t2v", {"resolution": "1080P", "ratio": "3:4"}, "1080P"),
        ("wan2.5-t2v-preview", {"size": "832*480"}, "480P"),
        ("wan2.6-t2v", {"size": "832*1088"}, "720P"),
        ("wan2.6-t2v", {"size": "1440*1440", "resolution": "720P"}, "1080P"),
        ("wan9-x2v", {}, None),
        ("wan9-x2v", {"resolution": "4K"}, "4K"),
    ],
)
def test_a_size_counts_as_the_nearest_resolution(
    model: str, parameters: dict[str, Any], resolution: str | None
) -> None:
    assert build(gateway=DASHSCOPE, model=model, media=None, parameters=parameters).resolution == resolution


@pytest.mark.parametrize(
    ("model", "arguments", "driven"),
    [
        ("wan2.7-i2v", {"media": [FIRST, SOUND]}, True),
        ("wan2.7-i2v", {"media": [FIRST]}, False),
        ("wan2.7-t2v", {"media": None, "audio_url": AUDIO}, True),
        ("wan2.6-i2v", {"media": [FIRST, SOUND]}, True),
        ("wan2.7-r2v", {"media": [VOICED_FACE]}, False),
    ],
)
def test_a_request_with_a_sound_track_is_driven_by_audio(model: str, arguments: dict[str, Any], driven: bool) -> None:
    assert build(gateway=DASHSCOPE, model=model, **arguments).is_driven_by_audio is driven


def test_a_request_lists_its_files_as_the_author_wrote_them() -> None:
    request = build(model="wan2.7-r2v", media=[VOICED_FACE, item("reference_video", "s3://bucket/a.mp4")])

    assert [(reference.role, reference.url) for reference in request.media] == [
        ("reference_image", IMAGE),
        ("reference_voice", VOICE),
        ("reference_video", "s3://bucket/a.mp4"),
    ]


@pytest.mark.parametrize(
    ("gateway", "model", "arguments"),
    [
        (APIYI, "wan2.7-i2v", {"media": [item("first_frame", "/a.png"), item("driving_audio", "s3://b/a.mp3")]}),
        (DASHSCOPE, "wan2.6-i2v", {"media": [item("first_frame", "/a.png"), item("driving_audio", "s3://b/a.mp3")]}),
        (
            DASHSCOPE,
            "wan2.6-r2v",
            {"media": [item("reference_image", "/a.png"), item("reference_video", "s3://b/a.mp3")]},
        ),
        (APIYI, "wan2.7-r2v", {"media": [item("reference_image", "/a.png") | {"reference_voice": "s3://b/a.mp3"}]}),
        (APIYI, "wan2.7-t2v", {"media": None, "audio_url": "s3://b/a.mp3"}),
    ],
)
def test_urls_are_replaced_in_media_and_never_in_prompts(
    gateway: Gateway, model: str, arguments: dict[str, Any]
) -> None:
    request = build(gateway=gateway, model=model, prompt="/a.png", negative_prompt="s3://b/a.mp3", **arguments)
    before = json.dumps(request.body)

    changed = request.with_urls({"/a.png": IMAGE, "s3://b/a.mp3": AUDIO, "first_frame": "x", model: "y"})

    inputs = changed.body["input"]
    rest = json.dumps({name: value for name, value in inputs.items() if "prompt" not in name})
    assert (inputs["prompt"], inputs["negative_prompt"]) == ("/a.png", "s3://b/a.mp3")
    assert "/a.png" not in rest.replace(IMAGE, "")
    assert "s3://" not in rest
    assert changed.body["model"] == model
    assert [entry["type"] for entry in inputs.get("media", [])] == [
        entry["type"] for entry in request.body["input"].get("media", [])
    ]
    assert json.dumps(request.body) == before


# extra_body ----------------------------------------------------------------------------------------------------------


def test_extra_body_is_merged_into_the_body() -> None:
    extra = {"input": {"audio_url": AUDIO}, "parameters": {"shot_type": "multi", "resolution": "480P"}, "user": "me"}

    request = build(extra_body=extra)

    assert request.body == {
        "model": "wan2.7-i2v",
        "input": {"prompt": "a kite", "media": [FIRST], "audio_url": AUDIO},
        "parameters": {"resolution": "480P", "shot_type": "multi"},
        "user": "me",
    }


def test_the_arguments_are_not_changed() -> None:
    media, parameters, extra = [dict(FIRST)], {"duration": "10"}, {"input": {"a": 1}, "parameters": {"b": 2}}

    build(media=media, parameters=parameters, extra_body=extra)

    assert (media, parameters) == ([FIRST], {"duration": "10"})
    assert extra == {"input": {"a": 1}, "parameters": {"b": 2}}


@pytest.mark.parametrize("section", ["input", "parameters"])
@pytest.mark.parametrize("value", [None, "x", ["x"], 3])
def test_extra_body_cannot_replace_a_section_of_the_body_by_something_else(section: str, value: object) -> None:
    (problem,) = problems_of(extra_body={section: value})

    assert problem.startswith(f"{section} must be a dict, got {value!r}")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"extra_body": {"parameters": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}}, "parameters.when"),
        ({"extra_body": {"parameters": {"x": float("nan")}}}, "parameters.x"),
        ({"extra_body": {"input": {"tags": {"a", "b"}}}}, "input.tags"),
        ({"extra_body": {"input": {("a", "b"): 1}}}, "input.('a', 'b')"),
        ({"extra_body": {"user": object}}, "user"),
        ({"extra_body": {"user": "\udc80"}}, "user"),
        ({"prompt": "half an emoji \ud83d"}, "input.prompt"),
    ],
)
def test_a_value_that_cannot_be_json_is_refused_by_its_field(arguments: dict[str, Any], field: str) -> None:
    (problem,) = problems_of(**arguments)

    assert problem.startswith(f"{field} cannot be sent as JSON")


@pytest.mark.parametrize("media", [None, 3, "x", ["x"], [None, {"type": "first_frame"}]])
def test_a_request_with_media_of_any_shape_can_be_shown(media: Any) -> None:
    assert str(build(extra_body={"input": {"media": media}})).startswith("wan2.7-i2v, 720P")


# Any arguments -------------------------------------------------------------------------------------------------------


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


# An integer that Python does not write out, which can be a key all the same.
HUGE = 10**5000

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.text(st.characters(categories=["Cs", "Cc", "Zs"]), max_size=5),
    st.binary(max_size=5),
    st.sampled_from(["9" * 5000, Fraction(1, 3), datetime(2026, 1, 1, tzinfo=UTC)]),
    # Not sampled from a list: hypothesis would show the list, and these cannot be shown.
    st.builds(lambda sign: sign * HUGE, st.sampled_from([1, -1])),
    st.builds(Unshowable),
    st.sampled_from(
        ["10", "-0", "--5", "+3", "1_0", "\uff12", "True", "None", "{{ x }}", "720P", "720p", "1e3", " 7 "]
    ),
    st.sampled_from(
        [IMAGE, "https://[", "http://[::1]:99999/", "data:image/png;base64,", "https://a.example:b/", "//", "data:"]
    ),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers(), st.none()), inner, max_size=3),
        st.frozensets(st.text(max_size=3), max_size=2),
    ),
    max_leaves=6,
)
TYPES = st.sampled_from(["first_frame", "last_frame", "driving_audio", "first_clip"])
ALL_TYPES = st.one_of(
    TYPES, st.sampled_from(["reference_image", "reference_video", "reference_audio", "video", "file", "link"])
)
MEDIA = st.one_of(
    ANYTHING,
    st.lists(
        st.one_of(
            ANYTHING,
            st.fixed_dictionaries(
                {"type": st.one_of(ALL_TYPES, ANYTHING), "url": ANYTHING},
                optional={"voice": ANYTHING, "reference_voice": ANYTHING},
            ),
            st.builds(item, ALL_TYPES),
        ),
        max_size=4,
    ),
)
NAMES = st.one_of(
    st.sampled_from(["resolution", "duration", "seed", "watermark", "prompt_extend", "ratio", "durration"]),
    st.sampled_from(["size", "shot_type", "audio", "audio_setting", "enable_thinking"]),
    st.builds(lambda: HUGE),
    st.text(max_size=8),
    st.integers(),
    st.none(),
    st.tuples(st.integers()),
)
PARAMETERS = st.one_of(ANYTHING, st.dictionaries(NAMES, ANYTHING, max_size=5))
EXTRA = st.one_of(
    st.none(),
    ANYTHING,
    st.dictionaries(st.sampled_from(["model", "input", "parameters", "user"]), ANYTHING, max_size=3),
)


@given(
    gateway=st.sampled_from([APIYI, DASHSCOPE]),
    base_url=st.sampled_from(["https://api.apiyi.com", "http://127.0.0.1:8765"]),
    model=st.one_of(st.sampled_from([*known_model_ids(), "wan9"]), ANYTHING),
    prompt=st.one_of(st.just("a kite"), ANYTHING),
    media=MEDIA,
    parameters=PARAMETERS,
    negative_prompt=st.one_of(st.none(), ANYTHING),
    audio_url=st.one_of(st.none(), st.just(AUDIO), ANYTHING),
    extra_body=EXTRA,
)
def test_whatever_is_given_becomes_a_request_that_can_be_sent_or_a_list_of_problems(**arguments: Any) -> None:
    refusal: InvalidVideoRequest | None = None
    try:
        request = build_video_request(**arguments)
    except InvalidVideoRequest as error:
        refusal = error
    if refusal is None:
        json.dumps(request.body, ensure_ascii=False, allow_nan=False).encode()
        assert str(request)
        assert request.with_urls({IMAGE: AUDIO}).resolution == request.resolution
        videos = [reference for reference in request.media if reference.kind is MediaKind.VIDEO]
        for length in (None, 2.5):
            billed = request.billed_seconds([length] * len(videos))
            assert billed is None or billed > 0
        assert request.longest_seconds is None or request.longest_seconds > 0
    else:
        assert refusal.problems
        assert str(refusal)


@pytest.mark.parametrize("model", ["wan2.7-i2v", "wan2.6-r2v", "wan9"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"parameters": {HUGE: 1}},
        {"parameters": {"duration": HUGE, "seed": -HUGE}},
        {"media": [{"type": "first_frame", "url": IMAGE, HUGE: 1}]},
        {"media": [{"type": "reference_image", "url": IMAGE, "reference_voice": HUGE}]},
        {"audio_url": HUGE},
        {"audio_url": Unshowable()},
        {"extra_body": {HUGE: 1}},
        {"extra_body": {"input": {HUGE: 1}}},
    ],
    ids=["name", "value", "field", "voice", "audio_url", "object", "section", "input"],
)
def test_a_number_that_python_cannot_print_is_a_problem_and_not_a_crash(
    model: str, arguments: dict[str, Any], gateway: Gateway
) -> None:
    assert problems_of(model=model, gateway=gateway, **arguments)


@pytest.mark.parametrize("model", ["wan2.7-i2v", "wan9"])
@pytest.mark.parametrize("name", ["media", "parameters", "audio_url", "extra_body"])
def test_endless_nesting_is_a_problem_and_not_a_crash(model: str, name: str) -> None:
    nested: Any = "x"
    for _ in range(100_000):
        nested = [nested]
    given: Any = [{"type": "first_frame", "url": nested}] if name == "media" else nested
    if name in ("parameters", "extra_body"):
        given = {"duration": nested}

    assert problems_of(**{"model": model, name: given})


@given(
    media=st.lists(st.builds(item, TYPES), max_size=4),
    parameters=st.fixed_dictionaries(
        {},
        optional={
            "duration": st.integers(-2, 20),
            "seed": st.integers(-2, 2**32),
            "resolution": st.sampled_from(["720P", "1080P", "720p"]),
            "watermark": st.booleans(),
        },
    ),
)
def test_a_request_is_built_exactly_when_every_rule_holds(
    media: list[dict[str, str]], parameters: dict[str, Any]
) -> None:
    row = find_model("wan2.7-i2v", APIYI.name)
    assert row
    types = [entry["type"] for entry in media]
    bounds = {name: rule for name, rule in row.parameters.items() if isinstance(rule, Integer)}
    legal = (
        len(types) == len(set(types))
        and set(types) in row.media.sets
        and all(rule.minimum <= parameters.get(name, rule.minimum) <= rule.maximum for name, rule in bounds.items())
        and parameters.get("resolution") != "720p"
    )

    if legal:
        request = build(media=media, parameters=parameters)
        assert request.body["input"]["media"] == media
        assert request.parameters == {"resolution": "720P"} | parameters
    else:
        assert problems_of(media=media, parameters=parameters)
