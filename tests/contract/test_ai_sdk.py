"""Vercel's AI SDK with its provider for Alibaba, in both majors, against the emulator to a downloaded file.

Their versions are in clients/package.json. What a test calls their bug is one of both majors, unless it says otherwise;
the test tells when a newer version no longer has it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from foreign_clients import CDN, CLIP, FIRST, KEY, LAST, VOICE, ForeignClient, assert_the_one_video, npm_client
from media_files import image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_wan.emulator.testing import RunningEmulator

DATA_URI = "data:image/png;base64," + base64.b64encode(image()).decode()

# Model, arguments of `experimental_generateVideo`, and the documented `input` and `parameters` that they become.
VIDEOS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "wan2.7 from text and sound": (
        "wan2.7-t2v",
        {
            "prompt": "a kite",
            "resolution": "1280x720",
            "seed": 7,
            "providerOptions": {"alibaba": {"audioUrl": VOICE, "negativePrompt": "rain", "watermark": False}},
        },
        {"prompt": "a kite", "negative_prompt": "rain", "audio_url": VOICE},
        {"resolution": "720P", "ratio": "16:9", "seed": 7, "watermark": False},
    ),
    "wan2.7 from an image and a clip": (
        "wan2.7-r2v",
        {"prompt": "a kite", "inputReferences": [FIRST, CLIP], "resolution": "720x1280"},
        {
            "prompt": "a kite",
            "media": [{"type": "reference_image", "url": FIRST}, {"type": "reference_video", "url": CLIP}],
        },
        {"resolution": "720P", "ratio": "9:16"},
    ),
    "wan2.7 from an image with a voice": (
        "wan2.7-r2v",
        {
            "prompt": "a kite",
            "resolution": "1280x720",
            "providerOptions": {
                "alibaba": {"media": [{"type": "reference_image", "url": FIRST, "referenceVoice": VOICE}]}
            },
        },
        {"prompt": "a kite", "media": [{"type": "reference_image", "url": FIRST, "reference_voice": VOICE}]},
        {"resolution": "720P", "ratio": "16:9"},
    ),
    "wan2.6 from text": (
        "wan2.6-t2v",
        {"prompt": "a kite", "resolution": "1280x720", "providerOptions": {"alibaba": {"shotType": "multi"}}},
        {"prompt": "a kite"},
        {"size": "1280*720", "shot_type": "multi"},
    ),
    "wan2.6 from a first frame": (
        "wan2.6-i2v",
        {"prompt": {"image": FIRST, "text": "a kite"}, "resolution": "1280x720"},
        {"prompt": "a kite", "img_url": FIRST},
        {"resolution": "720P"},
    ),
    "wan2.6 from an image and a clip": (
        "wan2.6-r2v",
        {"prompt": "a kite", "inputReferences": [FIRST, CLIP], "resolution": "1280x720"},
        {"prompt": "a kite", "reference_urls": [FIRST, CLIP]},
        {"size": "1280*720"},
    ),
    "wan3.0 from text": (
        "wan3.0-video",
        {"prompt": "a kite", "resolution": "832x480", "aspectRatio": "16:9", "generateAudio": False},
        {"prompt": "a kite"},
        {"resolution": "480P", "ratio": "16:9", "audio": False},
    ),
    "wan3.0 from first and last frame": (
        "wan3.0-video",
        {
            "prompt": "a kite",
            "frameImages": [
                {"image": DATA_URI, "frameType": "first_frame"},
                {"image": LAST, "frameType": "last_frame"},
            ],
            "resolution": "1280x720",
            "aspectRatio": "adaptive",
        },
        {"prompt": "a kite", "media": [{"type": "first_frame", "url": DATA_URI}, {"type": "last_frame", "url": LAST}]},
        {"resolution": "720P", "ratio": "adaptive"},
    ),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignClient]:
    with ForeignClient(npm_client("ai_sdk.js"), tmp_path_factory.mktemp("ai_sdk")) as running:
        yield running


@pytest.fixture(params=[1, 2], ids=["major 1", "major 2"])
def major(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def make(
    program: ForeignClient, major: int, public_emulator: RunningEmulator, tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Let the SDK make a video of 2 s at tmp_path/video.mp4; returns its metadata, or its `error`."""

    def ask(model: str, wait_ms: int = 20_000, **call: Any) -> dict[str, Any]:
        # Major 1 reads how to poll from the provider's options, major 2 from the call.
        polling = {"pollIntervalMs": 100, "pollTimeoutMs": wait_ms}
        options = {"alibaba": polling | call.pop("providerOptions", {}).get("alibaba", {})}
        call |= {"duration": 2, "providerOptions": options, "poll": {"intervalMs": 100, "timeoutMs": wait_ms}}
        account = {"base_url": public_emulator.base_url, "api_key": KEY}
        return program.ask(
            {"major": major, "model": model, "target": str(tmp_path / "video.mp4"), "call": call} | account
        )

    return ask


