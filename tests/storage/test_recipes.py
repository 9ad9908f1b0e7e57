"""What the tasks of the recipes do in a bucket; tests/dags runs the whole recipes."""

from __future__ import annotations

import io
import json
import runpy
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

BUCKET = "films"
BASE = f"s3://aws_default@{BUCKET}"


def recipe(name: str) -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[2] / "example_dags" / "recipes" / f"{name}.py"))


def function(dag: Any, task_id: str) -> Any:
    """Return the Python function of a task."""
    return dag.get_task(task_id).python_callable


def put(s3: Any, key: str, content: bytes = b"content") -> None:
    s3.put_object(Bucket=BUCKET, Key=key, Body=content)


def get(s3: Any, key: str) -> bytes:
    content: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return content


def test_the_table_of_prompts_is_read_from_a_bucket(s3: Any) -> None:
    monday = SimpleNamespace(run_after=datetime(2026, 11, 23, tzinfo=UTC))
    put(s3, "prompts.csv", b'weekday,prompt\nMonday,"A gull,\nin fog"\nSunday,A harbour\n')

    prompts = function(recipe("daily_clips")["dag"], "prompts_of_the_day")

    assert prompts(params={"table": f"{BASE}/prompts.csv"}, dag_run=monday) == ["A gull,\nin fog"]


def test_photos_are_listed_with_their_connection_and_the_catalogue_is_written_beside_the_clips(s3: Any) -> None:
    photo = io.BytesIO()
    Image.new("RGB", (64, 48)).save(photo, "JPEG")
    for key in ("photos/mug.jpg", "photos/a lamp.JPG", "photos/notes.txt"):
        put(s3, key, photo.getvalue())
    dag, params = recipe("product_catalogue")["dag"], {"bucket": BASE}

    assert function(dag, "list_photos")(params=params) == [
        {"first_frame": f"{BASE}/photos/{name}", "output_path": f"{BASE}/clips/{name}.mp4"}
        for name in ("a lamp.JPG", "mug.jpg")
    ]
    videos = [{"path": f"{BASE}/clips/mug.jpg.mp4", "duration_s": 5.0, "model": "wan2.7-i2v"}]
    assert function(dag, "write_catalogue")(videos, params=params) == f"{BASE}/clips/catalogue.jsonl"
    assert json.loads(get(s3, "clips/catalogue.jsonl")) == {
        "product": "mug.jpg",
        "path": f"{BASE}/clips/mug.jpg.mp4",
        "duration_s": 5.0,
    }


def test_a_clip_is_published_from_one_place_in_a_bucket_to_another(s3: Any) -> None:
    names = recipe("publish_new_clips")
    put(s3, "clip-of-the-day/2026-11-26.mp4", b"a clip")
    event = SimpleNamespace(extra={"path": f"{BASE}/clip-of-the-day/2026-11-26.mp4"})

    published = function(names["on_new_clip"], "publish")(
        triggering_asset_events={names["clip_of_the_day"]: [event]}, params={"site": f"{BASE}/site"}
    )

    assert published == [f"{BASE}/site/2026-11-26.mp4"]
    assert get(s3, "site/2026-11-26.mp4") == b"a clip"
