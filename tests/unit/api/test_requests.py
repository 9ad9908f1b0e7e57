from __future__ import annotations

import json
from datetime import UTC, datetime
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.api.catalogue import AudioLimits, MediaKind, known_model_ids
from airflow_wan.api.gateways import APIYI, DASHSCOPE, Gateway, create_call
from airflow_wan.api.requests import MediaReference, VideoRequest, build_video_request, is_unset
from airflow_wan.exceptions import InvalidVideoRequest

IMAGE = "https://your-cdn.com/rap.png"
AUDIO = "https://your-cdn.com/rap.mp3"
CLIP = "https://your-cdn.com/clip.mp4"

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
    urls = {"first_frame": IMAGE, "last_frame": IMAGE, "driving_audio": AUDIO, "first_clip": CLIP}
    return {"type": media_type, "url": url or urls.get(media_type, IMAGE)}


def build(**arguments: Any) -> VideoRequest:
    """The smallest good request, apart from what a test says."""
    good: dict[str, Any] = {
        "gateway": APIYI,
        "base_url": "https://api.apiyi.com",
        "model": "wan2.7-i2v",
        "prompt": "a kite",
        "media": [item("first_frame")],
    }
    return build_video_request(**good | arguments)


def problems_of(**arguments: Any) -> list[str]:
    with pytest.raises(InvalidVideoRequest) as caught:
        build(**arguments)
    return caught.value.problems


# What goes on the wire -----------------------------------------------------------------------------------------------


def test_the_seed_request_is_the_seed_json_to_the_letter() -> None:
    request = build(
        prompt=SEED_PROMPT,
        media=[item("first_frame"), item("driving_audio")],
        parameters={"resolution": "720P", "duration": 10, "prompt_extend": True, "watermark": True},
    )

    assert json.dumps(request.body) == json.dumps(SEED_BODY)
    assert request.warnings == ()


def test_what_is_not_given_is_absent_except_the_resolution() -> None:
    request = build(parameters={"duration": None, "seed": "", "watermark": "None"}, negative_prompt="  ")

    assert request.body == {
        "model": "wan2.7-i2v",
        "input": {"prompt": "a kite", "media": [item("first_frame")]},
        "parameters": {"resolution": "720P"},
    }


def test_a_given_resolution_is_kept() -> None:
    assert build(parameters={"resolution": "1080P"}).parameters == {"resolution": "1080P"}


@pytest.mark.parametrize("unset", [None, "", "None"])
def test_an_unset_resolution_is_sent_all_the_same(unset: str | None) -> None:
    assert build(parameters={"resolution": unset}).parameters == {"resolution": "720P"}


@pytest.mark.parametrize(
    ("name", "rendered", "wire"),
    [
        ("duration", "10", 10),
        ("duration", " 10 ", 10),
        ("duration", 10.0, 10),
        ("seed", "0", 0),
        ("seed", "2147483647", 2_147_483_647),
        ("watermark", "True", True),
        ("watermark", "false", False),
        ("prompt_extend", " TRUE ", True),
        ("prompt_extend", False, False),
    ],
)
def test_what_a_template_rendered_as_text_gets_the_type_the_wire_needs(
    name: str, rendered: object, wire: object
) -> None:
    sent = build(parameters={name: rendered}).parameters[name]

    assert sent == wire
    assert type(sent) is type(wire)


def test_the_negative_prompt_is_an_input_not_a_parameter() -> None:
    assert build(negative_prompt="rain").body["input"]["negative_prompt"] == "rain"


def test_the_request_is_shown_in_words_without_urls() -> None:
    request = build(media=[item("first_frame"), item("driving_audio")], parameters={"duration": 10})

    assert str(request) == "wan2.7-i2v, 720P, 10 s, first_frame + driving_audio"
    assert request.model == "wan2.7-i2v"
    assert request.prompt == "a kite"


def test_the_create_call_goes_to_the_documented_path_with_the_async_header(gateway: Gateway) -> None:
    call = create_call(gateway, SEED_BODY)

    prefix = "/wan" if gateway is APIYI else ""
    assert (call.method, call.path) == ("POST", f"{prefix}/api/v1/services/aigc/video-generation/video-synthesis")
    assert call.headers == {"X-DashScope-Async": "enable"}


@pytest.mark.parametrize("text", [None, "", "  ", "None", " None "])
def test_none_and_what_templates_make_of_it_count_as_not_given(text: str | None) -> None:
    assert is_unset(text)


@pytest.mark.parametrize("value", [0, False, "0", "none of it", []])
def test_falsy_values_count_as_given(value: object) -> None:
    assert not is_unset(value)


# Media ---------------------------------------------------------------------------------------------------------------

LEGAL_27 = [
    ["first_frame"],
    ["first_frame", "driving_audio"],
    ["first_frame", "last_frame"],
    ["first_frame", "last_frame", "driving_audio"],
    ["first_clip"],
    ["first_clip", "last_frame"],
]
ILLEGAL_27 = [
    [],
    ["driving_audio"],
    ["last_frame"],
    ["last_frame", "driving_audio"],
    ["first_clip", "first_frame"],
    ["first_clip", "driving_audio"],
    ["first_clip", "last_frame", "driving_audio"],
]


@pytest.mark.parametrize("types", LEGAL_27, ids="+".join)
def test_every_documented_media_set_of_wan27_is_sent_as_given(types: list[str]) -> None:
    media = [item(media_type) for media_type in types]

    request = build(gateway=DASHSCOPE, media=media)

    assert request.body["input"]["media"] == media
    assert request.warnings == ()


@pytest.mark.parametrize("types", LEGAL_27, ids="+".join)
def test_the_order_of_the_media_does_not_matter(types: list[str]) -> None:
    media = [item(media_type) for media_type in reversed(types)]

    assert build(media=media).body["input"]["media"] == media


