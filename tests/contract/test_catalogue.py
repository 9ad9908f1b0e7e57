"""The catalogue against the emulator: two tables from one reference, which agree except where DIFFERENCES says so.

The requests here are written from the reference, as the emulator is. The emulator must refuse what the client refuses,
at once or with a task that fails, and must accept what the client sends.

A new model needs an entry in PLAINEST_MEDIA, a row in the emulator's own catalogue, and cases for what is special
about it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_wan.api.catalogue import known_model_ids
from airflow_wan.api.client import WanClient
from airflow_wan.api.gateways import APIYI, DASHSCOPE, GATEWAYS, Account, Gateway
from airflow_wan.api.requests import build_video_request
from airflow_wan.api.tasks import TaskStatus

# Imported rather than named in pytest_plugins, which pytest reads in the topmost conftest only.
from airflow_wan.emulator import rendering
from airflow_wan.emulator.pytest_plugin import wan_emulator, wan_emulator_for  # noqa: F401
from airflow_wan.emulator.testing import AT_ONCE, Settings
from airflow_wan.exceptions import InvalidVideoRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_wan.emulator.testing import RunningEmulator

KEY = "sk-catalogue-0123456789"
CDN = "https://your-cdn.com"
FILES = {
    "image": f"{CDN}/a.png",
    "audio": f"{CDN}/a.mp3",
    "video": f"{CDN}/b.mp4",
    "file": f"{CDN}/story.pdf",
    "link": f"{CDN}/page",
}
DASHSCOPE_ONLY, APIYI_ONLY, BOTH = (DASHSCOPE,), (APIYI,), (APIYI, DASHSCOPE)


def item(media_type: str, **more: Any) -> dict[str, Any]:
    """Return a media item with a file of its kind."""
    kinds = {"first_clip": "video", "reference_voice": "audio", "last_frame": "image", "first_frame": "image"}
    kind = kinds.get(media_type, media_type.rpartition("_")[2])
    return {"type": media_type, "url": FILES.get(kind, FILES["image"])} | more


def items(types: str) -> list[dict[str, Any]]:
    return [item(media_type) for media_type in types.split()]


@pytest.fixture(scope="module", autouse=True)
def nothing_is_rendered() -> Iterator[None]:
    """Have the emulator neither fetch media nor render: these tests ask whether it accepts a request."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "_render", lambda *_: rendering.RenderedVideo(b"", 0, 0, 0, 0.0))
        yield


@pytest.fixture
def wan_emulator_settings() -> Settings:
    """Return settings with which a bad task has failed by its first poll."""
    return replace(AT_ONCE, running_s=600)


@dataclass(frozen=True)
class Wire:
    """Sends requests to the emulator, with and without the client."""

    emulator: RunningEmulator
    http: httpx.Client

    def arguments(self, gateway: Gateway, model: str, **arguments: Any) -> dict[str, Any]:
        return {"gateway": gateway, "base_url": self.emulator.base_url, "model": model} | arguments

    def create(self, gateway: Gateway, model: str, **arguments: Any) -> object:
        """Send a request with the client, and return the JSON that the emulator got and accepted."""
        request = build_video_request(**self.arguments(gateway, model, **arguments))
        with WanClient(Account(gateway, self.emulator.base_url, KEY)) as client:
            task = client.create(request)
            assert not self.fails(gateway, task.wan_task_id)
        return self.emulator.requests()[-1]["body"]

    def refuses(self, gateway: Gateway, body: dict[str, Any]) -> bool:
        """Return whether the emulator refuses a body, at once or with a task that fails."""
        answer = self.http.post(self.emulator.base_url + gateway.create_path, json=body)
        if answer.status_code != httpx.codes.OK:
            assert not self.emulator.ledger()
            return True
        return self.fails(gateway, answer.json()["output"]["task_id"])

    def fails(self, gateway: Gateway, wan_task_id: str) -> bool:
        """Return whether a task fails for its request; media that cannot be fetched give another code."""
        with WanClient(Account(gateway, self.emulator.base_url, KEY)) as client:
            task = client.get_task(wan_task_id)
        return task.status is TaskStatus.FAILED and task.code == "InvalidParameter"


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """A plain HTTP client with a key."""
    headers = {"Authorization": f"Bearer {KEY}", "X-DashScope-Async": "enable"}
    with httpx.Client(headers=headers, verify=False, trust_env=False) as client:  # plain http on loopback
        yield client


@pytest.fixture
def wire(wan_emulator: RunningEmulator, http: httpx.Client) -> Wire:  # noqa: F811
    """An emulator that has got no requests yet."""
    return Wire(wan_emulator, http)


