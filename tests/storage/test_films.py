"""Pictures, clips and films in a bucket: copies of pictures that nearly fit, last frames, and clips that are joined."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image

from airflow_wan.emulator.video import Scene, render
from airflow_wan.exceptions import WanError
from airflow_wan.films import join_clips, save_last_frame
from airflow_wan.operators.wan import WanImageToVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Wire

    from airflow_wan.emulator.testing import RunningEmulator

BUCKET = "films"
BASE = f"s3://aws_default@{BUCKET}"


@pytest.fixture
def clips(s3: Any) -> list[str]:
    for name, colour in (("a", "teal"), ("b", "olive")):
        content = render(Scene(Image.new("RGB", (320, 180), colour), None, None, 320, 180, seconds=2))
        s3.put_object(Bucket=BUCKET, Key=f"clips/{name}.mp4", Body=content)
    return [f"{BASE}/clips/a.mp4", f"{BASE}/clips/b.mp4"]


def content_of(s3: Any, key: str) -> io.BytesIO:
    return io.BytesIO(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_clips_in_a_bucket_become_a_film_in_it(clips: list[str], s3: Any) -> None:
    assert join_clips(clips, f"{BASE}/film.mp4") == f"{BASE}/film.mp4"

    with av.open(content_of(s3, "film.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 4 * 24
    assert s3.head_object(Bucket=BUCKET, Key="film.mp4")["ContentType"] == "video/mp4"


def test_the_last_frame_of_a_clip_in_a_bucket_is_a_picture_beside_it(clips: list[str], s3: Any) -> None:
    assert save_last_frame(clips[0]) == f"{BASE}/clips/a.last.png"

    with av.open(content_of(s3, "clips/a.mp4")) as clip, Image.open(content_of(s3, "clips/a.last.png")) as picture:
        *_, last = clip.decode(video=0)
        assert picture.tobytes() == last.to_image().tobytes()


def test_a_store_that_breaks_off_leaves_no_film(clips: list[str], s3: Any, wire: Wire) -> None:
    wire.cut_after(5_000)

    with pytest.raises(WanError):
        join_clips(clips, f"{BASE}/film.mp4")

    wire.mend()
    assert "film.mp4" not in keys(s3)


def test_a_photo_in_a_bucket_is_sent_as_a_copy_that_fits_and_stays_as_it_is(
    s3: Any, runner: Any, connect: Callable[..., None], wan_emulator: RunningEmulator, tmp_path: Path
) -> None:
    connect(wan_emulator.base_url, gateway="dashscope")
    photo = io.BytesIO()
    Image.new("RGBA", (640, 360), (200, 40, 40, 90)).save(photo, "PNG")
    s3.put_object(Bucket=BUCKET, Key="photo.png", Body=photo.getvalue())
    etag = s3.head_object(Bucket=BUCKET, Key="photo.png")["ETag"].strip('"')

    def task() -> WanImageToVideoOperator:
        return WanImageToVideoOperator(
            task_id="animate",
            first_frame=f"{BASE}/photo.png",
            duration=2,
            adapt_media=True,
            output_path=str(tmp_path / "clip.mp4"),
            poll_interval=0.05,
        )

    path = runner.run(task())
    runner.run(task())

    assert len(wan_emulator.ledger()) == 1
    (request,) = wan_emulator.requests()
    assert request["body"]["input"]["media"][0]["url"].startswith("oss://")
    assert content_of(s3, "photo.png").getvalue() == photo.getvalue()
    (source,) = json.loads(Path(f"{path}.json").read_text())["sources"]
    assert source["digest"] == f"etag:{etag}"
    assert source["adapted_digest"].startswith("sha256:")
