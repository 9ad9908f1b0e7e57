"""The curl command of APIYI's own page for wan2.7-i2v, run against the emulator to a downloaded video."""

from __future__ import annotations

import io
import json
import math
import shutil
import struct
import subprocess
import wave
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image

from airflow_wan.emulator.testing import AT_ONCE, MediaServer, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs the curl binary")

KEY = "sk-seed-0123456789"

# docs.apiyi.com, image-to-video: exactly as published.
SEED_COMMAND = r"""curl --request POST \
  --url https://api.apiyi.com/wan/api/v1/services/aigc/video-generation/video-synthesis \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --header 'X-DashScope-Async: <x-dashscope-async>' \
  --data '
{
  "model": "wan2.7-i2v",
  "input": {
    "prompt": "一个由喷漆所画成的少年从墙上活过来,演唱英文 rap,夜晚铁路桥下,电影级光影",
    "media": [
      {
        "type": "first_frame",
        "url": "https://your-cdn.com/rap.png"
      },
      {
        "type": "driving_audio",
        "url": "https://your-cdn.com/rap.mp3"
      }
    ]
  }
}
'"""


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    folder = tmp_path_factory.mktemp("cdn")
    Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(folder / "rap.png")
    (folder / "rap.mp3").write_bytes(_mp3(seconds=6))
    with MediaServer(folder) as server:
        yield server


@pytest.fixture
def emulator(media: MediaServer) -> Iterator[RunningEmulator]:
    mirrors = (("https://your-cdn.com/", f"{media.base_url}/"),)
    with RunningEmulator(replace(AT_ONCE, media_mirrors=mirrors)) as running:
        yield running


def _mp3(seconds: int) -> bytes:
    """Return a tone; the wheels of PyAV contain an mp3 encoder."""
    source = io.BytesIO()
    with wave.open(source, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(44_100)
        wanted = (int(9000 * math.sin(n / 16)) for n in range(44_100 * seconds))
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in wanted))
    source.seek(0)
    target = io.BytesIO()
    with av.open(source) as wav, av.open(target, "w", format="mp3") as mp3:
        stream = mp3.add_stream("libmp3lame", rate=44_100)
        for frame in wav.decode(audio=0):
            mp3.mux(stream.encode(frame))
        mp3.mux(stream.encode(None))
    return target.getvalue()


def _shell(command: str) -> str:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _seed_command(emulator: RunningEmulator, *, asynchronous: str = "enable") -> str:
    """Return the published command with the host, the key and the async placeholder filled in."""
    return (
        SEED_COMMAND.replace("https://api.apiyi.com", emulator.base_url)
        .replace("<token>", KEY)
        .replace("<x-dashscope-async>", asynchronous)
    )


def _poll(emulator: RunningEmulator, created: dict[str, Any]) -> dict[str, Any]:
    """Return the task, which is finished at its first poll."""
    url = f"{emulator.base_url}/v1/tasks/{created['output']['task_id']}"
    body: dict[str, Any] = json.loads(_shell(f"curl -sS {url} -H 'Authorization: Bearer {KEY}'"))
    return body


def test_the_published_command_ends_in_a_downloaded_video(emulator: RunningEmulator, tmp_path: Path) -> None:
    created = json.loads(_shell(_seed_command(emulator)))
    assert set(created) == {"output", "request_id"}
    assert created["output"]["task_status"] == "PENDING"

    task = _poll(emulator, created)
    assert task["status"] == "completed", task
    target = tmp_path / "rap.mp4"
    _shell(f"curl -sS --fail --output {target} '{task['result_url']}'")

    with av.open(str(target)) as container:
        # The command gives neither: the documented defaults are 5 s and, at APIYI, 720P.
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(5.0, abs=0.05)
        assert container.streams.video[0].height == 720
        assert container.streams.audio


def test_the_emulator_received_the_published_body(emulator: RunningEmulator) -> None:
    _shell(_seed_command(emulator))

    (request,) = emulator.requests()

    published = json.loads(SEED_COMMAND.partition("--data '")[2].removesuffix("'"))
    assert request["body"] == published
    assert request["path"] == "/wan/api/v1/services/aigc/video-generation/video-synthesis"
    assert request["headers"]["content-type"] == "application/json"


def test_the_unfilled_async_placeholder_is_refused(emulator: RunningEmulator) -> None:
    answer = json.loads(_shell(_seed_command(emulator, asynchronous="<x-dashscope-async>")))

    assert "does not support synchronous calls" in answer["error"]["message"]
    assert emulator.ledger() == []


def test_a_download_that_carries_the_key_is_refused(emulator: RunningEmulator) -> None:
    created = json.loads(_shell(_seed_command(emulator)))
    task = _poll(emulator, created)

    answer = _shell(f"curl -sS -o - -w '%{{http_code}}' -H 'Authorization: Bearer {KEY}' '{task['result_url']}'")

    assert answer.endswith("403")
    assert "<Code>SignatureDoesNotMatch</Code>" in answer