# The reference's own examples ----------------------------------------------------------------------------------------

RAP = "一个由喷漆所画成的少年从墙上活过来,演唱英文 rap,夜晚铁路桥下,电影级光影"
RAP_MEDIA = [
    {"type": "first_frame", "url": f"{CDN}/rap.png"},
    {"type": "driving_audio", "url": f"{CDN}/rap.mp3"},
]
RAP_PARAMETERS = {"resolution": "720P", "duration": 10, "prompt_extend": True, "watermark": True}
TALK = "image 1 talks to image 2 …"
TALK_MEDIA = [
    {"type": "reference_image", "url": f"{CDN}/a.png", "reference_voice": f"{CDN}/a.mp3"},
    {"type": "reference_video", "url": f"{CDN}/b.mp4"},
]
TALK_PARAMETERS = {"resolution": "720P", "ratio": "16:9", "duration": 5}
JACKET = "replace the jacket with the one in the image"
JACKET_MEDIA = [
    {"type": "video", "url": f"{CDN}/src.mp4"},
    {"type": "reference_image", "url": f"{CDN}/jacket.png"},
]


@pytest.mark.parametrize("gateway", BOTH, ids=lambda gateway: gateway.name)
@pytest.mark.parametrize(
    ("model", "prompt", "media", "parameters"),
    [
        ("wan2.7-i2v", RAP, RAP_MEDIA, RAP_PARAMETERS),
        ("wan2.7-r2v", TALK, TALK_MEDIA, TALK_PARAMETERS),
        ("wan2.7-videoedit", JACKET, JACKET_MEDIA, {"resolution": "720P"}),
    ],
)
def test_an_example_of_the_reference_is_sent_exactly(
    wire: Wire, gateway: Gateway, model: str, prompt: str, media: list[dict[str, Any]], parameters: dict[str, Any]
) -> None:
    sent = wire.create(gateway, model, prompt=prompt, media=media, parameters=parameters)

    assert sent == {"model": model, "input": {"prompt": prompt, "media": media}, "parameters": parameters}


@pytest.mark.parametrize(
    ("model", "arguments", "inputs", "parameters"),
    [
        (
            "wan2.6-t2v",
            {"audio_url": FILES["audio"], "parameters": {"resolution": "1080P", "duration": 15, "shot_type": "multi"}},
            {"audio_url": FILES["audio"]},
            {"size": "1920*1080", "duration": 15, "shot_type": "multi"},
        ),
        ("wan2.6-i2v", {"media": items("first_frame")}, {"img_url": FILES["image"]}, {"resolution": "720P"}),
        ("wan2.6-t2v-us", {"parameters": {"resolution": "1080P", "ratio": "4:3"}}, {}, {"size": "1632*1248"}),
        ("wan2.6-i2v-us", {"media": items("first_frame")}, {"img_url": FILES["image"]}, {"resolution": "720P"}),
        (
            "wan2.5-t2v-preview",
            {"parameters": {"resolution": "480P", "duration": 10}},
            {},
            {"size": "832*480", "duration": 10},
        ),
        (
            "wan2.5-i2v-preview",
            {"media": items("first_frame driving_audio"), "parameters": {"resolution": "480P", "duration": 10}},
            {"img_url": FILES["image"], "audio_url": FILES["audio"]},
            {"resolution": "480P", "duration": 10},
        ),
        ("wan2.2-t2v-plus", {"parameters": {"resolution": "1080P", "ratio": "3:4"}}, {}, {"size": "1248*1632"}),
        ("wan2.2-i2v-flash", {"media": items("first_frame")}, {"img_url": FILES["image"]}, {"resolution": "720P"}),
        ("wan2.2-i2v-plus", {"media": items("first_frame")}, {"img_url": FILES["image"]}, {"resolution": "480P"}),
        (
            "wan2.2-kf2v-flash",
            {"media": items("first_frame last_frame")},
            {"first_frame_url": FILES["image"], "last_frame_url": FILES["image"]},
            {"resolution": "720P"},
        ),
        (
            "wan2.6-i2v-flash",
            {"media": items("first_frame driving_audio"), "parameters": {"resolution": "1080P"}},
            {"img_url": FILES["image"], "audio_url": FILES["audio"]},
            {"resolution": "1080P"},
        ),
        (
            "wan2.6-r2v",
            {"media": items("reference_image reference_video"), "parameters": {"ratio": "9:16", "duration": 10}},
            {"reference_urls": [FILES["image"], FILES["video"]]},
            {"size": "720*1280", "duration": 10},
        ),
        (
            "wan2.6-r2v-flash",
            {"media": items("reference_image"), "parameters": {"audio": False}},
            {"reference_urls": [FILES["image"]]},
            {"size": "1280*720", "audio": False},
        ),
    ],
)
def test_wan26_and_what_is_older_are_sent_to_dashscope_in_the_legacy_body(
    wire: Wire, model: str, arguments: dict[str, Any], inputs: dict[str, Any], parameters: dict[str, Any]
) -> None:
    sent = wire.create(DASHSCOPE, model, prompt="a kite", **arguments)

    assert sent == {"model": model, "input": {"prompt": "a kite"} | inputs, "parameters": parameters}


