"""litellm's video calls against the emulator to a downloaded file. Its version is in constraints/clients.txt.

What a test calls its bug is one of that version; the test tells when a newer one no longer has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from foreign_clients import CDN, FIRST, KEY, LAST, VOICE, ForeignClient, assert_the_one_video, python_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_wan.emulator.testing import RunningEmulator

# Model, arguments of `video_generation`, and the documented `input` and `parameters` that they become.
VIDEOS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "wan2.7 from text and sound": (
        "wan2.7-t2v",
        {"size": "1280x720", "audio_url": VOICE, "negative_prompt": "rain", "seed": 7, "watermark": False},
        {"audio_url": VOICE, "negative_prompt": "rain"},
        {"resolution": "720P", "ratio": "16:9", "seed": 7, "watermark": False},
    ),
    "wan2.7 from a first frame": (
        "wan2.7-i2v",
        {"input_reference": FIRST, "resolution": "720P"},
        {"media": [{"type": "first_frame", "url": FIRST}]},
        {"resolution": "720P"},
    ),
    "wan2.7 from a first frame with a voice": (
        "wan2.7-i2v",
        {
            "media": [{"type": "first_frame", "url": FIRST}, {"type": "driving_audio", "url": VOICE}],
            "resolution": "1080P",
        },
        {"media": [{"type": "first_frame", "url": FIRST}, {"type": "driving_audio", "url": VOICE}]},
        {"resolution": "1080P"},
    ),
    "wan2.7 from an image": (
        "wan2.7-r2v",
        {"input_reference": FIRST, "size": "720x1280"},
        {"media": [{"type": "reference_image", "url": FIRST}]},
        {"resolution": "720P", "ratio": "9:16"},
    ),
    "wan2.6 from text": (
        "wan2.6-t2v",
        {"parameters": {"size": "1280*720", "shot_type": "multi"}},
        {},
        {"size": "1280*720", "shot_type": "multi"},
    ),
    "wan2.6 from a first frame": (
        "wan2.6-i2v",
        {"input_reference": FIRST, "resolution": "720P"},
        {"img_url": FIRST},
        {"resolution": "720P"},
    ),
    "wan3.0 from first and last frame": (
        "wan3.0-video",
        {
            "media": [{"type": "first_frame", "url": FIRST}, {"type": "last_frame", "url": LAST}],
            "resolution": "480P",
            "ratio": "adaptive",
            "audio": False,
        },
        {"media": [{"type": "first_frame", "url": FIRST}, {"type": "last_frame", "url": LAST}]},
        {"resolution": "480P", "ratio": "adaptive", "audio": False},
    ),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignClient]:
    command = python_client("litellm", "python", "litellm_video.py")
    with ForeignClient(command, tmp_path_factory.mktemp("litellm")) as running:
        yield running


@pytest.fixture
def make(program: ForeignClient, public_emulator: RunningEmulator, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Let litellm make a video of 2 s at tmp_path/video.mp4; returns its last video object, or an `error`."""

    def ask(model: str, **call: Any) -> dict[str, Any]:
        account = {"api_base": public_emulator.base_url, "api_key": KEY}
        order = {"model": f"dashscope/{model}", "prompt": "a kite", "seconds": "2"} | call
        return program.ask({"target": str(tmp_path / "video.mp4"), "account": account, "call": order})

    return ask


@pytest.mark.takes_time
def test_it_asks_until_the_video_is_there(
    make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator, tmp_path: Path
) -> None:
    made = make("wan2.7-t2v")

    assert made.get("status") == "completed", made
    assert made["created_at"] <= made["completed_at"]
    assert_the_one_video((tmp_path / "video.mp4").read_bytes(), public_emulator)


@pytest.mark.parametrize("video", VIDEOS)
def test_each_model_makes_a_file_from_a_body_that_is_documented(
    video: str, make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator, tmp_path: Path
) -> None:
    model, call, inputs, parameters = VIDEOS[video]

    made = make(model, **call)

    assert made.get("status") == "completed", made
    assert made["usage"]["duration_seconds"] == 2
    (request,) = public_emulator.requests()
    assert request["body"] == {
        "model": model,
        "input": {"prompt": "a kite"} | inputs,
        "parameters": {"duration": 2} | parameters,
    }
    assert_the_one_video((tmp_path / "video.mp4").read_bytes(), public_emulator)


def test_errors_arrive_as_a_message(make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator) -> None:
    refused = make("wan2.9-t2v")
    assert public_emulator.ledger() == []
    failed = make("wan2.7-i2v", input_reference=f"{CDN}absent.png")

    assert "wan2.9-t2v" in refused["error"]
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "InvalidFile.DownloadFailed"
    assert [task["billed"] for task in public_emulator.ledger()] == [False]


def test_a_create_is_sent_once_although_its_answer_is_lost(
    make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator
) -> None:
    public_emulator.add_fault("create", "drop_connection")

    made = make("wan2.7-t2v")

    assert "Server disconnected" in made["error"]
    assert [task["billed"] for task in public_emulator.ledger()] == [True]


def test_a_throttled_poll_is_told_as_such(
    make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator
) -> None:
    public_emulator.add_fault("poll", "throttled")

    made = make("wan2.7-t2v")

    assert made["error"].startswith("RateLimitError")
    assert len(public_emulator.requests()) == 1


def test_a_task_that_is_unknown_is_told_as_such(
    make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator
) -> None:
    public_emulator.add_fault("create", "task_unknown")

    made = make("wan2.7-t2v")

    assert "Task not found" in made["error"]


@pytest.mark.parametrize(
    ("call", "sent"),
    [({"input_reference": FIRST}, {"img_url": FIRST}), ({"reference_urls": [FIRST]}, {})],
    ids=["input_reference", "reference_urls"],
)
def test_its_wan26_from_references_never_sends_them(
    call: dict[str, Any], sent: dict[str, str], make: Callable[..., dict[str, Any]], public_emulator: RunningEmulator
) -> None:
    """Its bug: wan2.6-r2v gets the field of wan2.6-i2v, or none; the task fails for want of `input.reference_urls`."""
    made = make("wan2.6-r2v", **call)

    assert "reference_urls" in made["error"]["message"]
    assert public_emulator.requests()[0]["body"]["input"] == {"prompt": "a kite"} | sent
    assert [task["billed"] for task in public_emulator.ledger()] == [False]
