"""The example DAGs, whole and as they are: their public addresses lead to test media."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_wan.emulator.testing import RunningEmulator

# The request of the API page that this provider starts from, as given there.
SEED = """{
    "model": "wan2.7-i2v",
    "input": {
      "prompt": "一个由喷漆所画成的少年从墙上活过来,演唱英文 rap,夜晚铁路桥下,电影级光影",
      "media": [
        {"type": "first_frame",   "url": "https://your-cdn.com/rap.png"},
        {"type": "driving_audio", "url": "https://your-cdn.com/rap.mp3"}
      ]
    },
    "parameters": {"resolution": "720P", "duration": 10, "prompt_extend": true, "watermark": true}
  }"""


@pytest.mark.takes_time
def test_the_smallest_example_hands_on_the_path_of_one_video(
    run_dag: Any, example: Any, watch_film: Any, wan_emulator: RunningEmulator, videos: Path
) -> None:
    run = run_dag(example("example_wan_image_to_video"))

    assert run.state == "success"
    path = run.xcom("animate")
    assert Path(path).is_relative_to(videos)
    film = watch_film(path)
    assert (film.seconds, film.height) == (5.0, 720)
    (bill,) = wan_emulator.ledger()
    assert (bill["billed"], bill["seconds"], bill["resolution"]) == (True, 5, "720P")


@pytest.mark.takes_time
def test_the_rap_is_submitted_waited_for_and_opened_by_the_path_it_was_handed(
    run_dag: Any, example: Any, watch_film: Any, wan_emulator: RunningEmulator
) -> None:
    run = run_dag(example("example_wan_rap"))

    assert run.state == "success"
    (bill,) = wan_emulator.ledger()
    assert bill["billed"]
    assert run.xcom("submit") == bill["task_id"]
    path = run.xcom("wait")
    film = watch_film(path)
    assert (film.seconds, film.width, film.height, film.has_audio) == (10.0, 1280, 720, True)
    assert run.xcom("check") == Path(path).stat().st_size
    video = run.xcom("wait", key="wan_video")
    assert video["path"] == path
    assert video["bytes"] == Path(path).stat().st_size
    assert (video["duration_s"], video["height"], video["has_audio"]) == (10.0, 720, True)
    assert video["wan_task_id"] == bill["task_id"]

    # On the wire was the seed's request, with its three headers.
    (request,) = wan_emulator.requests()
    assert request["method"] == "POST"
    assert request["path"] == "/wan/api/v1/services/aigc/video-generation/video-synthesis"
    assert request["body"] == json.loads(SEED)
    assert request["bearer"]
    assert request["headers"]["content-type"] == "application/json"
    assert request["headers"]["x-dashscope-async"] == "enable"


def test_many_clips_are_made_by_mapping_each_at_its_own_path(
    run_dag: Any, example: Any, watch_film: Any, wan_emulator: RunningEmulator, videos: Path
) -> None:
    run = run_dag(example("example_wan_many_clips"))

    assert run.state == "success"
    paths = [run.xcom("animate", map_index=index) for index in range(3)]
    day = date.fromisoformat(Path(paths[0]).parent.name)
    assert paths == [f"{videos}/{day}/clip-{index}.mp4" for index in range(3)]
    assert {watch_film(path).seconds for path in paths} == {5.0}
    assert run.xcom("publish") == 3
    assert [bill["billed"] for bill in wan_emulator.ledger()] == [True] * 3
    assert {request["body"]["input"]["media"][0]["url"] for request in wan_emulator.requests()} == {
        f"https://your-cdn.com/products/{name}.png" for name in ("mug", "lamp", "chair")
    }


def test_words_references_and_editing_each_make_a_video(
    run_dag: Any, example: Any, watch_film: Any, wan_emulator: RunningEmulator
) -> None:
    run = run_dag(example("example_wan_capabilities"))

    assert run.state == "success"
    assert [bill["billed"] for bill in wan_emulator.ledger()] == [True] * 3
    films = {task_id: watch_film(run.xcom(task_id)) for task_id in ("words", "references", "edit")}
    assert (films["words"].width, films["words"].height) == (720, 1280)
    assert (films["references"].width, films["references"].height) == (1280, 720)


def test_a_clip_of_the_day_is_an_event_of_its_asset(
    run_dag: Any, example: Any, wan_emulator: RunningEmulator, airflow_db: Path
) -> None:
    run = run_dag(example("recipes/publish_new_clips"))

    assert run.state == "success"
    video = run.xcom("film", key="wan_video")
    with sqlite3.connect(airflow_db) as database:
        events = database.execute("SELECT extra FROM asset_event ORDER BY id DESC LIMIT 1").fetchall()
    assert [json.loads(extra) for (extra,) in events] == [
        {
            "path": video["path"],
            "sha256": video["sha256"],
            "duration_s": 5.0,
            "wan_task_id": wan_emulator.ledger()[0]["task_id"],
            "model": "wan2.7-t2v",
            "reused": False,
            "spent_usd": 0.42,
            "video_cost_usd": 0.42,
            "cost_is_estimate": True,
        }
    ]


@pytest.mark.takes_time
def test_run_by_hand_an_example_tells_its_story_and_not_its_key(
    airflow_db: Path, wan_connection: None, wan_api_key: str, examples: Path
) -> None:
    command = [sys.executable, examples / "example_wan_image_to_video.py"]
    # Not measured: Airflow's own code runs here, at twice the time under coverage.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}

    done = subprocess.run(command, env=unmeasured, capture_output=True, text=True, check=True)

    # What Airflow 3.0 says to itself when it is run without its command line is not ours to keep clean.
    story = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if "[debug" not in line)
    for words in ("Submitting wan2.7-i2v, 720P, 5 s", "Submitted as wan task", "running", "done after"):
        assert words in story
    assert wan_api_key not in story
    assert "Signature=" not in story