@pytest.mark.parametrize("types", ILLEGAL_27, ids=lambda types: "+".join(types) or "none")
def test_every_other_media_set_is_refused_with_the_legal_ones(types: list[str]) -> None:
    (problem,) = problems_of(media=[item(media_type) for media_type in types])

    assert problem.startswith(f"media: {' + '.join(types) or 'nothing'} is no legal combination for wan2.7-i2v")
    for legal in ("first_frame;", "first_frame + driving_audio;", "first_frame + last_frame;", "first_clip;"):
        assert legal in problem


@pytest.mark.parametrize("media", [None, [], ()])
def test_a_missing_first_frame_is_refused(media: Any) -> None:
    (problem,) = problems_of(media=media)

    assert "nothing is no legal combination" in problem
    assert "first_frame" in problem


@pytest.mark.parametrize(
    "types", [["first_frame"] * 2, ["first_frame"] * 3, ["first_frame", "driving_audio", "driving_audio"]]
)
def test_a_media_type_given_twice_is_refused(types: list[str]) -> None:
    (problem,) = problems_of(media=[item(media_type) for media_type in types])

    assert problem == f"media: {types[-1]} is given {types.count(types[-1])} times; at most one is allowed."


def test_an_unknown_media_type_is_refused_with_those_the_model_takes() -> None:
    (problem,) = problems_of(media=[item("first_frame"), item("firstframe")])

    assert problem == (
        "media: type 'firstframe' is not one of driving_audio, first_clip, first_frame, last_frame, "
        "which wan2.7-i2v takes."
    )


@pytest.mark.parametrize("model", ["happyhorse-1.1-i2v", "happyhorse-1.0-i2v"])
def test_driving_audio_on_happyhorse_is_refused_with_the_model_that_takes_it(model: str) -> None:
    (problem,) = problems_of(model=model, media=[item("first_frame"), item("driving_audio")])

    assert "'driving_audio'" in problem
    assert "use wan2.7-i2v for lip-sync" in problem


@pytest.mark.parametrize(
    "media",
    ["https://your-cdn.com/rap.png", {"type": "first_frame", "url": IMAGE}, 7, {IMAGE}, iter([item("first_frame")])],
)
def test_media_that_is_no_list_is_refused(media: Any) -> None:
    assert any(problem.startswith("media: ") and "is not a list" in problem for problem in problems_of(media=media))


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"type": "first_frame"},
        {"url": IMAGE},
        {"type": "first_frame", "url": None},
        {"type": "", "url": IMAGE},
        "x",
        None,
        3,
    ],
)
def test_a_media_item_without_type_or_url_is_refused_by_its_place(broken: Any) -> None:
    problems = problems_of(media=[item("first_frame"), broken])

    assert [problem for problem in problems if problem.startswith("media[1]:") and "'type' and a 'url'" in problem]


@pytest.mark.parametrize("media_type", [["first_frame"], {}, 1, ("a",), {"x"}])
def test_a_media_type_that_is_not_text_is_refused(media_type: Any) -> None:
    problems = problems_of(media=[{"type": media_type, "url": IMAGE}])

    assert problems[0].startswith("media[0]:")


# URLs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://your-cdn.com/rap.png",
        "rap.png",
        "s3://",
        "https://",
        "https:///rap.png",
        "//your-cdn.com/rap.png",
    ],
)
def test_what_is_no_public_https_url_is_refused_by_field_and_value(url: str) -> None:
    (problem,) = problems_of(media=[item("first_frame", url)])

    assert problem.startswith(f"first_frame: {url!r} ")
    assert "public https:// URL" in problem


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "10.1.2.3", "192.168.0.5", "169.254.169.254", "[::1]", "[fd00::1]", "0.0.0.0"]
)
def test_hosts_the_gateway_cannot_reach_are_refused(host: str) -> None:
    (problem,) = problems_of(media=[item("first_frame", f"https://{host}/rap.png")])

    assert "not reachable from the internet" in problem


@pytest.mark.parametrize(
    "url", ["https://your-cdn.com/中文.png", "https://your-cdn.com/a b.png", "https://your-cdn.com/a\n.png"]
)
def test_characters_that_need_percent_encoding_are_refused(url: str) -> None:
    (problem,) = problems_of(media=[item("first_frame", url)])

    assert "percent-encoded" in problem


def test_a_url_that_cannot_be_parsed_is_refused() -> None:
    (problem,) = problems_of(media=[item("first_frame", "https://[your-cdn.com/rap.png")])

    assert problem == "first_frame: 'https://[your-cdn.com/rap.png' is not a valid URL."


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8765", "http://localhost:8765", "http://[::1]:8765"])
@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost", "[::1]:9000"])
def test_plain_http_on_loopback_is_allowed_for_an_emulator(base_url: str, host: str) -> None:
    url = f"http://{host}/rap.png"

    assert build(base_url=base_url, media=[item("first_frame", url)]).body["input"]["media"][0]["url"] == url


@pytest.mark.parametrize("url", ["http://your-cdn.com/rap.png", "http://10.0.0.1/rap.png", "data/rap.png"])
def test_an_emulator_opens_no_door_beyond_loopback(url: str) -> None:
    (problem,) = problems_of(base_url="http://127.0.0.1:8765", media=[item("first_frame", url)])

    assert "public https:// URL" in problem


def test_loopback_media_is_refused_when_the_gateway_is_not_on_loopback() -> None:
    (problem,) = problems_of(media=[item("first_frame", "http://127.0.0.1:9000/rap.png")])

    assert problem.startswith("first_frame: 'http://127.0.0.1:9000/rap.png' is not a public https:// URL")


