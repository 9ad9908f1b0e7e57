"""Both generations of Alibaba's own SDK against the emulator: a client that this project did not write."""

from __future__ import annotations

import io
import math
import struct
import wave
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import av
import httpx
import pytest
from PIL import Image

from airflow_wan.emulator.testing import AT_ONCE, FAST, MediaServer, RunningEmulator

dashscope = pytest.importorskip("dashscope")
AioVideoSynthesis = pytest.importorskip("dashscope.aigc.video_synthesis").AioVideoSynthesis
DashScopeError = pytest.importorskip("dashscope.v2.errors").DashScopeError

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-contract-0123456789"


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    folder = tmp_path_factory.mktemp("media")
    Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(folder / "first.png")
    with wave.open(str(folder / "voice.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(n / 6))) for n in range(48_000)))
    with MediaServer(folder) as server:
        yield server


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningEmulator]:
    with RunningEmulator(AT_ONCE) as running:
        _point_sdk_at(running, monkeypatch)
        yield running


@pytest.fixture
def emulator_with_states(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningEmulator]:
    """An emulator whose tasks are PENDING and RUNNING for a while, so that the SDK has to wait."""
    with RunningEmulator(FAST) as running:
        _point_sdk_at(running, monkeypatch)
        yield running


@pytest.fixture
def pending_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningEmulator]:
    with RunningEmulator(replace(AT_ONCE, pending_s=3600)) as running:
        _point_sdk_at(running, monkeypatch)
        yield running


@pytest.fixture
def wan27(media: MediaServer) -> dict[str, Any]:
    return {
        "model": "wan2.7-i2v",
        "prompt": "a kite",
        "media": [
            {"type": "first_frame", "url": media.url("first.png")},
            {"type": "driving_audio", "url": media.url("voice.wav")},
        ],
        "resolution": "720P",
        "duration": 2,
    }


@pytest.fixture
def wan26(media: MediaServer) -> dict[str, Any]:
    return {
        "model": "wan2.6-i2v",
        "prompt": "a kite",
        "img_url": media.url("first.png"),
        "audio_url": media.url("voice.wav"),
        "resolution": "720P",
        "duration": 2,
    }


def _point_sdk_at(running: RunningEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashscope, "base_http_api_url", f"{running.base_url}/api/v1")
    monkeypatch.setattr(dashscope, "api_key", KEY)


def _client(running: RunningEmulator, tmp_path: Any) -> Any:
    return dashscope.Client(
        api_key=KEY, base_url=f"{running.base_url}/api/v1", config_path=_empty_config(tmp_path), max_retries=0
    )


def _empty_config(tmp_path: Any) -> Any:
    path = tmp_path / "dashscope.toml"
    path.touch()
    return path


def _assert_is_the_ordered_video(url: str) -> None:
    content = httpx.get(url).raise_for_status().content
    with av.open(io.BytesIO(content)) as container:
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.05)
        assert container.streams.video[0].height == 720
        assert container.streams.audio