# Good and bad, model by model ----------------------------------------------------------------------------------------

T2V = ("wan2.7-t2v", "wan2.6-t2v*", "wan2.5-t2v-preview", "wan2.2-t2v-plus", "happyhorse-1.?-t2v")
I2V = ("wan2.7-i2v", "wan2.6-i2v*", "wan2.5-i2v-preview", "wan2.2-i2v-*", "happyhorse-1.?-i2v")
KF2V = ("wan2.2-kf2v-flash",)
WAN_R2V = ("wan2.?-r2v*",)
HORSE_R2V = ("happyhorse-1.?-r2v",)
R2V = (*WAN_R2V, *HORSE_R2V)
EDIT = ("wan2.7-videoedit", "happyhorse-1.0-video-edit")
WAN3 = ("wan3.0-video*",)
HORSES = ("happyhorse-*",)
HORSES_EDIT = ("happyhorse-1.0-video-edit",)
ALL = ("*",)
# A new model of the catalogue needs an entry: the media of its plainest request.
PLAINEST_MEDIA = (
    (T2V, ""),
    (I2V, "first_frame"),
    (KF2V, "first_frame last_frame"),
    (R2V, "reference_image"),
    (EDIT, "video reference_image"),
    (WAN3, ""),
)


def _is_one_of(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(model, pattern) for pattern in patterns)


def good(model: str) -> dict[str, Any]:
    """Return the plainest good request for a model."""
    found = [types for patterns, types in PLAINEST_MEDIA if _is_one_of(model, patterns)]
    assert len(found) == 1, f"{model} needs one entry in PLAINEST_MEDIA of this file: the media of a plain request"
    resolution = "1080P" if _is_one_of(model, WITHOUT_720P) else "720P"
    return {"prompt": "a kite", "media": items(found[0]), "parameters": {"resolution": resolution}}


@dataclass(frozen=True)
class Case:
    """One change to the plainest request.

    :param name: what is changed.
    :param change: arguments laid over the good ones.
    :param models: patterns of the models for which the change is good (in FINE) or bad (in BAD).
    :param gateways: the gateways for which it is.
    :param but: patterns of models that are excepted.
    """

    name: str
    change: dict[str, Any]
    models: tuple[str, ...] = ALL
    gateways: tuple[Gateway, ...] = BOTH
    but: tuple[str, ...] = ()


def wanted(**parameters: object) -> dict[str, Any]:
    return {"parameters": parameters}


def media(types: str) -> dict[str, Any]:
    return {"media": items(types)}


def voiced(media_type: str, voice: object = FILES["audio"]) -> dict[str, Any]:
    return {"media": [item(media_type, reference_voice=voice)]}


WITHOUT_720P = ("wan2.2-t2v-plus", "wan2.2-i2v-plus")
WITH_480P = ("wan2.5-*", "wan2.2-*", *WAN3)
OLDER = ("wan2.5-*", "wan2.2-*")
FIXED_5S = ("wan2.2-*",)
US = ("wan2.6-?2v-us",)
# In the legacy body at both gateways, since APIYI documents none of them.
LEGACY_EVERYWHERE = (*OLDER, *US)
SIZED_26 = ("wan2.6-t2v", "wan2.6-r2v*")
SIZED_EVERYWHERE = ("wan2.6-t2v-us", "wan2.5-t2v-preview", "wan2.2-t2v-plus")
SIZED = (*SIZED_26, *SIZED_EVERYWHERE)
CAN_BE_SILENT = ("wan2.6-?2v-flash", "wan2.5-*", *WAN3)
PROMPTS_OF_1500 = ("wan2.6-*", "wan2.5-*")
# DashScope: prompt optional for these; wan3.0 needs a prompt or media.
PROMPT_OPTIONAL = (
    *(
        "wan2.7-i2v",
        "wan2.7-videoedit",
        "happyhorse-1.?-i2v",
        "wan2.5-i2v-preview",
        "wan2.2-i2v-*",
        "wan2.2-kf2v-flash",
    ),
    *WAN3,
)
PROMPT_OPTIONAL_EVERYWHERE = ("wan2.5-i2v-preview", "wan2.2-i2v-*", "wan2.2-kf2v-flash", "wan2.6-i2v-us", *WAN3)