def test_an_image_may_be_a_data_uri() -> None:
    uri = "data:image/png;base64,iVBORw0KGgo="

    assert build(media=[item("first_frame", uri), item("last_frame", uri)]).body["input"]["media"][0]["url"] == uri


@pytest.mark.parametrize(
    "bad",
    [
        item("driving_audio", "data:audio/mpeg;base64,SUQz"),
        item("driving_audio", "data:image/png;base64,SUQz"),
        item("last_frame", "data:text/plain;base64,SUQz"),
        item("last_frame", "data:image/png,raw"),
    ],
)
def test_only_images_in_base64_may_be_data_uris(bad: dict[str, str]) -> None:
    (problem,) = problems_of(media=[item("first_frame"), bad])

    assert problem.startswith(f"{bad['type']}: ")
    assert "only images may be base64 data URIs" in problem


def test_a_message_shows_neither_signature_nor_megabytes() -> None:
    signed = "http://bucket.oss-cn-beijing.aliyuncs.com/a.png?Expires=1&Signature=TOPSECRET"
    huge = "data:audio/wav;base64," + "A" * 1_000_000

    with pytest.raises(InvalidVideoRequest) as caught:
        build(media=[item("first_frame", signed), item("driving_audio", huge)])

    told = f"{caught.value} {caught.value!r} {caught.value.problems}"
    assert "TOPSECRET" not in told
    assert "a.png?…" in told
    assert len(told) < 2_000


# Parameters and prompts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [16, 1, 0, -5, 2.5, "ten", "2.5", True, "16", [5], {"s": 5}, float("nan"), float("inf")]
)
def test_a_duration_that_is_no_integer_from_2_to_15_is_refused(value: object) -> None:
    assert problems_of(parameters={"duration": value}) == [
        f"duration: {value!r} is not allowed; it must be an integer from 2 to 15."
    ]


def test_a_number_too_long_for_python_to_read_or_write_is_refused_like_any_other() -> None:
    for value in (10**5000, "9" * 5000, "-" + "9" * 5000):
        (problem,) = problems_of(parameters={"duration": value})

        assert problem.startswith("duration: ")
        assert len(problem) < 250


@pytest.mark.parametrize("value", ["720p", "1080p", " 720P"])
def test_a_misspelt_resolution_is_refused_with_the_right_spelling(value: str) -> None:
    (problem,) = problems_of(parameters={"resolution": value})

    meant = value.strip().upper()
    assert problem == f'resolution: {value!r} is not allowed; it must be "720P" or "1080P" (write "{meant}").'


@pytest.mark.parametrize("value", ["480P", 720, True, ["720P"]])
def test_an_unknown_resolution_is_refused(value: object) -> None:
    assert problems_of(parameters={"resolution": value}) == [
        f'resolution: {value!r} is not allowed; it must be "720P" or "1080P".'
    ]


@pytest.mark.parametrize("name", ["watermark", "prompt_extend"])
@pytest.mark.parametrize("value", ["yes", 1, 0, "1", 2.0])
def test_a_switch_that_is_no_boolean_is_refused(name: str, value: object) -> None:
    assert problems_of(parameters={name: value}) == [f"{name}: {value!r} is not allowed; it must be true or false."]


@pytest.mark.parametrize("value", [-1, 2_147_483_648, "-1", 1.5])
def test_a_seed_out_of_bounds_is_refused(value: object) -> None:
    (problem,) = problems_of(parameters={"seed": value})

    assert problem == f"seed: {value!r} is not allowed; it must be an integer from 0 to 2147483647."


def test_an_unknown_parameter_is_refused_with_the_one_that_was_meant() -> None:
    assert problems_of(parameters={"duratoin": 5}) == [
        "parameters: duratoin=5 is not known for wan2.7-i2v; did you mean duration?"
    ]


@pytest.mark.parametrize("name", ["ratio", "zzz", 3, None, ("a", "b")])
def test_an_unknown_parameter_is_refused_with_those_the_model_takes(name: Any) -> None:
    (problem,) = problems_of(parameters={name: 5})

    assert "it takes resolution, duration, prompt_extend, watermark, seed." in problem


@pytest.mark.parametrize("parameters", ["duration=5", [("duration", 5)], 5, "{'duration': 5}"])
def test_parameters_that_are_no_dict_are_refused(parameters: Any) -> None:
    (problem,) = problems_of(parameters=parameters)

    assert problem.startswith(f"parameters: {parameters!r} is not a dict")


@pytest.mark.parametrize(
    ("model", "longest"), [("wan2.7-i2v", 5000), ("wan2.6-i2v", 1500), ("happyhorse-1.1-i2v", 5000)]
)
def test_a_prompt_over_the_limit_is_refused_since_the_gateway_would_cut_it(model: str, longest: int) -> None:
    assert build(model=model, prompt="字" * longest).prompt == "字" * longest

    (problem,) = problems_of(model=model, prompt="字" * (longest + 1))

    assert problem.startswith(f"prompt: {longest + 1} characters")
    assert f"at most {longest} are allowed" in problem


def test_a_negative_prompt_over_the_limit_is_refused() -> None:
    assert build(negative_prompt="n" * 500)

    (problem,) = problems_of(negative_prompt="n" * 501)

    assert problem.startswith("negative_prompt: 501 characters")
    assert "at most 500" in problem


@pytest.mark.parametrize("unset", [None, "", "None"])
def test_a_prompt_is_required_at_apiyi_only(unset: str | None) -> None:
    assert problems_of(gateway=APIYI, prompt=unset) == ["prompt: missing; APIYI requires one."]

    assert "prompt" not in build(gateway=DASHSCOPE, prompt=unset).body["input"]


@pytest.mark.parametrize("prompt", [7, ["a"], {"a": 1}])
def test_a_prompt_that_is_not_text_is_refused(prompt: Any) -> None:
    assert problems_of(prompt=prompt) == [f"prompt: {prompt!r} is not text."]


