"""Files on disk, in S3 and on the web become videos, through real requests to an S3 server and an emulator."""

from __future__ import annotations

import io
import threading
import time
import wave
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from PIL import Image

from airflow_wan.api.client import WanClient
from airflow_wan.api.gateways import DASHSCOPE, GATEWAYS, Account, GatewayName
from airflow_wan.api.media_items import MediaReference
from airflow_wan.api.requests import VideoRequest
from airflow_wan.api.rules import AudioLimits, ImageLimits
from airflow_wan.emulator.testing import MediaServer, RunningEmulator
from airflow_wan.exceptions import InvalidVideoRequest
from airflow_wan.media.prepare import PreparedMedia, identify, prepare_media

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "films"
WAIT = 1200.0
LIMITS: dict[str, Any] = {
    "first_frame": ImageLimits(),
    "last_frame": ImageLimits(),
    "driving_audio": AudioLimits(),
}


def order(**media: str) -> VideoRequest:
    return VideoRequest(
        body={
            "model": "wan2.7-i2v",
            "input": {"prompt": "a kite", "media": [{"type": role, "url": url} for role, url in media.items()]},
            "parameters": {"resolution": "720P", "duration": 2},
        },
        media=tuple(MediaReference(role, url, LIMITS[role]) for role, url in media.items()),
    )


@pytest.fixture(params=["apiyi", "dashscope"])
def account(request: pytest.FixtureRequest, wan_emulator: RunningEmulator) -> Account:
    return Account(GATEWAYS[GatewayName(request.param)], wan_emulator.base_url, "sk-storage-tests-0123456789")


@pytest.fixture
def frame() -> bytes:
    target = io.BytesIO()
    Image.linear_gradient("L").resize((320, 320)).convert("RGB").save(target, "PNG")
    return target.getvalue()


@pytest.fixture
def voice() -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(bytes(3 * 16_000))
    return target.getvalue()


@pytest.fixture
def bucket(s3: Any, frame: bytes, voice: bytes) -> str:
    s3.put_object(Bucket=BUCKET, Key="in/first frame.png", Body=frame)
    s3.put_object(Bucket=BUCKET, Key="in/voice.wav", Body=voice)
    return f"s3://aws_default@{BUCKET}/in"


@pytest.fixture
def web(tmp_path: Path, frame: bytes) -> Iterator[MediaServer]:
    (tmp_path / "last.png").write_bytes(frame)
    with MediaServer(tmp_path) as server:
        yield server


def prepare(request: VideoRequest, account: Account) -> PreparedMedia:
    with WanClient(account) as client:
        return prepare_media(request, account=account, client=client, valid_for_s=WAIT)


def urls(prepared: PreparedMedia) -> list[str]:
    return [item["url"] for item in prepared.request.body["input"]["media"]]


def status_of(prepared: PreparedMedia, account: Account) -> str:
    deadline = time.monotonic() + 30
    with WanClient(account) as client:
        task = client.create(prepared.request)
        while time.monotonic() < deadline and task.status.name not in ("SUCCEEDED", "FAILED"):
            task = client.get_task(task.wan_task_id)
            threading.Event().wait(0.05)
    return task.status.name


def test_files_from_a_disk_a_bucket_and_the_web_make_one_video(
    account: Account, bucket: str, web: MediaServer, tmp_path: Path, wan_emulator: RunningEmulator, frame: bytes
) -> None:
    local = tmp_path / "first.png"
    local.write_bytes(frame)
    request = order(first_frame=str(local), last_frame=web.url("last.png"), driving_audio=f"{bucket}/voice.wav")

    prepared = prepare(request, account)

    assert status_of(prepared, account) == "SUCCEEDED"
    assert len(wan_emulator.ledger()) == 1
    assert [facts.duration_s for facts in prepared.sources] == [None, None, pytest.approx(3.0)]


def test_an_object_is_sent_as_a_url_that_is_valid_longer_than_the_wait(
    account: Account, bucket: str, frame: bytes
) -> None:
    (signed,) = urls(prepare(order(first_frame=f"{bucket}/first frame.png"), account))

    query = {name: values[0] for name, values in parse_qs(urlsplit(signed).query).items()}
    valid_for = float(query["X-Amz-Expires"]) if "X-Amz-Expires" in query else float(query["Expires"]) - time.time()
    assert valid_for > WAIT
    assert httpx.get(signed).content == frame


def test_objects_are_identified_by_their_etags(bucket: str, s3: Any, frame: bytes) -> None:
    request = order(first_frame=f"{bucket}/first frame.png")
    before = identify(request)
    same = identify(request)
    s3.put_object(Bucket=BUCKET, Key="in/first frame.png", Body=frame + b"changed")

    assert before == same
    assert before[0].digest is not None
    assert before[0].digest != identify(request)[0].digest


def test_an_object_that_breaks_a_limit_is_refused_before_anything_is_bought(
    account: Account, bucket: str, wan_emulator: RunningEmulator
) -> None:
    with pytest.raises(InvalidVideoRequest, match="is not an image"):
        prepare(order(first_frame=f"{bucket}/voice.wav"), account)

    assert wan_emulator.requests() == []


@pytest.mark.parametrize("key", ["none.png", "../in"])
def test_a_missing_object_is_reported(account: Account, bucket: str, key: str) -> None:
    with pytest.raises(InvalidVideoRequest, match="there is no file"):
        prepare(order(first_frame=f"{bucket}/{key}"), account)


def test_a_bucket_that_the_gateway_cannot_reach_is_read_and_uploaded(
    bucket: str, wan_emulator: RunningEmulator
) -> None:
    # A gateway on the internet cannot reach an S3 server on this machine's loopback.
    account = Account(DASHSCOPE, "http://127.0.0.1.invalid", "sk-storage-tests-0123456789")
    near = Account(DASHSCOPE, wan_emulator.base_url, account.api_key)
    request = order(first_frame=f"{bucket}/first frame.png")
    with WanClient(near) as client:
        prepared = prepare_media(request, account=account, client=client, valid_for_s=WAIT)

    assert urls(prepared) == [row["url"] for row in wan_emulator.uploads()]
    assert status_of(prepared, near) == "SUCCEEDED"