FINE = (
    Case("the plainest", {}),
    Case("prompt at its limit", {"prompt": "p" * 5000}, but=(*PROMPTS_OF_1500, "wan2.2-*")),
    Case("prompt of 1500", {"prompt": "p" * 1500}, PROMPTS_OF_1500),
    Case("prompt that is cut", {"prompt": "p" * 20_001}),
    Case("prompt of 20000", {"prompt": "p" * 20_000}, WAN3),
    Case("no prompt but media", {"prompt": None} | media("first_frame"), WAN3),
    Case("no prompt", {"prompt": None}, PROMPT_OPTIONAL, DASHSCOPE_ONLY, but=WAN3),
    Case("negative prompt of 500", {"negative_prompt": "n" * 500}, ("wan2.*",)),
    Case("negative prompt of 500", {"negative_prompt": "n" * 500}, HORSES, APIYI_ONLY, but=EDIT),
    Case("negative prompt that is cut", {"negative_prompt": "n" * 501}, ("wan2.*",)),
    Case("resolution 1080P", wanted(resolution="1080P"), but=SIZED),
    Case("resolution 480P", wanted(resolution="480P"), WITH_480P, but=SIZED),
    Case("resolution 480P", wanted(resolution="480P"), HORSES, DASHSCOPE_ONLY),
    Case("duration 2", wanted(duration=2), but=(*HORSES, *OLDER)),
    Case("duration 2", wanted(duration=2), HORSES, APIYI_ONLY, but=EDIT),
    Case("duration 3", wanted(duration=3), HORSES, but=EDIT),
    Case("duration 5", wanted(duration=5), but=("happyhorse-1.0-video-edit",)),
    Case("duration 10", wanted(duration=10), but=("happyhorse-1.0-video-edit", *FIXED_5S)),
    Case("duration 15", wanted(duration=15), but=(*EDIT, "wan2.6-r2v*", *OLDER)),
    Case("duration 15", wanted(duration=15), ("wan2.6-r2v*",), APIYI_ONLY),
    Case("duration 10 with a video", media("reference_video") | wanted(duration=10), WAN_R2V),
    Case("as long as its source", wanted(duration=0), ("wan2.7-videoedit",)),
    Case("duration 30", wanted(duration=30), WAN3),
    Case("duration for the model to decide", wanted(duration=-1), WAN3),
    *(
        Case(f"ratio {ratio}", wanted(ratio=ratio), (*T2V, *R2V, *WAN3, "wan2.7-videoedit"), but=SIZED)
        for ratio in ("16:9", "9:16", "1:1", "4:3", "3:4")
    ),
    *(
        Case(f"ratio {ratio}", wanted(ratio=ratio), ("happyhorse-1.?-t2v", "happyhorse-1.?-r2v"), DASHSCOPE_ONLY)
        for ratio in ("21:9", "9:21", "4:5", "5:4")
    ),
    Case("ratio 21:9", wanted(ratio="21:9"), WAN3),
    Case("seed -1", wanted(seed=-1), WAN3),
    Case("ratio adaptive", wanted(ratio="adaptive"), WAN3),
    Case("seed 0", wanted(seed=0)),
    Case("largest seed", wanted(seed=2**31 - 1)),
    Case("watermark", wanted(watermark=True)),
    Case("no rewriting", wanted(prompt_extend=False), but=HORSES),
    Case("no rewriting", wanted(prompt_extend=False), HORSES, APIYI_ONLY, but=EDIT),
    Case("the source's sound", wanted(audio_setting="origin"), EDIT),
    Case("many shots", wanted(shot_type="multi"), ("wan2.6-*",)),
    Case("a size", wanted(size="832*1088"), SIZED_26, DASHSCOPE_ONLY),
    Case("a size", wanted(size="1248*1632"), SIZED_EVERYWHERE),
    Case("silent", wanted(audio=False), CAN_BE_SILENT),
    Case("sound track", {"audio_url": FILES["audio"]}, ("wan2.[67]-t2v", "wan2.6-t2v-us", "wan2.5-t2v-preview")),
    Case("voices", voiced("reference_image"), ("wan2.7-r2v",)),
    Case("voices of a 2.6", voiced("reference_image"), ("wan2.6-r2v*",), APIYI_ONLY),
    Case("driven by sound", media("first_frame driving_audio"), ("wan2.?-i2v*",), but=("wan2.2-*",)),
    Case("two frames", media("first_frame last_frame"), ("wan2.7-i2v", *WAN3)),
    Case("two frames and sound", media("first_frame last_frame driving_audio"), ("wan2.7-i2v",)),
    Case("clip", media("first_clip"), ("wan2.7-i2v",)),
    Case("clip and last frame", media("first_clip last_frame"), ("wan2.7-i2v",)),
    Case("five references", media("reference_image " * 2 + "reference_video " * 3), WAN_R2V),
    Case("five videos", media("reference_video " * 5), ("wan2.7-r2v", *WAN3)),
    Case("five references and a frame", media("first_frame" + " reference_image" * 5), ("wan2.7-r2v",)),
    Case("nine images", media("reference_image " * 9), HORSE_R2V),
    Case("no image to edit with", media("video"), EDIT, DASHSCOPE_ONLY),
    Case("three images to edit with", media("video" + " reference_image" * 3), EDIT),
    Case("four images to edit with", media("video" + " reference_image" * 4), EDIT, APIYI_ONLY),
    Case("five images to edit with", media("video" + " reference_image" * 5), HORSES_EDIT, DASHSCOPE_ONLY),
    Case("five images to edit with", media("video" + " reference_image" * 5), EDIT, APIYI_ONLY),
    Case("everything at once", media("reference_image reference_video reference_audio file"), WAN3),
    Case("ten images and five sounds", media("reference_image " * 10 + "reference_audio " * 5), WAN3),
    Case("a page", media("link"), WAN3),
)
BAD = (
    Case("no prompt", {"prompt": None}, gateways=APIYI_ONLY, but=PROMPT_OPTIONAL_EVERYWHERE),
    Case("no prompt", {"prompt": None}, ("wan2.6-i2v-us",), APIYI_ONLY),
    Case("no prompt", {"prompt": None}, gateways=DASHSCOPE_ONLY, but=PROMPT_OPTIONAL),
    Case("neither prompt nor media", {"prompt": None, "media": []}, WAN3),
    Case("prompt a list", {"prompt": ["a kite"]}),
    Case("negative prompt a list", {"negative_prompt": ["rain"]}),
    Case("any negative prompt", {"negative_prompt": "rain"}, (*WAN3, "happyhorse-1.0-video-edit")),
    Case("any negative prompt", {"negative_prompt": "rain"}, HORSES, DASHSCOPE_ONLY, but=EDIT),
    # Parameters.
    Case("resolution in lower case", wanted(resolution="720p")),
    Case("resolution 480P", wanted(resolution="480P"), but=(*WITH_480P, *HORSES)),
    Case("resolution 480P", wanted(resolution="480P"), HORSES, APIYI_ONLY),
    Case("resolution 720P", wanted(resolution="720P"), ("wan2.2-i2v-plus",)),
    Case("resolution 4K", wanted(resolution="4K")),
    Case("resolution a number", wanted(resolution=720)),
    Case("duration 1", wanted(duration=1)),
    Case("duration 0", wanted(duration=0), but=EDIT),
    Case("duration -1", wanted(duration=-1), but=WAN3),
    Case("duration 2", wanted(duration=2), HORSES, DASHSCOPE_ONLY, but=EDIT),
    Case("duration 7", wanted(duration=7), OLDER),
    Case("duration 10", wanted(duration=10), FIXED_5S),
    Case("duration 11", wanted(duration=11), ("wan2.7-videoedit",)),
    Case("duration 11", wanted(duration=11), ("wan2.6-r2v*",), DASHSCOPE_ONLY),
    Case("duration 16", wanted(duration=16), but=WAN3),
    Case("duration 31", wanted(duration=31)),
    Case("duration 2.5", wanted(duration=2.5)),
    Case("duration in words", wanted(duration="ten")),
    Case("duration true", wanted(duration=True)),
    Case("duration of an edit without one", wanted(duration=5), ("happyhorse-1.0-video-edit",)),
    Case("duration 11 with a video", media("reference_video") | wanted(duration=11), WAN_R2V),
    Case("ratio 7:3", wanted(ratio="7:3"), (*T2V, *R2V, *WAN3, "wan2.7-videoedit")),
    Case("ratio 21:9", wanted(ratio="21:9"), ("wan2.7-*",), but=("wan2.7-i2v",)),
    Case("ratio 21:9", wanted(ratio="21:9"), ("happyhorse-1.?-t2v", "happyhorse-1.?-r2v"), APIYI_ONLY),
    Case("ratio adaptive", wanted(ratio="adaptive"), (*T2V, *R2V)),
    Case("ratio a number", wanted(ratio=1.78)),
    Case("ratio where the video follows its source", wanted(ratio="16:9"), (*I2V, "happyhorse-1.0-video-edit")),
    Case("seed -1", wanted(seed=-1), but=WAN3),
    Case("seed -2", wanted(seed=-2), WAN3),
    Case("seed 2^31", wanted(seed=2**31)),
    Case("seed 1.5", wanted(seed=1.5)),
    Case("watermark 1", wanted(watermark=1)),
    Case("prompt_extend in words", wanted(prompt_extend="perhaps")),
    Case("prompt_extend", wanted(prompt_extend=True), HORSES, DASHSCOPE_ONLY),
    Case("audio_setting loud", wanted(audio_setting="loud"), EDIT),
    Case("shot_type double", wanted(shot_type="double"), ("wan2.6-*",)),
    Case("audio in words", wanted(audio="perhaps"), CAN_BE_SILENT),
    Case("thinking", wanted(enable_thinking=True), WAN3),
    Case("size 1280x720", wanted(size="1280x720"), SIZED_26, DASHSCOPE_ONLY),
    Case("size 1280x720", wanted(size="1280x720"), SIZED_EVERYWHERE),
    Case("size of another model", wanted(size="1648*1248"), SIZED_26, DASHSCOPE_ONLY),
    Case("size of another model", wanted(size="1648*1248"), SIZED_EVERYWHERE),
    Case("size of 720P", wanted(size="1280*720"), ("wan2.2-t2v-plus",)),
    Case("size of 480P", wanted(size="832*480"), SIZED_26, DASHSCOPE_ONLY),
    Case("size a number", wanted(size=720)),
    Case("unknown parameter", wanted(fps=24)),
    Case("parameters a list", {"parameters": ["duration", 5]}),
    # Media.
    Case("media an object", {"media": {"type": "first_frame", "url": FILES["image"]}}),
    Case("media item a text", {"media": [FILES["image"]]}),
    Case("media item without type", {"media": [{"url": FILES["image"]}]}),
    Case("media item without url", {"media": [{"type": "first_frame"}]}),
    Case("media type a number", {"media": [{"type": 1, "url": FILES["image"]}]}),
    Case("media url a number", {"media": [{"type": "first_frame", "url": 1}]}),
    Case("unknown media type", media("frist_frame")),
    Case("no media", media(""), (*I2V, *KF2V, *R2V, *EDIT)),
    Case("a first frame alone", media("first_frame"), KF2V),
    Case("a last frame alone", media("last_frame"), (*KF2V, *WAN3)),
    Case("sound for a silent model", media("first_frame driving_audio"), ("wan2.2-i2v-*",)),
    Case("media for text", media("first_frame"), T2V),
    Case("two first frames", media("first_frame first_frame"), (*I2V, *WAN3)),
    Case("two first frames", media("reference_image first_frame first_frame"), WAN_R2V),
    Case("audio alone", media("driving_audio"), I2V),
    Case("two sound tracks", media("first_frame driving_audio driving_audio"), I2V),
    Case("sound for a horse", media("first_frame driving_audio"), ("happyhorse-1.?-i2v",)),
    Case("last frame alone", media("last_frame"), I2V),
    Case("last frame of a 2.6", media("first_frame last_frame"), ("wan2.6-i2v*",)),
    Case("clip of a 2.6", media("first_clip"), ("wan2.6-i2v*",)),
    Case("clip and first frame", media("first_clip first_frame"), I2V),
    Case("clip and sound", media("first_clip driving_audio"), I2V),
    Case("reference in i2v", media("first_frame reference_image"), I2V),
    Case("six images", media("reference_image " * 6), WAN_R2V),
    Case("six references", media("reference_image " * 3 + "reference_video " * 3), WAN_R2V),
    Case("four videos", media("reference_video " * 4), ("wan2.6-r2v*",), DASHSCOPE_ONLY),
    Case("ten images", media("reference_image " * 10), HORSE_R2V),
    Case("reference video for a horse", media("reference_video"), HORSE_R2V),
    Case("first frame alone", media("first_frame"), R2V),
    Case("sound in r2v", media("reference_image driving_audio"), R2V),
    Case("no video", media("reference_image"), EDIT),
    Case("two videos", media("video video reference_image"), EDIT),
    Case("six images to edit with", media("video" + " reference_image" * 6), EDIT),
    Case("four images to edit with", media("video" + " reference_image" * 4), ("wan2.7-videoedit",), DASHSCOPE_ONLY),
    Case("no image to edit with", media("video"), EDIT, APIYI_ONLY),
    Case("first frame to edit with", media("video reference_image first_frame"), EDIT),
    Case("two last frames", media("first_frame last_frame last_frame"), (*WAN3, "wan2.7-i2v")),
    *(
        Case(f"{frame} and {other}", media(f"{frame} {other}"), WAN3)
        for frame in ("first_frame", "last_frame")
        for other in ("reference_image", "reference_video", "reference_audio", "file", "link")
    ),
    Case("eleven images", media("reference_image " * 11), WAN3),
    Case("six videos", media("reference_video " * 6), WAN3),
    Case("six sounds", media("reference_audio " * 6), WAN3),
    Case("file and link", media("file link"), WAN3),
    Case("a page and no rewriting", media("link") | wanted(prompt_extend=False), WAN3),
    Case("by http", {"media": [item("first_frame", url="http://your-cdn.com/a.png")]}, WAN3),
    Case("two links", media("link link"), WAN3),
    Case("driving audio in wan3.0", media("first_frame driving_audio"), WAN3),
    # Voices and sound tracks.
    Case("voice on a first frame", voiced("first_frame"), (*I2V, *WAN3)),
    Case("voice a number", voiced("reference_image", 7), WAN_R2V),
    Case("voice of a 2.6", voiced("reference_image"), ("wan2.6-r2v*",), DASHSCOPE_ONLY),
    Case("voice elsewhere", voiced("reference_image"), (*HORSE_R2V, *WAN3)),
    Case("audio_url a number", {"audio_url": 7}),
    Case("audio_url", {"audio_url": FILES["audio"]}, but=("wan2.[67]-t2v", "wan2.6-t2v-us", "wan2.5-t2v-preview")),
)


