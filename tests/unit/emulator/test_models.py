"""What the emulator takes from the newest documents of single models, at DashScope: sums, bills, cuts and sizes."""

from __future__ import annotations

import io
from typing import Any

import av
import pytest

FRAMES_CREATE = "/api/v1/services/aigc/image2video/video-synthesis"


def body(model: str, types: str = "", media: Any = None, **parameters: Any) -> dict[str, Any]:
    """Return a body with media named as `type=file`."""
    given = (pair.split("=") for pair in types.split())
    items = [{"type": media_type, "url": media.url(name)} for media_type, name in given]
    inputs: dict[str, Any] = {"prompt": "a kite"} | ({"media": items} if items else {})
    return {"model": model, "input": inputs, "parameters": parameters}


def ended(dashscope: Any, request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = dashscope.ended(dashscope.created(request))
    return answer


def failure(dashscope: Any, request: dict[str, Any]) -> str:
    output = ended(dashscope, request)["output"]
    assert output["task_status"] == "FAILED"
    return f"{output['code']}: {output['message']}"


def tracks(mp4: bytes) -> list[str]:
    with av.open(io.BytesIO(mp4)) as container:
        return [stream.type for stream in container.streams]


def test_wan30_tells_input_output_and_their_sum_as_float(dashscope: Any, media: Any) -> None:
    request = body("wan3.0-video", "reference_video=smooth.mp4 " * 2, media, resolution="480P", duration=2)

    usage = ended(dashscope, request)["usage"]

    assert usage == {
        "video_count": 1,
        "duration": pytest.approx(8.0),
        "input_video_duration": pytest.approx(6.0),
        "output_video_duration": 2,
        "fps": 24,
        "SR": 480,
        "ratio": "adaptive",
    }
    assert isinstance(usage["duration"], float)


def test_wan27_r2v_bills_the_sum_of_its_clips_up_to_five_seconds(dashscope: Any, media: Any) -> None:
    request = body("wan2.7-r2v", "reference_video=smooth.mp4 " * 2, media, resolution="720P", duration=2)

    usage = ended(dashscope, request)["usage"]

    assert (usage["input_video_duration"], usage["duration"]) == (5, 7)


def test_a_duration_of_an_edit_only_cuts_its_source(dashscope: Any, media: Any) -> None:
    for duration, output_s in ((2, 2), (9, 3), (0, 3)):
        request = body("wan2.7-videoedit", "video=smooth.mp4", media, resolution="720P", duration=duration)

        assert ended(dashscope, request)["usage"]["output_video_duration"] == output_s


@pytest.mark.parametrize(
    ("types", "parameters", "fact"),
    [
        ("reference_video=long.mp4 reference_video=long.mp4", {}, "InvalidFile.Duration: the clips last 18.0 s"),
        ("reference_video=long.mp4", {"duration": 22}, "InvalidFile.Duration: input and output last 31.0 s"),
        ("reference_video=clip.mp4", {}, "InvalidFile.FPS"),
        ("first_frame=first.png reference_image=last.png", {}, "The two modes are mutually exclusive."),
        ("last_frame=last.png", {}, "InvalidParameter"),
    ],
)
def test_wan30_accepts_what_does_not_fit_together_and_fails_the_task(
    dashscope: Any, media: Any, types: str, parameters: dict[str, Any], fact: str
) -> None:
    assert fact in failure(dashscope, body("wan3.0-video", types, media, resolution="480P", **parameters))


def test_a_size_is_billed_as_its_resolution_and_has_no_ratio(dashscope: Any) -> None:
    usage = ended(dashscope, body("wan2.6-t2v", size="1280*720", duration=2))["usage"]

    assert usage["SR"] == 720
    assert usage["size"] == "1280*720"
    assert "ratio" not in usage


@pytest.mark.parametrize(
    ("model", "size"), [("wan2.6-t2v", "1648*1248"), ("wan2.2-t2v-plus", "1280*720"), ("wan2.6-t2v-us", "832*480")]
)
def test_a_size_of_another_model_fails_the_task(dashscope: Any, model: str, size: str) -> None:
    assert "The size is not match" in failure(dashscope, body(model, size=size, duration=5))


def test_a_long_negative_prompt_is_cut_and_not_refused(dashscope: Any) -> None:
    request = body("wan2.7-t2v", resolution="720P", duration=2)
    request["input"]["negative_prompt"] = "n" * 501

    assert ended(dashscope, request)["output"]["task_status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("model", "parameters", "expected"),
    [
        ("wan3.0-video", {"audio": False, "resolution": "480P", "duration": 2}, ["video"]),
        ("wan3.0-video", {"audio": True, "resolution": "480P", "duration": 2}, ["video", "audio"]),
        ("wan2.5-t2v-preview", {"audio": False, "size": "832*480", "duration": 5}, ["video"]),
        ("wan2.2-t2v-plus", {"size": "832*480", "duration": 5}, ["video"]),
        # It has no such parameter.
        ("wan2.7-t2v", {"audio": False, "resolution": "720P", "duration": 2}, ["video", "audio"]),
    ],
)
def test_a_video_is_silent_where_it_is_asked_to_be_or_always_is(
    dashscope: Any, model: str, parameters: dict[str, Any], expected: list[str]
) -> None:
    assert tracks(dashscope.video(body(model, **parameters))) == expected


def test_wan26_r2v_takes_the_urls_of_videos_in_a_field_of_their_own(dashscope: Any, media: Any) -> None:
    request = body("wan2.6-r2v", size="1280*720", duration=2)
    request["input"]["reference_video_urls"] = [media.url("smooth.mp4")]

    assert ended(dashscope, request)["usage"]["input_video_duration"] == pytest.approx(3.0)


def test_first_and_last_frame_of_wan22_have_fields_and_a_path_of_their_own(dashscope: Any, media: Any) -> None:
    request = body("wan2.2-kf2v-flash", resolution="480P")
    request["input"] |= {"first_frame_url": media.url("first.png"), "last_frame_url": media.url("last.png")}

    answer = dashscope.http.post(FRAMES_CREATE, json=request, headers={"X-DashScope-Async": "enable"})

    task = dashscope.ended(answer.json()["output"]["task_id"])
    assert task["output"]["task_status"] == "SUCCEEDED"
    assert task["usage"]["SR"] == 480


def test_an_image_to_edit_with_is_no_data_uri(dashscope: Any, media: Any) -> None:
    request = body("wan2.7-videoedit", "video=smooth.mp4", media, resolution="720P")
    request["input"]["media"].append({"type": "reference_image", "url": "data:image/png;base64,iVBORw0KGgo="})

    assert "must be an https or oss url" in failure(dashscope, request)


@pytest.mark.parametrize(
    ("model", "role", "name", "code"),
    [
        ("happyhorse-1.1-i2v", "first_frame", "below-happyhorse.png", None),
        ("happyhorse-1.1-r2v", "reference_image", "below-happyhorse.png", "InvalidImageResolution"),
        ("happyhorse-1.1-i2v", "first_frame", "strip.png", "InvalidFile.AspectRatio"),
        ("wan2.7-i2v", "first_frame", "below-happyhorse.png", None),
    ],
)
def test_an_image_is_held_to_the_limits_of_its_model(
    dashscope: Any, media: Any, model: str, role: str, name: str, code: str | None
) -> None:
    output = ended(dashscope, body(model, f"{role}={name}", media, resolution="720P", duration=3))["output"]

    assert output.get("code") == code