class TestFirstGeneration:
    @pytest.mark.parametrize("model", ["wan27", "wan26"])
    def test_call_waits_for_a_finished_video(
        self, emulator_with_states: RunningEmulator, request: pytest.FixtureRequest, model: str
    ) -> None:
        response = dashscope.VideoSynthesis.call(**request.getfixturevalue(model))

        assert response.status_code == HTTPStatus.OK, response
        assert response.output.task_status == "SUCCEEDED"
        assert response.usage["SR"] == 720
        _assert_is_the_ordered_video(response.output.video_url)
        assert [row["billed"] for row in emulator_with_states.ledger()] == [True]

    @pytest.mark.parametrize("model", ["wan27", "wan26"])
    async def test_the_async_sibling_does_too(
        self, emulator: RunningEmulator, request: pytest.FixtureRequest, model: str
    ) -> None:
        response = await AioVideoSynthesis.call(**request.getfixturevalue(model))

        assert response.status_code == HTTPStatus.OK, response
        assert response.output.task_status == "SUCCEEDED"
        _assert_is_the_ordered_video(response.output.video_url)
        assert len(emulator.ledger()) == 1

    def test_the_bodies_on_the_wire_are_the_documented_ones(
        self, emulator: RunningEmulator, wan27: dict[str, Any], wan26: dict[str, Any]
    ) -> None:
        dashscope.VideoSynthesis.async_call(**wan27)
        dashscope.VideoSynthesis.async_call(**wan26)

        new, legacy = emulator.requests()

        assert new["headers"]["x-dashscope-async"] == "enable"
        assert new["body"]["input"]["media"] == wan27["media"]
        assert legacy["body"]["input"]["img_url"] == wan26["img_url"]
        assert legacy["body"]["input"]["audio_url"] == wan26["audio_url"]
        assert "media" not in legacy["body"]["input"]
        assert legacy["body"]["parameters"] == {"resolution": "720P", "duration": 2}

    def test_a_task_is_fetched_listed_and_canceled(
        self, pending_emulator: RunningEmulator, wan27: dict[str, Any]
    ) -> None:
        created = dashscope.VideoSynthesis.async_call(**wan27)
        fetched = dashscope.VideoSynthesis.fetch(created)
        listed = dashscope.VideoSynthesis.list(model_name="wan2.7-i2v", status="PENDING")
        canceled = dashscope.VideoSynthesis.cancel(created)
        again = dashscope.VideoSynthesis.cancel(created)
        waited = dashscope.VideoSynthesis.wait(created)

        task_id = created.output.task_id
        assert (fetched.output.task_id, fetched.output.task_status) == (task_id, "PENDING")
        assert [row["task_id"] for row in listed.output["data"]] == [task_id]
        assert canceled.status_code == HTTPStatus.OK
        assert (again.status_code, again.code) == (HTTPStatus.BAD_REQUEST, "UnsupportedOperation")
        assert waited.output.task_status == "CANCELED"
        assert [row["billed"] for row in pending_emulator.ledger()] == [False]

    async def test_the_async_sibling_fetches_lists_and_cancels(
        self, pending_emulator: RunningEmulator, wan27: dict[str, Any]
    ) -> None:
        created = await AioVideoSynthesis.async_call(**wan27)
        fetched = await AioVideoSynthesis.fetch(created)
        listed = await AioVideoSynthesis.list()
        canceled = await AioVideoSynthesis.cancel(created)

        assert fetched.output.task_status == "PENDING"
        assert [row["task_id"] for row in listed.output["data"]] == [created.output.task_id]
        assert canceled.status_code == HTTPStatus.OK
        assert pending_emulator.ledger()[0]["status"] == "CANCELED"

    def test_errors_arrive_as_code_and_message(self, emulator: RunningEmulator, wan27: dict[str, Any]) -> None:
        unknown = dashscope.VideoSynthesis.async_call(**{**wan27, "model": "wan9.9-i2v"})
        wrong_key = dashscope.VideoSynthesis.async_call(**wan27, api_key="nonsense")
        lost = dashscope.VideoSynthesis.wait("f8ca39a0-6f4b-4ec2-99bf-8b9649d946c4")

        assert (unknown.status_code, unknown.code) == (HTTPStatus.BAD_REQUEST, "InvalidParameter")
        assert (wrong_key.status_code, wrong_key.code) == (HTTPStatus.UNAUTHORIZED, "InvalidApiKey")
        assert lost.output.task_status == "UNKNOWN"
        assert emulator.ledger() == []

    def test_a_task_that_fails_carries_its_code(
        self, emulator: RunningEmulator, wan27: dict[str, Any], media: MediaServer
    ) -> None:
        wan27["media"][0]["url"] = media.url("absent.png")

        response = dashscope.VideoSynthesis.call(**wan27)

        assert response.output.task_status == "FAILED"
        assert response.output.code == "InvalidFile.DownloadFailed"
        assert [row["billed"] for row in emulator.ledger()] == [False]