@dataclass(frozen=True)
class Stricter:
    """A bad request that only one of the two refuses.

    :param who: "client" or "emulator".
    :param bad: its name in BAD.
    :param why: what the reference says, or does not say.
    :param models: patterns of the models for which this is so.
    :param gateways: the gateways for which it is.
    """

    who: str
    bad: str
    why: str
    models: tuple[str, ...] = ALL
    gateways: tuple[Gateway, ...] = BOTH


_UNREAD = "The emulator checks the common fields only, as the gateways check little at create."
_NOT_LISTED = "Not among the model's fields in §1.2 and §4.4; what the gateway does with it is [UNKNOWN]."

DIFFERENCES = (
    Stricter(
        "client", "any negative prompt", "§4.4: wan3.0 and HappyHorse have none; at the latter, APIYI [DISAGREE]s."
    ),
    Stricter("client", "duration of an edit without one", _NOT_LISTED),
    Stricter("client", "ratio where the video follows its source", "§1.2, §4.4: no ratio; " + _NOT_LISTED),
    Stricter("client", "prompt_extend", "§4.4 [DISAGREE]: none at Alibaba, true by default at APIYI."),
    Stricter("client", "audio_setting loud", _UNREAD),
    Stricter("client", "shot_type double", _UNREAD),
    Stricter("client", "thinking", "§10.1: it is not among the parameters; the SDK has it, and extra_body passes it."),
    Stricter("client", "unknown parameter", _UNREAD + " The client takes it for a typing error; extra_body passes it."),
    Stricter(
        "client",
        "last frame of a 2.6",
        "§1.2 [DISAGREE]: APIYI gives wan2.6 the schema of 2.7.",
        ("wan2.6-i2v", "wan2.6-i2v-flash"),
        APIYI_ONLY,
    ),
    Stricter(
        "client",
        "clip of a 2.6",
        "§1.2 [DISAGREE]: APIYI gives wan2.6 the schema of 2.7.",
        ("wan2.6-i2v", "wan2.6-i2v-flash"),
        APIYI_ONLY,
    ),
    Stricter("client", "voice elsewhere", "Documented for wan2.7-r2v; the emulator only asks for a reference item."),
    Stricter(
        "client", "audio_url", _NOT_LISTED + " wan2.6-i2v has the field, and the client fills it from driving_audio."
    ),
    Stricter("client", "sound for a silent model", "§10: wan2.2 has no audio_url; whether it is refused is [UNKNOWN]."),
    Stricter(
        "emulator",
        "no prompt",
        "Whether wan2.6-i2v needs one is [UNKNOWN]; 2.7 at Alibaba does not.",
        ("wan2.6-i2v", "wan2.6-i2v-flash"),
        DASHSCOPE_ONLY,
    ),
    Stricter(
        "emulator",
        "no prompt",
        "Whether wan2.6-i2v needs one is [UNKNOWN]; 2.7 at Alibaba does not.",
        ("wan2.6-i2v-us",),
    ),
)