def test_half_an_emoji_in_the_prompt_is_refused_before_it_breaks_the_request() -> None:
    (problem,) = problems_of(prompt="a kite \ud83d")

    assert problem.startswith("input.prompt: 'a kite \\ud83d' cannot be sent as JSON")


def test_all_problems_are_told_at_once_and_none_is_cut_off() -> None:
    arguments: dict[str, Any] = {
        "prompt": "p" * 6000,
        "negative_prompt": "n" * 600,
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
    fields = [problem.partition(":")[0] for problem in problems]
    assert fields == [
        *("first_frame", "driving_audio", "prompt", "negative_prompt", "media"),
        *("resolution", "duration", "watermark", "prompt_extend", "seed"),
        *["parameters"] * 9,
    ]
    assert all(problem in str(caught.value) for problem in problems)
    assert str(caught.value).endswith("Nothing was sent.")
    assert not caught.value.retry_can_help


# Models --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [None, "", "None", 7, ["wan2.7-i2v"]])
def test_a_missing_model_is_refused(model: Any) -> None:
    assert problems_of(model=model) == [f"model: {model!r} is not a model id, such as 'wan2.7-i2v'."]


def test_a_dated_snapshot_follows_its_family() -> None:
    request = build(model="wan2.7-i2v-2026-04-25")

    assert request.model == "wan2.7-i2v-2026-04-25"
    assert request.warnings == ()
    assert problems_of(model="wan2.7-i2v-2026-04-25", parameters={"duration": 16})


@pytest.mark.parametrize("model", ["wan2.6-i2v", "wan2.6-i2v-2025-12-01"])
def test_wan26_goes_to_dashscope_in_its_older_body(model: str) -> None:
    request = build(model=model, gateway=DASHSCOPE, media=[item("first_frame"), item("driving_audio")])

    assert request.body == {
        "model": model,
        "input": {"prompt": "a kite", "img_url": IMAGE, "audio_url": AUDIO},
        "parameters": {"resolution": "720P"},
    }


def test_wan26_goes_to_apiyi_in_the_one_schema_it_documents() -> None:
    request = build(model="wan2.6-i2v", gateway=APIYI, media=[item("first_frame")])

    assert request.body["input"] == {"prompt": "a kite", "media": [item("first_frame")]}


@pytest.mark.parametrize("types", [["first_frame", "last_frame"], ["first_clip"]])
def test_wan26_takes_no_last_frame_and_no_clip(types: list[str]) -> None:
    (problem,) = problems_of(model="wan2.6-i2v", media=[item(media_type) for media_type in types])

    assert "is not one of driving_audio, first_frame, which wan2.6-i2v takes" in problem


@pytest.mark.parametrize("types", [["first_frame", "last_frame"], ["first_clip"]])
def test_media_that_apiyi_does_not_document_passes_with_a_warning(types: list[str]) -> None:
    (warning,) = build(gateway=APIYI, media=[item(media_type) for media_type in types]).warnings

    assert warning.startswith(f"APIYI does not document {types[-1]} for wan2.7-i2v")


def test_an_unknown_model_passes_with_a_warning_and_its_fields_as_given() -> None:
    media = [{"type": "link", "url": IMAGE, "weight": 0.5, "reference_voice": AUDIO}]

    request = build(model="wan9-x2v", prompt="p" * 9999, media=media, parameters={"ratio": "21:9", "duration": 99})

    assert request.body == {
        "model": "wan9-x2v",
        "input": {"prompt": "p" * 9999, "media": media},
        "parameters": {"ratio": "21:9", "duration": 99},
    }
    (warning,) = request.warnings
    assert "'wan9-x2v' is not in this package's catalogue" in warning


def test_rendered_text_is_typed_for_an_unknown_model_where_the_name_tells_the_type() -> None:
    given = {"duration": "10", "seed": "7", "watermark": "True", "audio": "false", "ratio": "10", "duration_hint": "10"}

    wire = build(model="wan9-x2v", parameters=given).parameters

    assert wire == {"duration": 10, "seed": 7, "watermark": True, "audio": False, "ratio": "10", "duration_hint": "10"}


def test_text_that_is_no_number_stays_text_for_an_unknown_model() -> None:
    assert build(model="wan9-x2v", parameters={"duration": "auto"}).parameters == {"duration": "auto"}


def test_an_unknown_model_needs_neither_prompt_nor_media() -> None:
    assert build(model="wan9-x2v", prompt=None, media=None).body == {"model": "wan9-x2v", "input": {}, "parameters": {}}


# Every model at both gateways -----------------------------------------------------------------------------------------

VOICE = "https://your-cdn.com/voice.mp3"
FIRST, LAST, SOUND = item("first_frame"), item("last_frame"), item("driving_audio")
FACE, SCENE = item("reference_image"), item("reference_video", CLIP)
SOURCE = item("video", CLIP)
REFERENCES = "reference_image and reference_video"
IMAGE_PARTS = {"media": [FIRST]}
EDIT_PARTS = {"media": [SOURCE, FACE]}
SHAPED = {"resolution": "1080P", "ratio": "4:3", "duration": 5}
SIZED = {"size": "1648*1248", "duration": 5}


@pytest.mark.parametrize(
    ("gateways", "models", "arguments", "inputs", "parameters"),
    [
        ([APIYI, DASHSCOPE], ["wan2.7-t2v"], {"parameters": SHAPED}, {}, SHAPED),
        ([APIYI, DASHSCOPE], ["wan2.7-t2v"], {"audio_url": AUDIO}, {"audio_url": AUDIO}, {"resolution": "720P"}),
        ([APIYI], ["wan2.6-t2v"], {"parameters": SHAPED}, {}, SHAPED),
        ([DASHSCOPE], ["wan2.6-t2v"], {"parameters": SHAPED, "audio_url": AUDIO}, {"audio_url": AUDIO}, SIZED),
        (
            [DASHSCOPE],
            ["wan2.6-t2v"],
            {"parameters": {"shot_type": "multi"}},
            {},
            {"shot_type": "multi", "size": "1280*720"},
        ),
        (
            [DASHSCOPE],
            ["wan2.6-t2v"],
            {"parameters": SHAPED | {"size": "832*480"}},
            {},
            {"duration": 5, "size": "832*480"},
        ),
        ([APIYI, DASHSCOPE], ["wan2.7-i2v"], IMAGE_PARTS, IMAGE_PARTS, {"resolution": "720P"}),
        ([APIYI], ["wan2.6-i2v", "wan2.6-i2v-flash"], IMAGE_PARTS, IMAGE_PARTS, {"resolution": "720P"}),
        ([DASHSCOPE], ["wan2.6-i2v", "wan2.6-i2v-flash"], IMAGE_PARTS, {"img_url": IMAGE}, {"resolution": "720P"}),
        (
            [APIYI, DASHSCOPE],
            ["wan2.7-r2v"],
            {"media": [FACE | {"reference_voice": VOICE}, SCENE, FIRST], "parameters": SHAPED},
            {"media": [FACE | {"reference_voice": VOICE}, SCENE, FIRST]},
            SHAPED,
        ),
        (
            [APIYI],
            ["wan2.6-r2v", "wan2.6-r2v-flash"],
            {"media": [SCENE, FACE]},
            {"media": [SCENE, FACE]},
            {"resolution": "720P"},
        ),
        (
            [DASHSCOPE],
            ["wan2.6-r2v", "wan2.6-r2v-flash"],
            {"media": [SCENE, FACE], "parameters": SHAPED},
            {"reference_urls": [CLIP, IMAGE]},
            SIZED,
        ),
        (
            [DASHSCOPE],
            ["wan2.6-r2v-flash"],
            {"media": [FACE], "parameters": {"audio": "False"}},
            {"reference_urls": [IMAGE]},
            {"audio": False, "size": "1280*720"},
        ),
        (
            [APIYI, DASHSCOPE],
            ["wan2.7-videoedit"],
            EDIT_PARTS | {"parameters": {"duration": "0", "audio_setting": "origin"}},
            EDIT_PARTS,
            {"duration": 0, "audio_setting": "origin", "resolution": "720P"},
        ),
        ([APIYI, DASHSCOPE], ["happyhorse-1.1-t2v", "happyhorse-1.0-t2v"], {"parameters": SHAPED}, {}, SHAPED),
        (
            [DASHSCOPE],
            ["happyhorse-1.1-t2v"],
            {"parameters": {"ratio": "21:9"}},
            {},
            {"ratio": "21:9", "resolution": "720P"},
        ),
        (
            [APIYI, DASHSCOPE],
            ["happyhorse-1.1-i2v", "happyhorse-1.0-i2v"],
            IMAGE_PARTS,
            IMAGE_PARTS,
            {"resolution": "720P"},
        ),
        (
            [APIYI, DASHSCOPE],
            ["happyhorse-1.1-r2v", "happyhorse-1.0-r2v"],
            {"media": [FACE] * 9},
            {"media": [FACE] * 9},
            {"resolution": "720P"},
        ),
        (
            [APIYI, DASHSCOPE],
            ["happyhorse-1.0-video-edit"],
            EDIT_PARTS | {"parameters": {"watermark": False}},
            EDIT_PARTS,
            {"watermark": False, "resolution": "720P"},
        ),
        (
            [APIYI, DASHSCOPE],
            ["wan3.0-video", "wan3.0-video-prime"],
            {"parameters": {"resolution": "480P", "ratio": "adaptive", "duration": -1, "enable_thinking": True}},
            {},
            {"resolution": "480P", "ratio": "adaptive", "duration": -1, "enable_thinking": True},
        ),
        (
            [APIYI, DASHSCOPE],
            ["wan3.0-video"],
            {"media": [FIRST, LAST]},
            {"media": [FIRST, LAST]},
            {"resolution": "720P"},
        ),
    ],
)
def test_a_model_is_asked_in_the_body_that_its_gateway_documents(
    gateways: list[Gateway],
    models: list[str],
    arguments: dict[str, Any],
    inputs: dict[str, Any],
    parameters: dict[str, Any],
) -> None:
    for gateway, model in product(gateways, models):
        request = build(**{"gateway": gateway, "model": model, "media": None} | arguments)

        assert request.body == {"model": model, "input": {"prompt": "a kite"} | inputs, "parameters": parameters}


@pytest.mark.parametrize(
    ("gateway", "model", "arguments", "problem"),
    [
        (APIYI, "wan2.7-t2v", {"media": [FIRST]}, "media: type 'first_frame' is not taken: wan2.7-t2v takes no media."),
        (
            DASHSCOPE,
            "wan2.7-r2v",
            {"media": [FIRST]},
            f"media: 0 {REFERENCES} given; wan2.7-r2v takes 1 to 5 {REFERENCES} together.",
        ),
        (
            APIYI,
            "wan2.7-r2v",
            {"media": [FACE] * 6},
            f"media: 6 {REFERENCES} given; wan2.7-r2v takes 1 to 5 {REFERENCES} together.",
        ),
        (
            APIYI,
            "wan2.7-r2v",
            {"media": [FACE, FIRST, FIRST]},
            "media: first_frame is given 2 times; at most one is allowed.",
        ),
        (
            APIYI,
            "wan2.7-r2v",
            {"media": [SCENE], "parameters": {"duration": 11}},
            "duration: 11 is not allowed; with a reference_video it is at most 10.",
        ),
        (
            APIYI,
            "wan2.7-r2v",
            {"media": [FACE, FIRST | {"reference_voice": VOICE}]},
            "first_frame.reference_voice: not a field of such an item.",
        ),
        (
            DASHSCOPE,
            "wan2.6-r2v",
            {"media": [SCENE] * 4},
            "media: 4 reference_video given; wan2.6-r2v takes 0 to 3 reference_video.",
        ),
        (
            DASHSCOPE,
            "wan2.6-r2v",
            {"media": [FACE | {"reference_voice": VOICE}]},
            "reference_image.reference_voice: not a field of such an item.",
        ),
        (
            APIYI,
            "wan2.7-videoedit",
            {"media": [SOURCE]},
            "media: 0 reference_image given; wan2.7-videoedit takes 1 to 5 reference_image.",
        ),
        (
            DASHSCOPE,
            "wan2.7-videoedit",
            {"media": [SOURCE] + [FACE] * 5},
            "media: 5 reference_image given; wan2.7-videoedit takes 0 to 4 reference_image.",
        ),
        (APIYI, "wan2.7-videoedit", {"media": [FACE]}, "media: 0 video given; wan2.7-videoedit takes exactly 1 video."),
        (
            APIYI,
            "wan2.7-videoedit",
            EDIT_PARTS | {"parameters": {"duration": 1}},
            "duration: 1 is not allowed; it must be an integer from 2 to 10, or 0.",
        ),
        (
            DASHSCOPE,
            "happyhorse-1.1-t2v",
            {"parameters": {"duration": 2}},
            "duration: 2 is not allowed; it must be an integer from 3 to 15.",
        ),
        (
            DASHSCOPE,
            "happyhorse-1.1-t2v",
            {"negative_prompt": "rain"},
            "negative_prompt: DashScope documents none for this model.",
        ),
        (
            DASHSCOPE,
            "happyhorse-1.1-t2v",
            {"parameters": {"ratio": "\uff12\uff11:9"}},
            "ratio: '\uff12\uff11:9' is not allowed; it must be like \"16:9\".",
        ),
        (
            APIYI,
            "happyhorse-1.1-r2v",
            {"media": [FACE] * 10},
            "media: 10 reference_image given; happyhorse-1.1-r2v takes 1 to 9 reference_image.",
        ),
        (
            DASHSCOPE,
            "happyhorse-1.0-video-edit",
            EDIT_PARTS | {"parameters": {"duration": 5}},
            (
                "parameters: duration=5 is not known for happyhorse-1.0-video-edit; "
                "it takes resolution, watermark, seed, audio_setting."
            ),
        ),
        (APIYI, "wan3.0-video", {"media": [FIRST, FACE]}, "media: first_frame cannot be mixed with reference_image."),
        (
            APIYI,
            "wan3.0-video",
            {"media": [item("file"), item("link")]},
            "media: 2 file and link given; wan3.0-video takes 0 to 1 file and link together.",
        ),
        (APIYI, "wan3.0-video", {"prompt": None}, "prompt: missing; wan3.0-video needs a prompt, media or both."),
        (
            DASHSCOPE,
            "wan3.0-video",
            {"parameters": {"duration": 0}},
            "duration: 0 is not allowed; it must be an integer from 2 to 30, or -1.",
        ),
        (
            DASHSCOPE,
            "wan2.6-t2v",
            {"parameters": {"size": "1280x720"}},
            "size: '1280x720' is not allowed; it must be like \"1280*720\".",
        ),
        (APIYI, "wan2.7-i2v", {"media": [FIRST], "audio_url": AUDIO}, "audio_url: wan2.7-i2v takes none."),
        (APIYI, "wan2.7-t2v", {"audio_url": 7}, "audio_url: 7 is not a URL."),
    ],
)
def test_what_is_wrong_for_a_model_is_named(
    gateway: Gateway, model: str, arguments: dict[str, Any], problem: str
) -> None:
    assert problems_of(**{"gateway": gateway, "model": model, "media": None} | arguments) == [problem]


@pytest.mark.parametrize(
    ("model", "arguments", "fields"),
    [
        ("wan2.7-t2v", {"audio_url": AUDIO}, "audio_url"),
        ("wan2.6-t2v", {"audio_url": AUDIO, "parameters": {"shot_type": "multi"}}, "audio_url, shot_type"),
        ("wan2.7-i2v", {"media": [FIRST, LAST]}, "last_frame"),
        ("wan2.7-i2v", {"media": [item("first_clip"), LAST]}, "first_clip, last_frame"),
        ("wan2.6-r2v", {"media": [FACE | {"reference_voice": VOICE}]}, "reference_voice"),
        ("wan2.6-r2v-flash", {"media": [FACE], "parameters": {"audio": True}}, "audio"),
        ("wan2.7-videoedit", EDIT_PARTS | {"parameters": {"duration": 5, "ratio": "1:1"}}, "duration, ratio"),
        ("happyhorse-1.0-video-edit", EDIT_PARTS | {"parameters": {"audio_setting": "auto"}}, "audio_setting"),
    ],
)
def test_a_field_that_apiyi_does_not_document_passes_with_a_warning(
    model: str, arguments: dict[str, Any], fields: str
) -> None:
    asked = {"model": model, "media": None} | arguments

    assert build(gateway=APIYI, **asked).warnings == (
        f"APIYI does not document {fields} for {model}; whether it passes it on to the model is unknown.",
    )


def test_what_dashscope_documents_passes_without_a_warning() -> None:
    arguments = EDIT_PARTS | {"parameters": {"duration": 5, "ratio": "1:1", "audio_setting": "auto"}}

    assert build(gateway=DASHSCOPE, model="wan2.7-videoedit", **arguments).warnings == ()


def test_a_model_that_apiyi_does_not_document_passes_with_a_warning() -> None:
    (warning,) = build(gateway=APIYI, model="wan2.6-i2v-flash").warnings

    assert warning == "APIYI does not document wan2.6-i2v-flash; whether it offers it is unknown."


# What a request says of itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gateway", "model", "arguments", "seconds", "longest", "follows_source", "billed_input"),
    [
        (APIYI, "wan2.7-i2v", {}, 5, 5, False, 0),
        (APIYI, "wan2.7-i2v", {"parameters": {"duration": "10"}}, 10, 10, False, 0),
        (DASHSCOPE, "wan2.7-i2v", {"media": [item("first_clip")]}, 5, 5, False, 0),
        (DASHSCOPE, "wan2.7-r2v", {"media": [FACE]}, 5, 5, False, 0),
        (DASHSCOPE, "wan2.7-r2v", {"media": [FACE, SCENE]}, 5, 5, False, 5),
        (APIYI, "wan2.7-r2v", {"media": [FACE, SCENE]}, 5, 5, False, 0),
        (DASHSCOPE, "wan2.6-r2v", {"media": [SCENE]}, 5, 5, False, 5),
        (DASHSCOPE, "wan2.7-videoedit", EDIT_PARTS, None, 10, True, 10),
        (DASHSCOPE, "wan2.7-videoedit", EDIT_PARTS | {"parameters": {"duration": 0}}, None, 10, True, 10),
        (DASHSCOPE, "wan2.7-videoedit", EDIT_PARTS | {"parameters": {"duration": 4}}, 4, 4, False, 10),
        (APIYI, "wan2.7-videoedit", EDIT_PARTS, None, 10, True, 0),
        (APIYI, "happyhorse-1.0-video-edit", EDIT_PARTS, None, 15, True, 0),
        (DASHSCOPE, "happyhorse-1.0-video-edit", EDIT_PARTS, None, 15, True, 15),
        (APIYI, "wan3.0-video", {"media": [SCENE]}, 5, 5, False, 0),
        (APIYI, "wan3.0-video", {"media": None, "parameters": {"duration": -1}}, None, 30, False, 0),
        (APIYI, "wan9-x2v", {}, None, None, False, 0),
        (APIYI, "wan9-x2v", {"parameters": {"duration": "7"}}, 7, 7, False, 0),
    ],
)
def test_a_request_knows_how_long_the_video_will_be(
    gateway: Gateway,
    model: str,
    arguments: dict[str, Any],
    seconds: float | None,
    longest: float | None,
    follows_source: bool,
    billed_input: float,
) -> None:
    request = build(gateway=gateway, model=model, **arguments)

    assert (request.seconds, request.longest_seconds) == (seconds, longest)
    assert (request.follows_source, request.billed_input_seconds) == (follows_source, billed_input)


