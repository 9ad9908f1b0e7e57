from __future__ import annotations

import array
import base64
import io
import math
from typing import Any

import av
import pytest
from PIL import Image

from airflow_wan.emulator import rendering, video


def probe(content: bytes) -> dict[str, Any]:
    with av.open(io.BytesIO(content)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        return {
            "seconds": container.duration / av.time_base,
            "size": (picture.width, picture.height),
            "frames": sum(1 for _ in container.decode(video=0)),
            "fps": float(picture.average_rate),
            "codecs": (picture.codec.name, sound.codec.name),
            "title": container.metadata.get("title"),
        }


def loudness(content: bytes, start: float, end: float) -> float:
    """Root mean square of the sound between two moments, 0 to 1."""
    samples = array.array("f")
    resampler = av.AudioResampler(format="flt", layout="mono", rate=8000)
    with av.open(io.BytesIO(content)) as container:
        for frame in container.decode(audio=0):
            for piece in resampler.resample(frame):
                samples.frombytes(bytes(piece.planes[0])[: piece.samples * 4])
    part = samples[int(start * 8000) : int(end * 8000)]
    return math.sqrt(sum(sample * sample for sample in part) / len(part))


def frame_at(content: bytes, number: int) -> Image.Image:
    with av.open(io.BytesIO(content)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == number:
                return frame.to_image()
    raise AssertionError(f"there is no frame {number}")


def test_it_is_an_h264_and_aac_mp4_of_the_ordered_duration_and_resolution(gateway: Any, i2v: Any) -> None:
    i2v["parameters"]["duration"] = 3

    facts = probe(gateway.video(i2v))

    assert facts["codecs"] == ("h264", "aac")
    assert facts["seconds"] == pytest.approx(3.0, abs=0.05)
    assert facts["frames"] == 72
    assert facts["fps"] >= 24
    assert facts["size"] == (1280, 720)
    assert facts["title"] == "emulated"


@pytest.mark.parametrize(
    ("name", "resolution", "size"),
    [
        ("first.png", "1080P", (1920, 1080)),
        ("portrait.jpg", "720P", (832, 1108)),
        ("below-happyhorse.png", "720P", (960, 960)),
    ],
)
def test_the_frame_keeps_the_pictures_ratio_at_the_pixels_of_its_resolution(
    dashscope: Any, i2v: Any, media: Any, *, name: str, resolution: str, size: tuple[int, int]
) -> None:
    i2v["input"]["media"][0]["url"] = media.url(name)
    i2v["parameters"]["resolution"] = resolution

    assert probe(dashscope.video(i2v))["size"] == size


@pytest.mark.parametrize(("fixture", "size"), [("apiyi", (1280, 720)), ("dashscope", (1920, 1080))])
def test_the_default_resolution_is_each_gateways_own(
    request: pytest.FixtureRequest, i2v: Any, fixture: str, size: tuple[int, int]
) -> None:
    i2v["parameters"] = {"duration": 2}

    assert probe(request.getfixturevalue(fixture).video(i2v))["size"] == size


def test_driving_audio_is_heard_and_then_padded_with_silence(apiyi: Any, i2v: Any, media: Any) -> None:
    i2v["input"]["media"].append({"type": "driving_audio", "url": media.url("tone.wav")})
    i2v["parameters"]["duration"] = 5

    content = apiyi.video(i2v)

    assert loudness(content, 0.5, 2.5) > 0.1
    assert loudness(content, 3.5, 4.5) < 0.001
    assert probe(content)["seconds"] == pytest.approx(5.0, abs=0.05)


def test_driving_audio_longer_than_the_video_is_cut(apiyi: Any, i2v: Any, media: Any) -> None:
    i2v["input"]["media"].append({"type": "driving_audio", "url": media.url("tone.wav")})

    content = apiyi.video(i2v)

    assert probe(content)["seconds"] == pytest.approx(2.0, abs=0.05)
    assert loudness(content, 1.0, 1.9) > 0.1


def test_without_driving_audio_the_track_is_quiet(apiyi: Any, i2v: Any) -> None:
    assert loudness(apiyi.video(i2v), 0.0, 2.0) < 0.001


def test_the_picture_zooms_and_has_the_watermark(apiyi: Any, i2v: Any) -> None:
    content = apiyi.video(i2v)
    first, last = frame_at(content, 0), frame_at(content, 47)

    corner = first.crop((0, 560, 500, 720)).convert("L")
    assert first.tobytes() != last.tobytes()
    # White letters with black edges, on a picture without white or black.
    assert corner.getextrema()[0] < 40
    assert corner.getextrema()[1] > 215


def test_it_begins_with_the_first_frame_and_ends_with_the_last(dashscope: Any, i2v: Any, media: Any) -> None:
    i2v["input"]["media"].append({"type": "last_frame", "url": media.url("last.png")})

    content = dashscope.video(i2v)

    red, green, blue = frame_at(content, 0).getpixel((640, 360))
    assert min(red, blue) > green
    red, green, blue = frame_at(content, 47).getpixel((640, 360))
    assert green > max(red, blue)


def test_a_first_frame_may_come_as_data_uri(gateway: Any, i2v: Any) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (640, 360), "teal").save(buffer, "PNG")
    i2v["input"]["media"][0]["url"] = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    assert probe(gateway.video(i2v))["frames"] == 48


def test_the_same_order_is_rendered_once(apiyi: Any, i2v: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    renders = []
    monkeypatch.setattr(rendering.video, "render", lambda scene: renders.append(scene) or video_render(scene))
    i2v["parameters"]["duration"] = 4
    ids = [apiyi.created(i2v) for _ in range(5)]

    ended = [apiyi.ended(task_id) for task_id in ids]

    assert {body["status"] for body in ended} == {"completed"}
    assert len(renders) <= 1


video_render = video.render


def test_a_failed_render_fails_the_task_and_the_next_task_renders_again(
    dashscope: Any, i2v: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: video.Scene) -> bytes:
        raise RuntimeError("no encoder")

    i2v["input"]["prompt"] = "a broken kite"
    i2v["parameters"] = {"resolution": "720P", "duration": 6}
    monkeypatch.setattr(rendering.video, "render", broken)
    first = dashscope.ended(dashscope.created(i2v))
    monkeypatch.undo()
    second = dashscope.ended(dashscope.created(i2v))

    assert first["output"]["code"] == "InternalError.Algo"
    assert second["output"]["task_status"] == "SUCCEEDED"


class TestOtherModels:
    def test_text_to_video_has_the_size_of_its_ratio(self, apiyi: Any) -> None:
        body = {
            "model": "wan2.7-t2v",
            "input": {"prompt": "a kite"},
            "parameters": {"resolution": "720P", "ratio": "9:16", "duration": 2},
        }

        assert probe(apiyi.video(body))["size"] == (720, 1280)

    def test_legacy_text_to_video_takes_a_size(self, dashscope: Any) -> None:
        body = {
            "model": "wan2.6-t2v",
            "input": {"prompt": "a kite"},
            "parameters": {"size": "832*1088", "duration": 2},
        }

        assert probe(dashscope.video(body))["size"] == (832, 1088)

    def test_an_edit_lasts_as_its_source_does(self, gateway: Any, media: Any) -> None:
        clip = {"type": "video", "url": media.url("clip.mp4")}
        jacket = {"type": "reference_image", "url": media.url("first.png")}
        body = {
            "model": "wan2.7-videoedit",
            "input": {"prompt": "another jacket", "media": [clip, jacket]},
            "parameters": {"resolution": "720P"},
        }

        facts = probe(gateway.video(body))

        assert facts["seconds"] == pytest.approx(3.0, abs=0.05)
        assert facts["size"] == (1280, 720)

    def test_references_may_carry_a_voice(self, gateway: Any, media: Any) -> None:
        face = {
            "type": "reference_image",
            "url": media.url("first.png"),
            "reference_voice": media.url("tone.wav"),
        }
        body = {
            "model": "wan2.7-r2v",
            "input": {"prompt": "image 1 sings", "media": [face]},
            "parameters": {"resolution": "720P", "ratio": "1:1", "duration": 2},
        }

        assert probe(gateway.video(body))["size"] == (960, 960)

    @pytest.mark.parametrize(
        ("model", "roles"),
        [
            ("wan2.7-r2v", []),
            ("wan2.7-r2v", ["reference_image"] * 6),
            ("wan2.7-videoedit", ["reference_image"]),
            ("happyhorse-1.1-r2v", ["reference_image"] * 10),
            ("wan3.0-video", ["first_frame", "reference_image"]),
            ("wan3.0-video", ["file", "link"]),
            ("wan2.7-t2v", ["first_frame"]),
        ],
    )
    def test_their_media_are_counted(self, dashscope: Any, media: Any, model: str, roles: list[str]) -> None:
        items = [{"type": role, "url": media.url("first.png")} for role in roles]
        body = {"model": model, "input": {"prompt": "x", "media": items}}

        answer = dashscope.create(body)

        if answer.status_code == 200:
            assert dashscope.ended(answer.json()["output"]["task_id"])["output"]["task_status"] == "FAILED"
        else:
            assert answer.json()["code"] == "InvalidParameter"

    def test_wan26_references_have_their_own_field(self, dashscope: Any, media: Any) -> None:
        wrong = {
            "model": "wan2.6-r2v-flash",
            "input": {"prompt": "x", "media": [{"type": "reference_image", "url": media.url("first.png")}]},
        }
        right = {
            "model": "wan2.6-r2v-flash",
            "input": {"prompt": "x", "reference_urls": [media.url("first.png"), media.url("clip.mp4")]},
            "parameters": {"size": "1280*720", "duration": 2},
        }

        failed = dashscope.ended(dashscope.created(wrong))

        assert failed["output"]["message"] == "please provide reference_video_urls or reference_urls."
        assert probe(dashscope.video(right))["frames"] == 48