def _cases(kind: tuple[Case, ...]) -> list[Any]:
    return [
        pytest.param(gateway, model, case, id=f"{gateway.name}-{model}-{case.name}")
        for case in kind
        for model in known_model_ids()
        if _is_one_of(model, case.models) and not _is_one_of(model, case.but)
        for gateway in case.gateways
    ]


def _arguments(model: str, case: Case) -> dict[str, Any]:
    plain = good(model)
    arguments = plain | case.change
    if isinstance(arguments["parameters"], dict):
        arguments["parameters"] = plain["parameters"] | arguments["parameters"]
    return arguments


def _body(gateway: Gateway, model: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the body for the arguments; for older models at DashScope the legacy one, if it has fields for them."""
    inputs = {name: value for name, value in arguments.items() if name != "parameters" and value not in (None, [])}
    if _takes_legacy_body(gateway, model):
        inputs = _legacy(model, inputs)
    return {"model": model, "input": inputs, "parameters": arguments["parameters"]}


def _takes_legacy_body(gateway: Gateway, model: str) -> bool:
    return _is_one_of(model, LEGACY_EVERYWHERE) or (gateway is DASHSCOPE and model.startswith("wan2.6-"))


def _legacy(model: str, inputs: dict[str, Any]) -> dict[str, Any]:
    given = inputs.get("media")
    if not isinstance(given, list) or any(not isinstance(one, dict) or set(one) != {"type", "url"} for one in given):
        return inputs
    types = [one["type"] for one in given]
    rest = {name: value for name, value in inputs.items() if name != "media"}
    if "kf2v" in model and sorted(types) in (["first_frame"], ["last_frame"], ["first_frame", "last_frame"]):
        return {f"{one['type']}_url": one["url"] for one in given} | rest
    if "i2v" in model and len(set(types)) == len(types) and set(types) <= {"first_frame", "driving_audio"}:
        fields = {"first_frame": "img_url", "driving_audio": "audio_url"}
        return {fields[one["type"]]: one["url"] for one in given} | rest
    if "r2v" in model and set(types) <= {"reference_image", "reference_video"}:
        return rest | {"reference_urls": [one["url"] for one in given]}
    return inputs


@pytest.mark.parametrize("model", known_model_ids())
def test_every_model_of_the_catalogue_has_an_example_request(model: str) -> None:
    assert good(model)


@pytest.mark.parametrize(("gateway", "model", "fine"), _cases(FINE))
def test_a_good_request_is_sent_as_written_and_accepted(wire: Wire, gateway: Gateway, model: str, fine: Case) -> None:
    arguments = _arguments(model, fine)
    expected = _body(gateway, model, arguments)
    if _is_one_of(model, HORSES):
        expected["parameters"] = {"watermark": False} | expected["parameters"]
    if _takes_legacy_body(gateway, model) and _is_one_of(model, SIZED):
        size = "1920*1080" if _is_one_of(model, WITHOUT_720P) else "1280*720"
        parameters = {"size": size} | expected["parameters"]
        expected["parameters"] = {name: parameters[name] for name in parameters if name not in ("resolution", "ratio")}

    assert wire.create(gateway, model, **arguments) == expected


@pytest.mark.parametrize(("gateway", "model", "bad"), _cases(BAD))
def test_a_bad_request_is_refused_by_both_except_where_the_table_says_otherwise(
    wire: Wire, gateway: Gateway, model: str, bad: Case
) -> None:
    arguments = _arguments(model, bad)

    refusing = {
        "client": _client_refuses(wire.arguments(gateway, model, **arguments)),
        "emulator": wire.refuses(gateway, _body(gateway, model, arguments)),
    }

    stricter = {
        entry.who
        for entry in DIFFERENCES
        if entry.bad == bad.name and gateway in entry.gateways and _is_one_of(model, entry.models)
    }
    assert {who for who, refuses in refusing.items() if refuses} == (stricter or {"client", "emulator"})


def test_the_client_sends_the_request_of_an_unknown_model_and_the_emulator_refuses_it(wire: Wire) -> None:
    arguments = {"prompt": "a kite", "parameters": {"resolution": "720P"}}

    assert build_video_request(**wire.arguments(APIYI, "wan9-x2v", **arguments)).warnings
    for gateway in GATEWAYS.values():
        assert wire.refuses(gateway, _body(gateway, "wan9-x2v", arguments))


def test_every_difference_belongs_to_a_bad_request() -> None:
    assert {entry.bad for entry in DIFFERENCES} <= {bad.name for bad in BAD}


def _client_refuses(arguments: dict[str, Any]) -> bool:
    try:
        build_video_request(**arguments)
    except InvalidVideoRequest:
        return True
    return False