@pytest.mark.parametrize(
    ("model", "parameters", "resolution"),
    [
        ("wan2.7-t2v", {}, "720P"),
        ("wan2.7-t2v", {"resolution": "1080P"}, "1080P"),
        ("wan3.0-video", {"resolution": "480P"}, "480P"),
        ("wan2.6-t2v", {}, "720P"),
        ("wan2.6-t2v", {"resolution": "1080P", "ratio": "1:1"}, "1080P"),
        ("wan2.6-t2v", {"resolution": "1080P", "ratio": "3:4"}, "1080P"),
        ("wan2.6-t2v", {"size": "832*480"}, "480P"),
        ("wan2.6-t2v", {"size": "832*1088"}, "720P"),
        ("wan2.6-t2v", {"size": "1440*1440", "resolution": "720P"}, "1080P"),
        ("wan9-x2v", {}, "720P"),
    ],
)
def test_the_resolution_is_told_of_a_size_too(model: str, parameters: dict[str, Any], resolution: str) -> None:
    assert build(gateway=DASHSCOPE, model=model, media=None, parameters=parameters).resolution == resolution


@pytest.mark.parametrize(
    ("model", "arguments", "driven"),
    [
        ("wan2.7-i2v", {"media": [FIRST, SOUND]}, True),
        ("wan2.7-i2v", {"media": [FIRST]}, False),
        ("wan2.7-t2v", {"media": None, "audio_url": AUDIO}, True),
        ("wan2.6-i2v", {"media": [FIRST, SOUND]}, True),
        ("wan2.7-r2v", {"media": [FACE | {"reference_voice": VOICE}]}, False),
    ],
)
def test_a_request_with_a_sound_track_is_driven_by_audio(model: str, arguments: dict[str, Any], driven: bool) -> None:
    assert build(gateway=DASHSCOPE, model=model, **arguments).is_driven_by_audio is driven