@pytest.mark.takes_time
def test_it_asks_until_the_video_is_there(
    make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator, tmp_path: Path
) -> None:
    made = make("wan2.7-t2v", prompt="a kite")

    assert "error" not in made, made
    assert_the_one_video((tmp_path / "video.mp4").read_bytes(), public_emulator)


@pytest.mark.parametrize("video", VIDEOS)
def test_each_model_makes_a_file_from_a_body_that_is_documented(
    video: str, make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator, tmp_path: Path
) -> None:
    model, call, inputs, parameters = VIDEOS[video]

    made = make(model, **call)

    assert "error" not in made, made
    assert made["warnings"] == []
    assert made["usage"]["outputVideoDuration"] == 2
    (request,) = public_emulator.requests()
    assert request["body"] == {"model": model, "input": inputs, "parameters": {"duration": 2} | parameters}
    assert_the_one_video((tmp_path / "video.mp4").read_bytes(), public_emulator)


def test_errors_arrive_as_a_message(make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator) -> None:
    refused = make("wan2.9-t2v", prompt="a kite")
    assert public_emulator.ledger() == []
    failed = make("wan2.7-r2v", prompt="a kite", inputReferences=[f"{CDN}absent.png"])

    assert "wan2.9-t2v" in refused["error"]
    assert public_emulator.ledger()[0]["task_id"] in failed["error"]
    assert [task["billed"] for task in public_emulator.ledger()] == [False]


def test_their_wan27_from_a_first_frame_sends_the_field_of_wan26(
    make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator
) -> None:
    """Their bug: wan2.7-i2v gets `input.img_url`, whatever is asked for; the task fails for want of `input.media`."""
    media = [{"type": "first_frame", "url": FIRST}]
    made = make("wan2.7-i2v", prompt={"image": FIRST, "text": "a kite"}, providerOptions={"alibaba": {"media": media}})

    assert "Field required: input.media" in made["error"]
    assert public_emulator.requests()[0]["body"]["input"] == {"prompt": "a kite", "img_url": FIRST}
    assert [task["billed"] for task in public_emulator.ledger()] == [False]


def test_their_wan26_from_an_image_file_sends_bare_base64(
    make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator
) -> None:
    """Their bug: a data URI becomes base64 without `data:image/png;base64,`, which the gateway takes for a URL."""
    made = make("wan2.6-i2v", prompt={"image": DATA_URI, "text": "a kite"})

    assert public_emulator.requests()[0]["body"]["input"]["img_url"] == DATA_URI.partition(",")[2]
    assert "Video generation failed" in made["error"]


def test_their_wait_does_not_end_with_a_task_that_is_unknown(
    make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator
) -> None:
    """Their bug: they go on asking for a task that the gateway no longer knows, until their own time is over."""
    public_emulator.add_fault("create", "task_unknown")

    made = make("wan2.7-t2v", wait_ms=500, prompt="a kite")

    assert "timed out after 500ms" in made["error"]


def test_their_lost_answer_buys_a_second_video(
    make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator
) -> None:
    """Their bug: a create whose answer is lost is sent again, so that one wish is billed twice.

    Major 2 sends an `idempotency-key` with both; DashScope documents none, and ignores it.
    """
    public_emulator.add_fault("create", "drop_connection")

    made = make("wan2.7-t2v", prompt="a kite")

    assert "error" not in made, made
    assert [task["billed"] for task in public_emulator.ledger()] == [True, True]


def test_their_throttled_poll_buys_a_second_video_in_major_1(
    make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator, major: int
) -> None:
    """Their bug, mended in major 2: when a poll is throttled, major 1 repeats create and wait together."""
    public_emulator.add_fault("poll", "throttled", retry_after=0)

    made = make("wan2.7-t2v", prompt="a kite")

    assert "error" not in made, made
    assert [task["billed"] for task in public_emulator.ledger()] == {1: [True, True], 2: [True]}[major]
