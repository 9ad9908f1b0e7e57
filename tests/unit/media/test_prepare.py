"""Media from every kind of source, and what each gateway is sent for them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import pathlib
import socket
import struct
import threading
import time
import wave
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from media_files import image, tone
from PIL import Image

from airflow_wan.api.client import WanClient
from airflow_wan.api.gateways import GATEWAYS, Account, GatewayName
from airflow_wan.api.media_items import MediaReference
from airflow_wan.api.requests import VideoRequest, build_video_request
from airflow_wan.api.rules import AudioLimits, ImageLimits
from airflow_wan.exceptions import InvalidVideoRequest, RequestRejected, WanError
from airflow_wan.media import gateway_access, inspection
from airflow_wan.media.gateway_access import GatewayAccess
from airflow_wan.media.prepare import PreparedMedia, identify, prepare_media
from airflow_wan.media.sources import MAX_SENT_BYTES, LocalFile, SourceFacts
from airflow_wan.redaction import shareable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import SimpleNamespace

    from airflow_wan.emulator.testing import MediaServer, RunningEmulator

KEY = "sk-unit-tests-0123456789"
LIMITS: dict[str, Any] = {
    "first_frame": ImageLimits(),
    "last_frame": ImageLimits(),
    "driving_audio": AudioLimits(),
}


def order(**media: str) -> VideoRequest:
    items = [{"type": role, "url": url} for role, url in media.items()]
    return VideoRequest(
        body={
            "model": "wan2.7-i2v",
            "input": {"prompt": "a kite", "media": items},
            "parameters": {"resolution": "720P", "duration": 2},
        },
        media=tuple(MediaReference(role, url, LIMITS.get(role)) for role, url in media.items()),
    )


def account_of(emulator: RunningEmulator, name: str) -> Account:
    return Account(GATEWAYS[GatewayName(name)], emulator.base_url, KEY)


@pytest.fixture
def account(gateway: SimpleNamespace) -> Account:
    return account_of(gateway.emulator, gateway.name)


@pytest.fixture
def dashscope(wan_emulator: RunningEmulator) -> Account:
    return account_of(wan_emulator, "dashscope")


@pytest.fixture
def apiyi(wan_emulator: RunningEmulator) -> Account:
    return account_of(wan_emulator, "apiyi")


def prepare(request: VideoRequest, account: Account, *, preflight: bool = True) -> PreparedMedia:
    with WanClient(account) as client:
        return prepare_media(request, account=account, client=client, valid_for_s=1200.0, preflight=preflight)


def urls(prepared: PreparedMedia) -> list[str]:
    return [item["url"] for item in prepared.request.body["input"]["media"]]


def make_video(prepared: PreparedMedia, account: Account) -> Any:
    """Submit the request, and wait until its task has ended."""
    deadline = time.monotonic() + 30
    with WanClient(account) as client:
        task = client.create(prepared.request)
        while time.monotonic() < deadline:
            task = client.get_task(task.wan_task_id)
            if task.status.name in ("SUCCEEDED", "FAILED"):
                return task
            threading.Event().wait(0.05)
    raise AssertionError("the task did not end")


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    path = tmp_path / "first frame #1.png"
    Image.linear_gradient("L").resize((320, 320)).convert("RGB").save(path)
    return path


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    path = tmp_path / "voice.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(bytes(3 * 16_000))
    return path


class Store(MemoryFileSystem):
    """An object store in memory, which signs URLs if a test says so."""

    protocol = "memory"
    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012  # fsspec has it so
    pseudo_dirs = [""]  # noqa: RUF012
    signs: str | None = None
    asked: list[float] = []  # noqa: RUF012

    def sign(self, path: str, expiration: float = 100, **_: Any) -> str:
        self.asked.append(expiration)
        if self.signs is None:
            raise NotImplementedError
        return self.signs


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store behind `memory://`, with and without a connection."""
    from airflow.sdk.io import store as stores

    fs = Store()
    fs.asked = []
    fs.store.clear()
    monkeypatch.setattr(stores, "_STORE_CACHE", dict(stores._STORE_CACHE))
    stores.attach("memory", fs=fs)
    yield fs
    fs.store.clear()