def test_every_file_is_listed_with_what_it_must_be() -> None:
    voiced = build(model="wan2.7-r2v", media=[FACE | {"reference_voice": VOICE}, SCENE])
    sounded = build(model="wan2.7-t2v", media=None, audio_url=AUDIO)

    assert voiced.media == (
        MediaReference("reference_image", IMAGE),
        MediaReference("reference_voice", VOICE, AudioLimits(shortest_s=1, longest_s=10, largest_bytes=None)),
        MediaReference("reference_video", CLIP),
    )
    assert [reference.kind for reference in voiced.media] == [MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO]
    assert sounded.media == (MediaReference("audio_url", AUDIO, AudioLimits()),)
    assert MediaReference("link", IMAGE).kind is MediaKind.OTHER


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
def test_files_are_replaced_wherever_the_body_names_them_but_never_in_prompts(
    gateway: Gateway, model: str, arguments: dict[str, Any]
) -> None:
    request = build(gateway=gateway, model=model, prompt="/a.png", negative_prompt="s3://b/a.mp3", **arguments)
    before = json.dumps(request.body)

    there = request.with_urls({"/a.png": IMAGE, "s3://b/a.mp3": AUDIO, "first_frame": "x", model: "y"})

    inputs = there.body["input"]
    rest = json.dumps({name: value for name, value in inputs.items() if "prompt" not in name})
    assert (inputs["prompt"], inputs["negative_prompt"]) == ("/a.png", "s3://b/a.mp3")
    assert "/a.png" not in rest.replace(IMAGE, "")
    assert "s3://" not in rest
    assert there.body["model"] == model
    assert [entry["type"] for entry in inputs.get("media", [])] == [
        entry["type"] for entry in request.body["input"].get("media", [])
    ]
    assert json.dumps(request.body) == before


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a.png",
        "S3://bucket/a.png",
        "gs://bucket/a.png",
        "/data/a.png",
        "/data/中文 a.png",
        "~/a.png",
        "file:///a.png",
    ],
)
def test_a_file_or_an_object_in_a_store_passes_as_written(url: str) -> None:
    assert build(media=[item("first_frame", url)]).media[0].url == url