class TestSecondGeneration:
    def test_generate_waits_for_a_finished_video(
        self, emulator_with_states: RunningEmulator, wan27: dict[str, Any], tmp_path: Any
    ) -> None:
        with _client(emulator_with_states, tmp_path) as client:
            job = client.videos.generate(**wan27, poll_interval=0.1)

        assert job.succeeded
        assert job.submitted_at < job.finished_at
        _assert_is_the_ordered_video(job.video_url)

    def test_generate_sends_wan26_the_legacy_body(
        self, emulator: RunningEmulator, media: MediaServer, tmp_path: Any
    ) -> None:
        with _client(emulator, tmp_path) as client:
            job = client.videos.generate(
                model="wan2.6-i2v",
                prompt="a kite",
                image_url=media.url("first.png"),
                # The second generation has no argument for the legacy audio field, so it goes through `extra_input`.
                extra_input={"audio_url": media.url("voice.wav")},
                resolution="720P",
                duration=2,
                poll_interval=0.1,
            )

        (sent,) = emulator.requests()
        assert sent["body"]["input"]["img_url"] == media.url("first.png")
        _assert_is_the_ordered_video(job.video_url)

    async def test_the_async_client_does_too(
        self, emulator: RunningEmulator, wan27: dict[str, Any], tmp_path: Any
    ) -> None:
        client = dashscope.AsyncClient(
            api_key=KEY, base_url=f"{emulator.base_url}/api/v1", config_path=_empty_config(tmp_path), max_retries=0
        )
        async with client:
            job = await client.videos.generate(**wan27, poll_interval=0.1)

        assert job.succeeded
        _assert_is_the_ordered_video(job.video_url)

    def test_a_job_is_fetched_and_canceled(
        self, pending_emulator: RunningEmulator, wan27: dict[str, Any], tmp_path: Any
    ) -> None:
        with _client(pending_emulator, tmp_path) as client:
            job = client.videos.jobs.create(**wan27)
            fetched = client.videos.jobs.fetch(job.task_id)
            client.videos.jobs.cancel(job.task_id)
            after = client.videos.jobs.fetch(job.task_id)
            with pytest.raises(DashScopeError, match="PENDING status"):
                client.videos.jobs.cancel(job.task_id)

        assert (fetched.status, after.status) == ("PENDING", "CANCELED")

    def test_its_list_finds_no_tasks_because_it_reads_another_field(
        self, pending_emulator: RunningEmulator, wan27: dict[str, Any], tmp_path: Any
    ) -> None:
        """The docs put the rows into `data`; this SDK reads `tasks`, and so finds only the totals."""
        with _client(pending_emulator, tmp_path) as client:
            client.videos.jobs.create(**wan27)
            listed = client.videos.jobs.list(model_name="wan2.7-i2v")

        assert listed.total == 1
        assert listed.tasks == []

    def test_its_list_finds_tasks_where_the_gateway_calls_the_rows_as_it_does(
        self, monkeypatch: pytest.MonkeyPatch, wan27: dict[str, Any], tmp_path: Any
    ) -> None:
        with RunningEmulator(replace(AT_ONCE, pending_s=3600, list_key="tasks")) as running:
            _point_sdk_at(running, monkeypatch)
            with _client(running, tmp_path) as client:
                job = client.videos.jobs.create(**wan27)
                listed = client.videos.jobs.list(model_name="wan2.7-i2v")

        assert [row.task_id for row in listed.tasks] == [job.task_id]

    def test_an_unknown_job_ends_the_wait(self, emulator: RunningEmulator, tmp_path: Any) -> None:
        with _client(emulator, tmp_path) as client:
            job = client.videos.jobs.wait("f8ca39a0-6f4b-4ec2-99bf-8b9649d946c4", poll_interval=0.1)

        assert job.status == "UNKNOWN"
        assert not job.succeeded


class TestUpload:
    """The SDK uploads a local file before it asks for the video."""

    @pytest.fixture
    def frame(self, tmp_path: Any) -> Any:
        path = tmp_path / "first.png"
        Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(path)
        return path

    def test_the_first_generation_uploads_a_local_file(self, emulator: RunningEmulator, frame: Any) -> None:
        response = dashscope.VideoSynthesis.call(
            model="wan2.7-i2v",
            prompt="a kite",
            media=[{"type": "first_frame", "url": str(frame)}],
            resolution="720P",
            duration=2,
        )

        assert response.output.task_status == "SUCCEEDED", response
        (sent,) = emulator.requests()
        (stored,) = emulator.uploads()
        assert sent["headers"]["x-dashscope-ossresourceresolve"] == "enable"
        assert sent["body"]["input"]["media"] == [{"type": "first_frame", "url": stored["url"]}]
        _assert_is_the_ordered_video(response.output.video_url)

    def test_the_second_generation_does_too(self, emulator: RunningEmulator, frame: Any, tmp_path: Any) -> None:
        with _client(emulator, tmp_path) as client:
            job = client.videos.generate(
                model="wan2.7-i2v",
                prompt="a kite",
                media=[{"type": "first_frame", "url": f"file://{frame}"}],
                resolution="720P",
                duration=2,
                poll_interval=0.1,
            )

        assert job.succeeded
        assert len(emulator.uploads()) == 1