class TestOnTheWire:
    @pytest.mark.parametrize("spelling", ["{path}", "file://{quoted}", "file://localhost{quoted}"])
    def test_a_local_image_becomes_a_video_on_either_gateway(
        self, account: Account, gateway: SimpleNamespace, frame: Path, spelling: str
    ) -> None:
        url = spelling.format(path=frame, quoted=str(frame).replace(" ", "%20").replace("#", "%23"))

        prepared = prepare(order(first_frame=url), account)

        (sent,) = urls(prepared)
        if gateway.name == "dashscope":
            assert [row["url"] for row in gateway.emulator.uploads()] == [sent]
        else:
            assert base64.b64decode(sent.removeprefix("data:image/png;base64,")) == frame.read_bytes()
        assert make_video(prepared, account).status.name == "SUCCEEDED"
        assert len(gateway.emulator.ledger()) == 1

    def test_https_and_data_uris_stay_as_they_are(self, account: Account, media: MediaServer, frame: Path) -> None:
        data = f"data:image/png;base64,{base64.b64encode(frame.read_bytes()).decode()}"
        request = order(first_frame=media.url("frame.png"), last_frame=data)

        prepared = prepare(request, account)

        assert prepared.request == request
        assert make_video(prepared, account).status.name == "SUCCEEDED"

    def test_sound_goes_to_dashscope_as_a_file(self, dashscope: Account, frame: Path, voice: Path) -> None:
        prepared = prepare(order(first_frame=str(frame), driving_audio=str(voice)), dashscope)

        assert all(url.startswith("oss://dashscope-instant/") for url in urls(prepared))
        assert make_video(prepared, dashscope).status.name == "SUCCEEDED"

    def test_sound_cannot_go_to_apiyi_as_a_file_and_the_error_says_what_would_work(
        self, apiyi: Account, frame: Path, voice: Path, wan_emulator: RunningEmulator
    ) -> None:
        with pytest.raises(InvalidVideoRequest, match=r"s3://… .* public https:// URL, .* DashScope") as raised:
            prepare(order(first_frame=str(frame), driving_audio=str(voice)), apiyi)

        assert [problem.partition(":")[0] for problem in raised.value.problems] == ["driving_audio"]
        assert wan_emulator.requests() == []

    def test_a_large_image_cannot_go_to_apiyi(
        self, apiyi: Account, frame: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gateway_access, "MAX_INLINE_BYTES", 100)

        with pytest.raises(InvalidVideoRequest, match="only an image"):
            prepare(order(first_frame=str(frame)), apiyi)

    def test_one_file_in_two_roles_is_uploaded_once(
        self, dashscope: Account, frame: Path, wan_emulator: RunningEmulator
    ) -> None:
        prepared = prepare(order(first_frame=str(frame), last_frame=str(frame)), dashscope)

        assert urls(prepared) == [wan_emulator.uploads()[0]["url"]] * 2
        assert len(wan_emulator.uploads()) == 1

    def test_a_retry_uploads_again(self, dashscope: Account, frame: Path, wan_emulator: RunningEmulator) -> None:
        request = order(first_frame=str(frame))

        assert urls(prepare(request, dashscope)) != urls(prepare(request, dashscope))
        assert len(wan_emulator.uploads()) == 2

    def test_an_image_that_cannot_be_uploaded_goes_into_the_request(
        self, dashscope: Account, frame: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        refused = replace(dashscope, api_key="no-key-for-the-emulator")

        (sent,) = urls(prepare(order(first_frame=str(frame)), refused))

        assert sent.startswith("data:image/png;base64,")
        assert "could not be uploaded" in caplog.text
        assert sent[40:80] not in caplog.text

    def test_other_files_that_cannot_be_uploaded_are_an_error(self, dashscope: Account, voice: Path) -> None:
        refused = replace(dashscope, api_key="no-key-for-the-emulator")

        with pytest.raises(Exception, match="InvalidApiKey"):
            prepare(order(driving_audio=str(voice)), refused)

    def test_a_file_too_large_for_the_store_is_refused_before_it_is_sent(
        self, dashscope: Account, tmp_path: Path
    ) -> None:
        large = tmp_path / "large.png"
        large.write_bytes(image())
        with large.open("r+b") as file:
            file.truncate(101 * 1024 * 1024)

        with pytest.raises(RequestRejected, match="at most 100 MB"):
            prepare(order(first_frame=str(large)), dashscope, preflight=False)

    def test_only_dashscope_takes_a_file_of_its_temporary_store(self, dashscope: Account, apiyi: Account) -> None:
        request = order(first_frame="oss://dashscope-instant/abc/2026-11-25/a.png")

        assert prepare(request, dashscope).request == request
        with pytest.raises(InvalidVideoRequest, match="APIYI cannot read"):
            prepare(request, apiyi)


@pytest.mark.parametrize("changed_before", ["the upload", "nothing"])
def test_a_file_that_is_rewritten_in_place_after_the_look_is_not_used(
    account: Account, frame: Path, changed_before: str
) -> None:
    request = order(first_frame=str(frame))
    with WanClient(account) as client, GatewayAccess(request.model, account, client, 60.0) as access:
        access.find(LocalFile(frame), request.media[0])
        if changed_before == "nothing":
            assert access.url_of(request.media[0])
            return
        threading.Event().wait(0.02)  # longer than the clock of a file system takes for a step
        with frame.open("r+b") as file:
            file.write(b"root:x:0:0")
        with pytest.raises(WanError, match="was changed while it was read") as raised:
            access.url_of(request.media[0])

    assert raised.value.retry_can_help


class TestNoSuchPlace:
    @pytest.mark.parametrize("preflight", [True, False])
    @pytest.mark.parametrize(
        "url", ["s3://no_such@b/a.png", "S3://no_such@b/a#b?.png", "gs://no_such@b/a.png", "oss://no_such@b/a"]
    )
    def test_a_connection_that_is_not_defined_is_named_as_such(
        self, dashscope: Account, runner: Any, url: str, preflight: bool, wan_emulator: RunningEmulator
    ) -> None:
        if url.startswith("oss:"):
            pytest.importorskip("ossfs")

        with pytest.raises(InvalidVideoRequest) as raised:
            prepare(order(first_frame=url), dashscope, preflight=preflight)

        assert raised.value.problems == [
            f"first_frame: no such connection: {url} names one that Airflow does not have."
        ]
        assert wan_emulator.requests() == []

    @pytest.mark.parametrize("preflight", [True, False])
    @pytest.mark.parametrize(
        "path",
        [
            "/no/such/file.png",
            "/no/such\0file.png",
            f"/{'a' * 300}.png",
            "/etc/passwd/a.png",
            "/proc/self/mem",
            "/dev/zero",
            "/tmp",
            "file://host/a.png",
            "file:a.png",
            "~nobody-of-this-name/a.png",
        ],
    )
    def test_a_path_that_can_never_work_is_not_tried_again(
        self, dashscope: Account, path: str, preflight: bool, wan_emulator: RunningEmulator
    ) -> None:
        with pytest.raises(InvalidVideoRequest, match=r"first_frame: ") as raised:
            prepare(order(first_frame=path), dashscope, preflight=preflight)

        assert not raised.value.retry_can_help
        assert wan_emulator.requests() == []


class TestTheLengthOfTheTrack:
    @pytest.fixture
    def request_of(self, frame: Path) -> Callable[..., VideoRequest]:
        def build(sound: str | None, duration: Any = "audio", **named: Any) -> VideoRequest:
            items = [{"type": "first_frame", "url": str(frame)}]
            if sound is not None:
                items.append({"type": "driving_audio", "url": sound})
            arguments: dict[str, Any] = {"model": "wan2.7-i2v", "prompt": "x", "media": items}
            return build_video_request(
                gateway=GATEWAYS[GatewayName.DASHSCOPE],
                base_url="https://dashscope-intl.aliyuncs.com",
                parameters={"duration": duration},
                **arguments | named,
            )

        return build

    @pytest.mark.parametrize(
        ("seconds", "ordered"), [(5.57, 6), (5.0, 5), (5.05, 5), (5.2, 6), (1.95, 2), (14.9, 15), (15.05, 15)]
    )
    def test_the_video_is_as_long_as_its_sound_in_whole_seconds(
        self, dashscope: Account, request_of: Callable[..., VideoRequest], tmp_path: Path, seconds: float, ordered: int
    ) -> None:
        (tmp_path / "voice.wav").write_bytes(tone(seconds))

        prepared = prepare(request_of(str(tmp_path / "voice.wav")), dashscope)

        assert prepared.request.parameters["duration"] == prepared.request.seconds == ordered

    def test_a_longer_sound_than_any_video_is_refused(
        self, dashscope: Account, request_of: Callable[..., VideoRequest], tmp_path: Path
    ) -> None:
        (tmp_path / "voice.wav").write_bytes(tone(16.0))

        with pytest.raises(InvalidVideoRequest, match=r"lasts 16\.00 s; wan2\.7-i2v makes at most 15 s"):
            prepare(request_of(str(tmp_path / "voice.wav")), dashscope)

    def test_a_sound_that_is_not_measured_has_no_length_to_follow(
        self, dashscope: Account, request_of: Callable[..., VideoRequest], voice: Path
    ) -> None:
        with pytest.raises(InvalidVideoRequest, match="preflight=True"):
            prepare(request_of(str(voice)), dashscope, preflight=False)

    @pytest.mark.parametrize(
        ("named", "why"), [({}, "needs a sound track"), ({"model": "wan9-x"}, "not known which durations wan9-x takes")]
    )
    def test_without_a_sound_there_is_nothing_to_follow(
        self, request_of: Callable[..., VideoRequest], named: dict[str, Any], why: str
    ) -> None:
        with pytest.raises(InvalidVideoRequest, match=why):
            request_of(None, **named)

    @pytest.mark.parametrize(("duration", "warns"), [(3, True), (5, True), (6, False), ("audio", False)])
    def test_a_sound_that_is_longer_than_the_video_gets_a_warning(
        self,
        dashscope: Account,
        request_of: Callable[..., VideoRequest],
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        duration: Any,
        warns: bool,
    ) -> None:
        (tmp_path / "voice.wav").write_bytes(tone(5.57))

        prepare(request_of(str(tmp_path / "voice.wav"), duration), dashscope)

        assert ("The sound track lasts 5.57 s and the video" in caplog.text) is warns


class TestSizesAndLengths:
    def test_of_a_file_that_is_too_large_no_byte_is_read(self, dashscope: Account, frame: Path, tmp_path: Path) -> None:
        sound = tmp_path / "long.wav"
        sound.write_bytes(tone(1.0))
        with sound.open("r+b") as file:
            file.truncate(3 * 1024**3)  # a sparse file: it takes no space
        before = bytes_read()

        with pytest.raises(InvalidVideoRequest, match=r"driving_audio: .*has 3072\.0 MB; at most 15 MB are allowed"):
            prepare(order(first_frame=str(frame), driving_audio=str(sound)), dashscope)

        assert bytes_read() - before < 100_000_000

    def test_a_size_that_is_just_too_large_is_told_in_enough_digits(self, dashscope: Account, tmp_path: Path) -> None:
        picture = tmp_path / "large.png"
        picture.write_bytes(image().ljust(20 * 1024 * 1024 + 600))

        with pytest.raises(InvalidVideoRequest, match=r"has 20\.001 MB; at most 20 MB are allowed"):
            prepare(order(first_frame=str(picture)), dashscope)

    @pytest.mark.parametrize("preflight", [True, False])
    def test_a_role_without_limits_has_the_limit_of_an_upload(
        self, dashscope: Account, tmp_path: Path, preflight: bool
    ) -> None:
        sound = tmp_path / "long.wav"
        sound.write_bytes(tone(1.0))
        with sound.open("r+b") as file:
            file.truncate(3 * 1024**3)
        before = bytes_read()

        with pytest.raises(InvalidVideoRequest, match=r"has 3072\.0 MB; at most 1024 MB can be sent"):
            prepare(order(reference_voice=str(sound)), dashscope, preflight=preflight)

        assert bytes_read() - before < 100_000_000

    def test_a_length_that_cannot_be_measured_is_told(
        self, dashscope: Account, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        clip = tmp_path / "clip.mp4"
        clip.write_bytes(clip_of_unknown_length())

        prepare(order(reference_video=str(clip)), dashscope)

        assert f"reference_video: the length of {clip} could not be measured" in caplog.text


def bytes_read() -> int:
    """Bytes that this process has read so far."""
    return int(pathlib.Path("/proc/self/io").read_text().split()[1])


def clip_of_unknown_length() -> bytes:
    def box(kind: bytes, *content: bytes) -> bytes:
        body = b"".join(content)
        return struct.pack(">I4s", 8 + len(body), kind) + body

    track = box(
        b"trak",
        box(b"tkhd", bytes(76), struct.pack(">II", 320 << 16, 180 << 16)),
        box(b"mdia", box(b"hdlr", bytes(8) + b"vide" + bytes(13))),
    )
    return box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", bytes(100)), track) + box(b"mdat")


class TestObjectStores:
    def test_an_object_of_a_store_that_cannot_sign_is_sent_like_a_local_file(
        self, account: Account, gateway: SimpleNamespace, store: Store, frame: Path
    ) -> None:
        store.pipe("/bucket/first.png", frame.read_bytes())

        prepared = prepare(order(first_frame="memory://bucket/first.png"), account)

        assert urls(prepared)[0].startswith("oss://" if gateway.name == "dashscope" else "data:image/png")
        assert make_video(prepared, account).status.name == "SUCCEEDED"

    def test_a_signed_url_is_sent_and_is_valid_longer_than_the_wait(
        self, account: Account, store: Store, frame: Path
    ) -> None:
        store.pipe("/bucket/first.png", frame.read_bytes())
        store.signs = "https://bucket.example.com/first.png?Signature=TOPSECRET"

        prepared = prepare(order(first_frame="memory://bucket/first.png"), account)

        assert urls(prepared) == [store.signs]
        assert store.asked == [1200 + 3600]
        assert [facts.url for facts in prepared.sources] == ["memory://bucket/first.png"]

    @pytest.mark.parametrize(
        "signed",
        [
            "http://bucket.example.com/a.png?Signature=TOPSECRET",
            "https://10.0.0.7/a.png?Signature=TOPSECRET",
            "https://minio:9000/a.png?Signature=TOPSECRET",
            "https://minio.private.example/a.png?Signature=TOPSECRET",
            "https://localhost/a.png?Signature=TOPSECRET",
            "memory://bucket/first.png",
            "",
        ],
    )
    def test_a_signed_url_that_the_gateway_cannot_reach_is_not_sent(
        self,
        store: Store,
        frame: Path,
        signed: str,
        dashscope: Account,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        look_up = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *rest, **named: look_up(
                "10.0.0.7" if host == "minio.private.example" else host, *rest, **named
            ),
        )
        store.pipe("/bucket/first.png", frame.read_bytes())
        store.signs = signed
        # This gateway is not on loopback, so the URL must be a public one; the upload fails, as nobody answers there.
        far = replace(dashscope, base_url="http://127.0.0.1.nip.invalid")

        (sent,) = urls(prepare(order(first_frame="memory://bucket/first.png"), far))

        assert sent.startswith("data:image/png")
        assert "TOPSECRET" not in caplog.text

    def test_a_missing_object_is_reported_before_anything_is_bought(
        self, account: Account, store: Store, gateway: SimpleNamespace
    ) -> None:
        with pytest.raises(InvalidVideoRequest, match=r"first_frame: there is no file memory://bucket/none\.png"):
            prepare(order(first_frame="memory://bucket/none.png"), account)

        assert gateway.emulator.requests() == []

    @pytest.mark.parametrize("preflight", [True, False])
    @pytest.mark.parametrize(("url", "package"), [("abfs://b/a.png", "[azure]"), ("gs://b/a.png", "[gcs]")])
    def test_a_store_without_its_package_is_reported_with_the_package(
        self, apiyi: Account, url: str, package: str, preflight: bool
    ) -> None:
        with pytest.raises(InvalidVideoRequest, match="cannot be opened") as raised:
            prepare(order(first_frame=url), apiyi, preflight=preflight)

        assert package in str(raised.value)

    def test_a_failing_store_is_a_warning_in_preflight_and_then_an_error(
        self, dashscope: Account, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: Any, **__: Any) -> Any:
            raise RuntimeError("no answer from https://store/a?Signature=TOPSECRET")

        monkeypatch.setattr(store, "info", fail)
        monkeypatch.setattr(store, "open", fail)

        with pytest.raises(Exception, match=r"first_frame: memory://bucket/a\.png could not be read") as raised:
            prepare(order(first_frame="memory://bucket/a.png"), dashscope)

        assert not isinstance(raised.value, InvalidVideoRequest)
        assert "could not be checked from here" in caplog.text
        assert "TOPSECRET" not in f"{raised.value}{caplog.text}"


class TestPreflight:
    def test_all_problems_of_all_media_come_at_once(
        self, account: Account, tmp_path: Path, voice: Path, gateway: SimpleNamespace, media: MediaServer
    ) -> None:
        small = tmp_path / "small.png"
        Image.new("RGBA", (100, 100)).save(small)

        with pytest.raises(InvalidVideoRequest) as raised:
            prepare(order(first_frame=str(small), last_frame=str(voice), driving_audio=media.url("frame.png")), account)

        assert [problem.partition(":")[0] for problem in raised.value.problems] == [
            "first_frame",
            "first_frame",
            "last_frame",
            "driving_audio",
        ]
        assert "is 100x100 px; 240 to 8000 px a side are allowed" in str(raised.value)
        assert gateway.emulator.requests() == []
        assert gateway.emulator.uploads() == []

    def test_it_can_be_switched_off(self, dashscope: Account, tmp_path: Path, media: MediaServer) -> None:
        small = tmp_path / "small.png"
        Image.new("RGB", (100, 100)).save(small)
        request = order(first_frame=str(small), driving_audio=media.url("frame.png"))

        assert urls(prepare(request, dashscope, preflight=False))[0].startswith("oss://")

    @pytest.mark.parametrize("preflight", [True, False])
    def test_a_missing_empty_or_odd_file_is_reported_with_and_without_preflight(
        self, account: Account, tmp_path: Path, preflight: bool
    ) -> None:
        (tmp_path / "empty.png").touch()
        request = order(
            first_frame=str(tmp_path / "none.png"),
            last_frame=str(tmp_path / "empty.png"),
            driving_audio=str(tmp_path),
            reference_image="data:image/png;base64,???",
        )

        with pytest.raises(InvalidVideoRequest) as raised:
            prepare(request, account, preflight=preflight)

        text = str(raised.value)
        assert f"first_frame: there is no file {tmp_path / 'none.png'} on this worker" in text
        assert f"last_frame: {tmp_path / 'empty.png'} is empty" in text
        assert f"driving_audio: {tmp_path} is a folder" in text
        assert "reference_image: data:image/png;base64,… is not valid base64" in text

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1:1/a.png?Signature=TOPSECRET",
            "https://no-such-host.invalid/a.png?Signature=TOPSECRET",
            "{media}/absent.png?Signature=TOPSECRET",
        ],
    )
    def test_a_file_that_the_worker_cannot_reach_is_only_a_warning(
        self, account: Account, media: MediaServer, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        request = order(first_frame=url.format(media=media.base_url))
        began = time.monotonic()

        prepared = prepare(request, account)

        assert prepared.request == request
        assert "could not be checked from here" in caplog.text
        assert "TOPSECRET" not in caplog.text
        assert time.monotonic() - began < inspection.MAX_SECONDS

    def test_a_private_host_is_not_contacted_for_a_gateway_on_the_internet(
        self, apiyi: Account, media: MediaServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        request = order(first_frame=media.url("frame.png"), driving_audio=media.url("frame.png"))
        far = replace(apiyi, base_url="https://gateway.invalid")

        assert prepare(request, far).request == request
        assert caplog.text.count("could not be checked from here") == 2

    def test_a_source_that_never_answers_is_skipped(
        self, apiyi: Account, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        over = threading.Event()
        monkeypatch.setattr(store, "info", lambda *_, **__: over.wait(60))
        monkeypatch.setattr(inspection, "MAX_SECONDS", 0.2)
        store.signs = "https://bucket.example.com/first.png?Signature=TOPSECRET"
        began = time.monotonic()

        prepared = prepare(order(first_frame="memory://bucket/a.png"), apiyi)
        over.set()

        assert urls(prepared) == [store.signs]
        assert "longer than 0.2 s" in caplog.text
        assert time.monotonic() - began < 10


PASSWD = b"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n" * 40
ROLES = {"first_frame": "image", "driving_audio": "sound", "first_clip": "clip"}
NO_MEDIA = {
    "text": PASSWD,
    **{
        f"a box {kind.decode()}": b"\0\0\0\x08" + kind + PASSWD
        for kind in (b"free", b"skip", b"wide", b"mdat", b"moov")
    },
    "text that reads ftyp": b"abcdftyp" + PASSWD,
    "a box ftyp": b"\0\0\0\x10ftypisom\0\0\0\0" + PASSWD,
    "boxes without a track": b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov\0\0\0\0mdat" + PASSWD,
    "UTF-16": b"\xff\xfe" + PASSWD.decode().encode("utf-16-le"),
    "text with a mark": b"\xef\xbb\xbf" + PASSWD,
    **{
        f"text after {head[:4]!r}": head + PASSWD
        for head in (
            *(b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*"),
            *(b"RIFF\xff\0\0\0WEBPVP8 ", b"RIFF\xff\0\0\0WEBPVP8L", b"RIFF\xff\0\0\0WAVE", b"RIFF\xff\0\0\0WAVEfmt "),
            *(b"ID3\x03\0\0\0\0\0\0", b"\xff\xfb\x90\0", b"fLaC", b"OggS\0", b"FORM\0\0\1\0AIFF", b"\x1aE\xdf\xa3"),
        )
    },
}


@pytest.mark.parametrize("preflight", [True, False])
class TestOnlyMediaAreSent:
    """Neither an upload nor a create is sent for a file that is not found to be media of the wanted kind."""

    @pytest.fixture(autouse=True)
    def _nothing_is_sent(self, gateway: SimpleNamespace) -> Iterator[None]:
        yield
        assert gateway.emulator.requests() == []
        assert gateway.emulator.uploads() == []

    @pytest.mark.parametrize("role", ROLES)
    @pytest.mark.parametrize("what", NO_MEDIA)
    def test_no_local_file(self, account: Account, tmp_path: Path, role: str, what: str, preflight: bool) -> None:
        path = tmp_path / "secret"
        path.write_bytes(NO_MEDIA[what])

        with pytest.raises(InvalidVideoRequest, match=rf"{role}: .*/secret .*Nothing was sent") as raised:
            prepare(order(**{role: str(path)}), account, preflight=preflight)

        assert "root:" not in str(raised.value)

    @pytest.mark.parametrize("role", ROLES)
    @pytest.mark.parametrize(
        "url", ["/etc/passwd", "file:///etc/passwd", "file://localhost/etc/passwd", "~/.ssh/id_rsa"]
    )
    def test_no_file_of_the_system(
        self, account: Account, tmp_path: Path, role: str, url: str, preflight: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh/id_rsa").write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n")

        with pytest.raises(InvalidVideoRequest, match=rf"{role}: .*(it holds text|MP4 or MOV)"):
            prepare(order(**{role: url}), account, preflight=preflight)

    @pytest.mark.parametrize(
        ("place", "what"),
        [
            *((device, "not a regular file") for device in ("/dev/zero", "/dev/null", "/dev/random", "fifo", "socket")),
            *((empty, "is empty") for empty in ("/proc/self/environ", "empty.png")),
            *((folder, "is a folder") for folder in ("/", "folder", "/proc/self")),
            *((missing, "there is no file") for missing in ("none.png", "dangling", "sur\udcffrogate")),
            *((odd, "could not be looked at") for odd in ("loop", "a" * 300, "/proc/self/mem")),
            ("nul\0", "has a NUL character"),
        ],
    )
    def test_nothing_that_is_no_file(
        self, account: Account, tmp_path: Path, place: str, what: str, preflight: bool
    ) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "empty.png").touch()
        (tmp_path / "folder").mkdir()
        (tmp_path / "dangling").symlink_to("nowhere")
        (tmp_path / "loop").symlink_to("loop")
        with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tmp_path):
            listener.bind("socket")

        with pytest.raises(InvalidVideoRequest) as raised:
            prepare(order(first_frame=str(tmp_path / place)), account, preflight=preflight)

        assert what in str(raised.value)
        assert str(raised.value).isprintable()

    def test_no_text_in_a_store(self, account: Account, store: Store, preflight: bool) -> None:
        store.pipe("/bucket/first.png", PASSWD)

        with pytest.raises(InvalidVideoRequest, match="it holds text"):
            prepare(order(first_frame="memory://bucket/first.png"), account, preflight=preflight)

    @pytest.mark.parametrize("content", [PASSWD, b"<svg xmlns='http://www.w3.org/2000/svg'/>", tone(1)])
    def test_no_text_in_a_data_uri(self, account: Account, content: bytes, preflight: bool) -> None:
        url = f"data:image/png;base64,{base64.b64encode(content).decode()}"

        with pytest.raises(InvalidVideoRequest, match="is not an image"):
            prepare(order(first_frame=url), account, preflight=preflight)

    def test_no_image_for_a_sound(self, account: Account, frame: Path, preflight: bool) -> None:
        """One file in two roles is looked at for both."""
        with pytest.raises(InvalidVideoRequest, match=r"driving_audio: .* is not a sound"):
            prepare(order(first_frame=str(frame), driving_audio=str(frame)), account, preflight=preflight)

    def test_no_good_file_beside_a_bad_one(
        self, account: Account, frame: Path, tmp_path: Path, preflight: bool
    ) -> None:
        (tmp_path / "secret").write_bytes(PASSWD)

        with pytest.raises(InvalidVideoRequest, match="last_frame"):
            prepare(order(first_frame=str(frame), last_frame=str(tmp_path / "secret")), account, preflight=preflight)

    def test_no_file_of_an_unknown_kind(self, account: Account, frame: Path, preflight: bool) -> None:
        with pytest.raises(InvalidVideoRequest, match="not known what kind"):
            prepare(order(mystery=str(frame)), account, preflight=preflight)

    def test_no_file_that_is_larger_than_any_that_can_be_sent(
        self, account: Account, tmp_path: Path, preflight: bool
    ) -> None:
        with (tmp_path / "sparse.png").open("wb") as file:
            file.write(image())
            file.truncate(2 * MAX_SENT_BYTES)

        with pytest.raises(InvalidVideoRequest):
            prepare(order(first_frame=str(tmp_path / "sparse.png")), account, preflight=preflight)

    @pytest.mark.parametrize("seconds", [0.0, 12.0])
    def test_no_file_whose_look_took_too_long_or_failed(
        self, account: Account, tmp_path: Path, preflight: bool, seconds: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> Any:
            raise RuntimeError("no look")

        (tmp_path / "secret").write_bytes(PASSWD)
        monkeypatch.setattr(inspection, "MAX_SECONDS", seconds)
        monkeypatch.setattr(LocalFile, "digest", fail)

        with pytest.raises(InvalidVideoRequest, match="it holds text"):
            prepare(order(first_frame=str(tmp_path / "secret")), account, preflight=preflight)

    def test_no_file_that_cannot_be_read(
        self, account: Account, frame: Path, preflight: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Broken(io.BytesIO):
            def read(self, *_: Any) -> bytes:
                raise OSError(5, "Input/output error")

        monkeypatch.setattr(LocalFile, "open", lambda *_: Broken(frame.read_bytes()))

        with pytest.raises(InvalidVideoRequest, match="could not be looked at"):
            prepare(order(first_frame=str(frame)), account, preflight=preflight)


@pytest.mark.parametrize("preflight", [True, False])
@pytest.mark.parametrize("how", ["replaced", "link"])
def test_what_is_uploaded_is_what_was_looked_at_even_if_another_file_takes_its_place(
    dashscope: Account, tmp_path: Path, preflight: bool, how: str
) -> None:
    secret, picture, path = tmp_path / "secret", tmp_path / "picture.png", tmp_path / "first.png"
    secret.write_bytes(PASSWD)
    picture.write_bytes(image())
    path.symlink_to(picture) if how == "link" else path.write_bytes(image())

    def swap() -> None:
        (tmp_path / "new").symlink_to(secret)
        (tmp_path / "new").replace(path)

    with CountingStore(on_policy=swap) as counting:
        prepare(order(first_frame=str(path)), replace(dashscope, base_url=counting.base_url), preflight=preflight)

    assert path.read_bytes() == PASSWD
    assert image() in counting.beginning
    assert b"root:" not in counting.beginning


@pytest.mark.parametrize(
    ("role", "content"),
    [
        *(("first_frame", image(kind=kind)) for kind in ("JPEG", "PNG", "BMP", "WEBP")),
        ("first_frame", image(kind="JPEG") + PASSWD),
        ("driving_audio", tone(3)),
    ],
)
def test_media_are_uploaded_even_if_no_look_was_possible_before(
    dashscope: Account, tmp_path: Path, role: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(content)
    monkeypatch.setattr(inspection, "MAX_SECONDS", 0.0)

    assert urls(prepare(order(**{role: str(tmp_path / "a")}), dashscope))[0].startswith("oss://")


def test_a_clip_is_uploaded_even_if_no_look_was_possible_before(
    dashscope: Account, film_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "MAX_SECONDS", 0.0)

    assert urls(prepare(order(first_clip=str(film_file)), dashscope))[0].startswith("oss://")


def test_a_worker_without_a_home_folder_is_told_so(dashscope: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.expanduser", fail)

    with pytest.raises(InvalidVideoRequest, match="no home folder"):
        prepare(order(first_frame="~/a.png"), dashscope)


class TestIdentity:
    @given(
        url=st.text(max_size=40)
        | st.tuples(
            st.sampled_from(["data:image/png;base64,", "https://", "file://", "~/", "/", "oss://dashscope-instant/"]),
            st.text(max_size=20),
        ).map("".join)
    )
    def test_no_url_raises_an_error(self, url: str) -> None:
        (facts,) = identify(order(first_frame=url))

        assert facts.role == "first_frame"

    def test_files_are_identified_by_their_content(self, frame: Path, store: Store, tmp_path: Path) -> None:
        copy = tmp_path / "copy.png"
        copy.write_bytes(frame.read_bytes())
        data = f"data:image/png;base64,{base64.b64encode(frame.read_bytes()).decode()}"
        digest = f"sha256:{hashlib.sha256(frame.read_bytes()).hexdigest()}"

        assert identify(order(first_frame=str(frame), last_frame=str(copy), reference_image=data)) == (
            SourceFacts("first_frame", str(frame), digest),
            SourceFacts("last_frame", str(copy), digest),
            SourceFacts("reference_image", shareable(data), digest),
        )

    def test_a_file_that_cannot_be_read_has_no_digest_and_is_no_error(self, tmp_path: Path, store: Store) -> None:
        facts = identify(
            order(
                first_frame=str(tmp_path / "none.png"),
                last_frame="https://someone:secret@cdn.example.com/a.png?Signature=TOPSECRET#x",
                reference_image="gs://bucket/a.png",
                driving_audio="memory://bucket/none.wav",
            )
        )

        assert [(source.url, source.digest) for source in facts] == [
            (str(tmp_path / "none.png"), None),
            ("https://cdn.example.com/a.png", None),
            ("gs://bucket/a.png", None),
            ("memory://bucket/none.wav", None),
        ]

    def test_preparing_finds_the_same_digests_and_the_length_of_sounds(
        self, dashscope: Account, frame: Path, voice: Path
    ) -> None:
        request = order(first_frame=str(frame), driving_audio=str(voice))

        prepared = prepare(request, dashscope)

        assert [facts.digest for facts in prepared.sources] == [facts.digest for facts in identify(request)]
        assert [facts.duration_s for facts in prepared.sources] == [None, pytest.approx(3.0)]

    def test_an_object_is_identified_by_its_etag(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        info = {"type": "file", "size": 5, "ETag": '"abc"'}
        monkeypatch.setattr(store, "info", lambda *_, **__: info)

        assert identify(order(first_frame="memory://bucket/a.png"))[0].digest == "etag:abc"


def test_an_upload_takes_little_memory(dashscope: Account, tmp_path: Path) -> None:
    import tracemalloc

    sound = tmp_path / "long.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        for _ in range(64):
            file.writeframes(bytes(1024 * 1024))
    request = order(driving_audio=str(sound))
    with CountingStore() as counting:
        account = replace(dashscope, base_url=counting.base_url)
        tracemalloc.start()
        with WanClient(account) as client:
            prepare_media(request, account=account, client=client, valid_for_s=60, preflight=False)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert counting.received > 64 * 1024 * 1024
    assert peak < 4 * 1024 * 1024


class CountingStore:
    """A gateway and store that count the bytes they receive, and keep only the first of them.

    :param on_policy: called when a policy is asked for.
    """

    def __init__(self, on_policy: Callable[[], None] = lambda: None) -> None:
        self.on_policy = on_policy
        self.beginning = b""

    def __enter__(self) -> Any:
        import json
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        outer = self
        self.received = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.on_policy()
                policy = dict.fromkeys(
                    ("policy", "signature", "upload_dir", "oss_access_key_id", "x_oss_object_acl"), "x"
                )
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"data": policy | {"upload_host": f"{outer.base_url}/store"}}).encode())

            def do_POST(self) -> None:
                left = int(self.headers["Content-Length"])
                while left:
                    piece = self.rfile.read(min(left, 64 * 1024))
                    outer.received += len(piece)
                    outer.beginning = outer.beginning or piece
                    left -= len(piece)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_files_that_last_too_long_together_are_refused_before_they_are_sent(
    dashscope: Account, wan_emulator: RunningEmulator, tmp_path: Path
) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.wav").write_bytes(tone(8.0))
    request = build_video_request(
        gateway=dashscope.gateway,
        base_url=dashscope.base_url,
        model="wan3.0-video",
        media=[{"type": "reference_audio", "url": tmp_path / f"{number}.wav"} for number in (1, 2)],
    )

    with pytest.raises(InvalidVideoRequest, match=r"together they last 16\.00 s; wan3\.0-video takes at most 15 s"):
        prepare(request, dashscope)
    assert wan_emulator.uploads() == []
    assert prepare(request, dashscope, preflight=False)
