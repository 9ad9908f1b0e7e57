"""The example DAGs, whole."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_wan.emulator.testing import RunningEmulator

# The second JSON of the API page this provider starts from, byte for byte.
SEED = """
{
    "model": "wan2.7-i2v",
    "input": {
      "prompt": "一个由喷漆所画成的少年从墙上活过来,演唱英文 rap,夜晚铁路桥下,电影级光影",
      "media": [
        {"type": "first_frame",   "url": "https://your-cdn.com/rap.png"},
        {"type": "driving_audio", "url": "https://your-cdn.com/rap.mp3"}
      ]
    },
    "parameters": {"resolution": "720P", "duration": 10, "prompt_extend": true, "watermark": true}
}
"""


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
