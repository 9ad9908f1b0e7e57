"""Whole tasks between a bucket and the emulator: media out of it, the video back into it, paid once."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import av
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from media_files import tone
from PIL import Image
from task_runner import API_KEY, out_of_time

from airflow_wan.exceptions import VideoDownloadFailed
from airflow_wan.operators.wan import WanImageToVideoOperator
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Wire

    from airflow_wan.emulator.testing import RunningEmulator

BUCKET = "films"


def picture(side: int = 320) -> bytes:
    target = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(target, "PNG")
    return target.getvalue()


@pytest.fixture
def talk(s3: Any, tmp_path: Path) -> Callable[..., WanImageToVideoOperator]:
    """A task with its image in the bucket and its voice on disk; its video goes into the bucket."""
    s3.put_object(Bucket=BUCKET, Key="in/frame.png", Body=picture())
    (tmp_path / "voice.wav").write_bytes(tone(2.5))

    def make(**arguments: Any) -> WanImageToVideoOperator:
        defaults: dict[str, Any] = {
            "task_id": "talk",
            "prompt": "She talks.",
            "first_frame": f"s3://aws_default@{BUCKET}/in/frame.png",
            "driving_audio": str(tmp_path / "voice.wav"),
            "duration": 2,
            "output_path": f"s3://aws_default@{BUCKET}/out/talk.mp4",
            "poll_interval": 0.05,
        }
        return WanImageToVideoOperator(**defaults | arguments)

    return make


@pytest.fixture(autouse=True)
def dashscope(wan_emulator: RunningEmulator, connect: Callable[..., None]) -> None:
    connect(wan_emulator.base_url, gateway="dashscope")


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="out/").get("Contents", [])]


@pytest.mark.takes_time
def test_a_video_with_its_poster_and_record_lands_in_the_bucket_that_its_image_came_from(
    talk: Callable[..., Any], s3: Any, runner: Any, wan_emulator: RunningEmulator, tmp_path: Path
) -> None:
    path = runner.run(talk(poster=True))

    assert path == f"s3://aws_default@{BUCKET}/out/talk.mp4"
    assert keys(s3) == ["out/talk.jpg", "out/talk.mp4", "out/talk.mp4.json"]
    video = s3.get_object(Bucket=BUCKET, Key="out/talk.mp4")
    assert video["ContentType"] == "video/mp4"
    with av.open(io.BytesIO(video["Body"].read())) as container:
        assert container.streams.audio
    (request,) = wan_emulator.requests()
    frame, voice = (item["url"] for item in request["body"]["input"]["media"])
    assert "/in/frame.png?" in frame
    assert voice.startswith("oss://")
    assert request["headers"]["x-dashscope-ossresourceresolve"] == "enable"

    record = s3.get_object(Bucket=BUCKET, Key="out/talk.mp4.json")["Body"].read().decode()
    assert [source["role"] for source in json.loads(record)["sources"]] == ["first_frame", "driving_audio"]
    assert all(source["digest"] for source in json.loads(record)["sources"])
    kept = record + json.dumps(runner.trigger_kwargs + runner.events) + json.dumps(runner.instance.xcoms)
    for secret in (API_KEY, "Signature", "testing-secret", "AWSAccessKeyId"):
        assert secret not in kept


def test_the_same_task_again_hands_on_the_object_and_a_changed_source_is_a_new_wish(
    talk: Callable[..., Any], s3: Any, runner: Any, wan_emulator: RunningEmulator, tmp_path: Path
) -> None:
    runner.run(talk())
    runner.run(talk())
    assert len(wan_emulator.ledger()) == 1

    s3.put_object(Bucket=BUCKET, Key="in/frame.png", Body=picture(300))
    runner.run(talk())
    assert len(wan_emulator.ledger()) == 2

    (tmp_path / "voice.wav").write_bytes(tone(2.2))
    runner.run(talk())
    assert len(wan_emulator.ledger()) == 3


def test_an_upload_that_is_cut_leaves_nothing_and_is_made_good_by_the_next_try_without_buying(
    talk: Callable[..., Any], s3: Any, wire: Wire, runner: Any, wan_emulator: RunningEmulator, monkeypatch: Any
) -> None:
    publish = Destination.publish

    def over_a_bad_line(destination: Destination, staged: Path) -> None:
        wire.cut_after(staged.stat().st_size // 2)
        publish(destination, staged)

    with monkeypatch.context() as bad_line:
        bad_line.setattr(Destination, "publish", over_a_bad_line)
        with pytest.raises(VideoDownloadFailed, match="could not be written"):
            runner.run(talk())
    wire.mend()
    assert wire.cuts
    assert keys(s3) == []

    runner.run(talk())

    assert len(wan_emulator.ledger()) == 1
    assert keys(s3) == ["out/talk.mp4", "out/talk.mp4.json"]


def test_a_video_in_the_bucket_gets_the_poster_it_lacks(
    talk: Callable[..., Any], s3: Any, runner: Any, wan_emulator: RunningEmulator
) -> None:
    runner.run(talk())
    runner.run(talk(poster=True))

    assert len(wan_emulator.ledger()) == 1
    assert runner.instance.xcoms["wan_video"]["poster"] == f"s3://aws_default@{BUCKET}/out/talk.jpg"
    with Image.open(io.BytesIO(s3.get_object(Bucket=BUCKET, Key="out/talk.jpg")["Body"].read())) as poster:
        assert poster.format == "JPEG"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("s3://aws_default@films/in/frame.jpg", "s3://aws_default@films/in/frame.mp4"),
        ("s3://films/in/frame.jpg", "S3://aws_default@films/in/frame.mp4"),
        ("s3a://aws_default@films/in/frame.jpg", "s3://aws_default@films//in/frame.mp4"),
        ("s3://aws_default@films/in//frame.jpg", "s3a://aws_default@films/in/frame.MP4"),
    ],
)
def test_a_poster_never_goes_over_the_image_in_the_bucket(
    source: str, target: str, talk: Callable[..., Any], s3: Any, runner: Any, wan_emulator: RunningEmulator
) -> None:
    s3.put_object(Bucket=BUCKET, Key="in/frame.jpg", Body=b"a photo")

    with pytest.raises(AirflowFailException, match=r"The poster would go to .* which is a source of this request"):
        runner.run(talk(first_frame=source, output_path=target, poster=True))

    assert s3.get_object(Bucket=BUCKET, Key="in/frame.jpg")["Body"].read() == b"a photo"
    assert wan_emulator.ledger() == []


@pytest.mark.parametrize("name", ["talk.mp4", "talk.mp4.json", "talk.jpg"])
def test_an_object_that_nobody_knows_stays_and_nothing_is_bought(
    name: str, talk: Callable[..., Any], s3: Any, runner: Any, wan_emulator: RunningEmulator
) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"out/{name}", Body=b"precious")

    with pytest.raises(AirflowFailException, match="Nothing was sent"):
        runner.run(talk(poster=True))

    assert s3.get_object(Bucket=BUCKET, Key=f"out/{name}")["Body"].read() == b"precious"
    assert wan_emulator.ledger() == []


@pytest.mark.takes_time
@pytest.mark.parametrize("name", ["talk.mp4.json", "talk.jpg"])
def test_an_object_that_comes_beside_while_the_video_is_made_stays(
    name: str, talk: Callable[..., Any], s3: Any, runner: Any
) -> None:
    fire = runner._fire
    put = {"Bucket": BUCKET, "Key": f"out/{name}", "Body": b"precious"}
    runner._fire = lambda trigger: (s3.put_object(**put), fire(trigger))[1]

    runner.run(talk(poster=True))

    assert s3.get_object(Bucket=BUCKET, Key=f"out/{name}")["Body"].read() == b"precious"
    assert "out/talk.mp4" in keys(s3)


def test_a_retry_sends_no_file_anew_for_what_is_bought(
    talk: Callable[..., Any], s3: Any, runner: Any, wan_emulator: RunningEmulator
) -> None:
    with out_of_time(wan_emulator):
        runner.run(talk(timeout=0.01))
    uploaded = len(wan_emulator.uploads())
    s3.delete_object(Bucket=BUCKET, Key="in/frame.png")  # it is not asked for again

    runner.run(talk())

    assert len(wan_emulator.uploads()) == uploaded == 1
    assert len(wan_emulator.ledger()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"first_frame": f"s3://aws_default@{BUCKET}/in/nothing.png"}, "there is no file"),
        ({"driving_audio": "/data/nothing.wav"}, "there is no file /data/nothing.wav on this worker"),
        ({"output_path": "s3://aws_default@no-such-bucket/talk.mp4"}, "no-such-bucket"),
        ({"output_path": "S3://aws_default@no-such-bucket/talk.mp4"}, "no-such-bucket"),
        ({"output_path": "s3://aws_default@films"}, "a bucket without a key"),
        ({"output_path": "s3:/films/talk.mp4"}, "a URI begins with s3://"),
        ({"output_path": "s3://nobody@films/talk.mp4"}, "nobody"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_sent(
    arguments: dict[str, str], sentence: str, talk: Callable[..., Any], runner: Any, wan_emulator: RunningEmulator
) -> None:
    with pytest.raises(Exception, match=sentence):
        runner.run(talk(**arguments))

    assert wan_emulator.requests() == []
    assert runner.store.rows == {}


def test_a_local_voice_cannot_go_to_apiyi_and_the_error_says_what_would_work(
    talk: Callable[..., Any], runner: Any, wan_emulator: RunningEmulator, connect: Callable[..., None]
) -> None:
    connect(wan_emulator.base_url, gateway="apiyi")

    with pytest.raises(AirflowFailException, match="use a connection to DashScope"):
        runner.run(talk())

    assert wan_emulator.requests() == []


@pytest.mark.takes_time
def test_a_local_image_goes_to_apiyi_inside_the_request(
    talk: Callable[..., Any], runner: Any, wan_emulator: RunningEmulator, connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(wan_emulator.base_url, gateway="apiyi")
    (tmp_path / "frame.png").write_bytes(picture())

    runner.run(talk(first_frame=f"file://{tmp_path}/frame.png", driving_audio=None))

    (request,) = wan_emulator.requests()
    assert request["body"]["input"]["media"][0]["url"].startswith("data:image/png;base64,")
    assert "base64" not in json.dumps(runner.instance.xcoms) + repr(runner.trigger_kwargs)


def test_no_log_line_of_a_whole_task_shows_what_signs_a_request(
    talk: Callable[..., WanImageToVideoOperator], runner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("botocore", "aiobotocore", "httpcore", "httpx", "s3fs", "urllib3"):
        caplog.set_level(logging.DEBUG, name)

    runner.run(talk())

    # The S3 server and the emulator run in this process, and log what they are asked.
    servers = ("werkzeug", "uvicorn.access")
    said = "\n".join(record.getMessage() for record in caplog.records if record.name not in servers)
    assert "Sending http request" in said
    for secret in (API_KEY, "testing-secret", "StringToSign", "CanonicalRequest", "Signature:\n"):
        assert secret not in said
    assert "Signature=" not in said.replace("Signature=…", "")