@pytest.mark.parametrize(
    "url", ["a.png", "./a.png", "~", "~x/a.png", "s3:/bucket", "file:///", "ftp://host/a.png", "C:/a.png"]
)
def test_what_is_neither_absolute_nor_in_a_known_store_is_refused(url: str) -> None:
    (problem,) = problems_of(media=[item("first_frame", url)])

    assert "nor an absolute path" in problem


@pytest.mark.parametrize("media_type", ["file", "link"])
@pytest.mark.parametrize("url", ["/data/story.pdf", "s3://bucket/story.pdf", "data:application/pdf;base64,SUQz"])
def test_documents_and_pages_must_be_on_the_web(media_type: str, url: str) -> None:
    assert len(problems_of(model="wan3.0-video", media=[item(media_type, url)])) == 1
    assert build(model="wan3.0-video", media=[item(media_type, "https://your-cdn.com/story")])


# extra_body ----------------------------------------------------------------------------------------------------------


def test_extra_body_is_laid_over_the_body_dict_by_dict() -> None:
    extra = {"input": {"audio_url": AUDIO}, "parameters": {"shot_type": "multi", "resolution": "480P"}, "user": "me"}

    request = build(extra_body=extra)

    assert request.body == {
        "model": "wan2.7-i2v",
        "input": {"prompt": "a kite", "media": [item("first_frame")], "audio_url": AUDIO},
        "parameters": {"resolution": "480P", "shot_type": "multi"},
        "user": "me",
    }


def test_the_arguments_are_left_as_they_were() -> None:
    media, parameters, extra = [item("first_frame")], {"duration": "10"}, {"input": {"a": 1}, "parameters": {"b": 2}}

    build(media=media, parameters=parameters, extra_body=extra)

    assert (media, parameters) == ([item("first_frame")], {"duration": "10"})
    assert extra == {"input": {"a": 1}, "parameters": {"b": 2}}


@pytest.mark.parametrize("extra", ["{'a': 1}", ["a"], 7])
def test_an_extra_body_that_is_no_dict_is_refused(extra: Any) -> None:
    (problem,) = problems_of(extra_body=extra)

    assert problem.startswith(f"extra_body: {extra!r} is not a dict")


@pytest.mark.parametrize("section", ["input", "parameters"])
@pytest.mark.parametrize("value", [None, "x", ["x"], 3])
def test_an_extra_body_cannot_break_the_shape_of_the_body(section: str, value: object) -> None:
    assert problems_of(extra_body={section: value}) == [f"{section}: {value!r} is not a dict."]


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"parameters": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}, "parameters.when"),
        ({"parameters": {"x": float("nan")}}, "parameters.x"),
        ({"input": {"tags": {"a", "b"}}}, "input.tags"),
        ({"input": {("a", "b"): 1}}, "input.('a', 'b')"),
        ({"user": object}, "user"),
        ({"user": "\udc80"}, "user"),
    ],
)
def test_what_cannot_be_json_is_refused_by_its_field(extra: Any, field: str) -> None:
    (problem,) = problems_of(extra_body=extra)

    assert problem.startswith(f"{field}: ")
    assert "cannot be sent as JSON" in problem


@pytest.mark.parametrize("media", [None, 3, "x", ["x"], [None, {"type": "first_frame"}]])
def test_a_request_with_media_of_any_shape_can_be_shown(media: Any) -> None:
    assert str(build(extra_body={"input": {"media": media}})).startswith("wan2.7-i2v, 720P")


# Anything at all -----------------------------------------------------------------------------------------------------


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
        assert request.with_urls({IMAGE: AUDIO}).resolution
        assert request.longest_seconds is None or request.longest_seconds > 0
    else:
        assert refusal.problems
        assert str(refusal)


@pytest.mark.parametrize("model", [*known_model_ids(), "wan9"])
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
def test_numbers_that_cannot_be_written_out_are_problems_not_crashes(
    model: str, arguments: dict[str, Any], gateway: Gateway
) -> None:
    assert problems_of(model=model, gateway=gateway, **arguments)


@pytest.mark.parametrize("model", ["wan2.7-i2v", "wan9"])
@pytest.mark.parametrize("name", ["media", "parameters", "audio_url", "extra_body"])
def test_endless_nesting_is_a_problem_not_a_crash(model: str, name: str) -> None:
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
    legal = (
        sorted(entry["type"] for entry in media) in [sorted(types) for types in LEGAL_27]
        and 2 <= parameters.get("duration", 5) <= 15
        and 0 <= parameters.get("seed", 0) <= 2_147_483_647
        and parameters.get("resolution", "720P") in ("720P", "1080P")
    )

    if legal:
        request = build(media=media, parameters=parameters)
        assert request.body["input"]["media"] == media
        assert request.parameters == {"resolution": "720P"} | parameters
    else:
        assert problems_of(media=media, parameters=parameters)
