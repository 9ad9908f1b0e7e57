from __future__ import annotations

import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.emulator.testing import AT_ONCE

if TYPE_CHECKING:
    import httpx

    from airflow_wan.emulator.testing import RunningEmulator

CREATE = "/api/v1/services/aigc/video-generation/video-synthesis"
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}")
BEIJING = timezone(timedelta(hours=8))


@pytest.fixture
def legacy_i2v(media: Any) -> dict[str, Any]:
    return {
        "model": "wan2.6-i2v",
        "input": {"prompt": "a kite", "img_url": media.url("first.png"), "audio_url": media.url("tone.wav")},
        "parameters": {"resolution": "720P", "duration": 2},
    }


def test_a_finished_task_has_the_documented_body(dashscope: Any, i2v: Any) -> None:
    task_id = dashscope.created(i2v)

    body = dashscope.ended(task_id)

    output = body["output"]
    assert set(body) == {"request_id", "output", "usage"}
    assert output["task_id"] == task_id
    assert output["task_status"] == "SUCCEEDED"
    assert output["orig_prompt"] == "a kite"
    assert output["video_url"].startswith("http://127.0.0.1:")
    assert body["usage"] == {
        "duration": 2,
        "input_video_duration": 0,
        "output_video_duration": 2,
        "video_count": 1,
        "SR": 720,
    }


def test_times_are_in_utc_plus_8(dashscope: Any, i2v: Any) -> None:
    output = dashscope.ended(dashscope.created(i2v))["output"]

    assert all(TIME.fullmatch(output[name]) for name in ("submit_time", "scheduled_time", "end_time"))
    submitted = datetime.strptime(output["submit_time"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=BEIJING)
    assert abs(submitted - datetime.now(UTC)) < timedelta(minutes=1)


class TestStates:
    @pytest.fixture
    def wan_emulator_settings(self) -> Any:
        return replace(AT_ONCE, pending_s=100, running_s=100)

    def test_they_follow_the_clock(self, dashscope: Any, i2v: Any, wan_emulator: RunningEmulator) -> None:
        task_id = dashscope.created(i2v)
        first = dashscope.poll(task_id)["output"]
        wan_emulator.advance_clock(101)
        second = dashscope.poll(task_id)["output"]
        wan_emulator.advance_clock(101)
        last = dashscope.ended(task_id)["output"]

        assert (first["task_status"], "scheduled_time" in first) == ("PENDING", False)
        assert (second["task_status"], "end_time" in second) == ("RUNNING", False)
        assert last["task_status"] == "SUCCEEDED"

    def test_a_pending_task_can_be_canceled(self, dashscope: Any, i2v: Any) -> None:
        task_id = dashscope.created(i2v)

        answer = dashscope.http.post(f"/api/v1/tasks/{task_id}/cancel")

        assert answer.status_code == 200
        assert set(answer.json()) == {"request_id"}
        assert dashscope.poll(task_id)["output"]["task_status"] == "CANCELED"

    def test_a_running_task_cannot_be_canceled(self, dashscope: Any, i2v: Any, wan_emulator: RunningEmulator) -> None:
        task_id = dashscope.created(i2v)
        wan_emulator.advance_clock(101)

        answer = dashscope.http.post(f"/api/v1/tasks/{task_id}/cancel")

        assert answer.status_code == 400
        assert answer.json()["code"] == "UnsupportedOperation"
        assert answer.json()["message"] == (
            "Failed to cancel the task, please confirm if the task is in PENDING status."
        )

    def test_a_task_whose_media_cannot_be_fetched_fails_when_it_would_start(
        self, dashscope: Any, i2v: Any, wan_emulator: RunningEmulator, media: Any
    ) -> None:
        i2v["input"]["media"][0]["url"] = media.url("absent.png")
        task_id = dashscope.created(i2v)
        before = dashscope.poll(task_id)["output"]["task_status"]
        wan_emulator.advance_clock(101)

        assert before == "PENDING"
        assert dashscope.ended(task_id)["output"]["task_status"] == "FAILED"


@pytest.mark.parametrize("case", ["never there", "expired", "another key"])
def test_a_task_that_cannot_be_shown_is_unknown_with_200(
    dashscope: Any, i2v: Any, wan_emulator: RunningEmulator, case: str
) -> None:
    task_id = str(uuid.uuid4()) if case == "never there" else dashscope.created(i2v)
    if case == "expired":
        wan_emulator.advance_clock(24 * 3600)
    headers = {"Authorization": "Bearer sk-somebody-else-1"} if case == "another key" else {}

    answer = dashscope.http.get(f"/api/v1/tasks/{task_id}", headers=headers)

    assert answer.status_code == 200
    assert answer.json()["output"] == {"task_id": task_id, "task_status": "UNKNOWN"}


def test_a_missing_prompt_is_accepted_and_fails_where_the_model_needs_one(dashscope: Any, legacy_i2v: Any) -> None:
    del legacy_i2v["input"]["prompt"]

    body = dashscope.ended(dashscope.created(legacy_i2v))

    assert body["output"]["task_status"] == "FAILED"
    assert body["output"]["code"] == "InvalidParameter"
    assert body["output"]["message"] == "Field required: input.prompt"
    assert "usage" not in body
    assert "video_url" not in body["output"]


def test_wan27_i2v_needs_no_prompt(dashscope: Any, i2v: Any) -> None:
    del i2v["input"]["prompt"]

    assert dashscope.ended(dashscope.created(i2v))["output"]["task_status"] == "SUCCEEDED"


def test_missing_media_is_accepted_and_fails(dashscope: Any) -> None:
    body = dashscope.ended(dashscope.created({"model": "wan2.7-i2v", "input": {"prompt": "x"}}))

    assert body["output"]["message"] == "Field required: input.media"


def test_wan26_takes_the_legacy_body(dashscope: Any, legacy_i2v: Any) -> None:
    body = dashscope.ended(dashscope.created(legacy_i2v))

    assert body["output"]["task_status"] == "SUCCEEDED"
    assert body["usage"]["size"] == "1280*720"


def test_wan26_finds_no_image_in_the_new_body(dashscope: Any, i2v: Any) -> None:
    i2v["model"] = "wan2.6-i2v"

    body = dashscope.ended(dashscope.created(i2v))

    assert body["output"]["message"] == "Field required: input.img_url"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("absent.png", "InvalidFile.DownloadFailed"),
        ("notes.txt", "InvalidImageFormat"),
        ("small.png", "InvalidImageResolution"),
        ("strip.png", "InvalidFile.AspectRatio"),
    ],
)
def test_a_bad_image_fails_the_task(dashscope: Any, i2v: Any, media: Any, name: str, code: str) -> None:
    i2v["input"]["media"][0]["url"] = media.url(name)

    assert dashscope.ended(dashscope.created(i2v))["output"]["code"] == code


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:9/first.png", "InvalidURL.ConnectionRefused"),
        ("oss://bucket/first.png", "InvalidURL"),
        ("/home/me/first.png", "InvalidURL"),
        ("http://127.0.0.1:9/首帧.png", "InvalidURL"),
        ("data:image/png;base64,***", "InvalidURL"),
    ],
)
def test_a_bad_url_fails_the_task(dashscope: Any, i2v: Any, url: str, code: str) -> None:
    i2v["input"]["media"][0]["url"] = url

    assert dashscope.ended(dashscope.created(i2v))["output"]["code"] == code


@pytest.mark.parametrize(("name", "code"), [("notes.txt", "InvalidFile.Format"), ("blip.wav", "InvalidFile.Duration")])
def test_bad_sound_fails_the_task(dashscope: Any, i2v: Any, media: Any, name: str, code: str) -> None:
    i2v["input"]["media"].append({"type": "driving_audio", "url": media.url(name)})

    assert dashscope.ended(dashscope.created(i2v))["output"]["code"] == code


def test_happyhorse_asks_for_larger_images_and_longer_videos(dashscope: Any, i2v: Any, media: Any) -> None:
    i2v["model"] = "happyhorse-1.0-i2v"
    too_short = dashscope.create(i2v)
    i2v["parameters"]["duration"] = 3
    i2v["model"] = "happyhorse-1.0-r2v"
    i2v["input"]["media"] = [{"type": "reference_image", "url": media.url("below-happyhorse.png")}]
    too_small = dashscope.ended(dashscope.created(i2v))

    assert too_short.status_code == 400
    assert too_small["output"]["code"] == "InvalidImageResolution"


@pytest.mark.parametrize(
    ("authorization", "message"),
    [(None, "No API-key provided."), ("Bearer nonsense", "Invalid API-key provided.")],
)
def test_a_missing_or_wrong_key_is_invalid_api_key(
    web: httpx.Client, wan_emulator: RunningEmulator, i2v: Any, authorization: str | None, message: str
) -> None:
    headers = {"X-DashScope-Async": "enable"} | ({"Authorization": authorization} if authorization else {})

    answers = [
        web.post(wan_emulator.base_url + CREATE, json=i2v, headers=headers),
        web.get(f"{wan_emulator.base_url}/api/v1/tasks/{uuid.uuid4()}", headers=headers),
        web.get(f"{wan_emulator.base_url}/api/v1/tasks/", headers=headers),
    ]

    for answer in answers:
        assert answer.status_code == 401
        assert answer.json().items() >= {"code": "InvalidApiKey", "message": message}.items()
        assert answer.json()["request_id"]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": None}, 400, "BadRequest.EmptyModel"),
        ({"model": "wan9.9-i2v"}, 400, "InvalidParameter"),
        ({"model": 7}, 400, "InvalidParameter"),
        ({"input": None}, 400, "BadRequest.EmptyInput"),
        ({"parameters": {"duration": "5"}}, 400, "InvalidParameter"),
        ({"parameters": {"resolution": "720p"}}, 400, "InvalidParameter"),
        ({"parameters": {"duration": 16}}, 400, "InvalidParameter"),
        ({"parameters": {"seed": 2**31}}, 400, "InvalidParameter"),
        ({"input": {"prompt": "x", "media": [{"url": "https://a.b/c"}]}}, 400, "InvalidParameter"),
        ({"input": {"prompt": "x", "media": ["https://a.b/c"]}}, 400, "InvalidParameter"),
    ],
)
def test_an_invalid_create_is_refused_at_once(dashscope: Any, i2v: Any, change: Any, status: int, code: str) -> None:
    answer = dashscope.create({**i2v, **change})

    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message", "request_id"}
    assert answer.json()["code"] == code


def test_a_body_that_is_not_json_is_illegal_input(dashscope: Any) -> None:
    assert dashscope.create(b"model=wan2.7-i2v").json()["code"] == "BadRequest.IllegalInput"


def test_a_create_without_the_async_header_is_access_denied(dashscope: Any, i2v: Any) -> None:
    answer = dashscope.http.post(CREATE, json=i2v)

    assert answer.status_code == 403
    assert answer.json()["code"] == "AccessDenied"
    assert answer.json()["message"] == "current user api does not support synchronous calls"


@pytest.mark.parametrize(
    "roles",
    [
        {"first_frame"},
        {"first_frame", "driving_audio"},
        {"first_frame", "last_frame"},
        {"first_frame", "last_frame", "driving_audio"},
        {"first_clip"},
        {"first_clip", "last_frame"},
    ],
)
def test_the_six_legal_media_sets_end_in_a_video(dashscope: Any, i2v: Any, media: Any, roles: set[str]) -> None:
    files = {
        "first_frame": "first.png",
        "last_frame": "last.png",
        "first_clip": "clip.mp4",
        "driving_audio": "tone.wav",
    }
    i2v["input"]["media"] = [{"type": role, "url": media.url(files[role])} for role in sorted(roles)]

    body = dashscope.ended(dashscope.created(i2v))

    assert body["output"]["task_status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    "roles",
    [
        ["first_frame", "first_frame"],
        ["first_clip", "first_frame"],
        ["first_clip", "driving_audio"],
        ["first_frame", "reference_image"],
        ["last_frame"],
        ["portrait"],
    ],
)
def test_other_media_sets_are_refused(dashscope: Any, i2v: Any, media: Any, roles: list[str]) -> None:
    i2v["input"]["media"] = [{"type": role, "url": media.url("first.png")} for role in roles]

    answer = dashscope.create(i2v)

    assert answer.status_code == 400
    assert answer.json()["code"] == "InvalidParameter"


def test_a_path_that_does_not_exist_is_404_in_its_envelope(dashscope: Any) -> None:
    answer = dashscope.http.get("/api/v1/nothing")

    assert answer.status_code == 404
    assert set(answer.json()) == {"code", "message", "request_id"}


class TestList:
    def test_it_holds_the_callers_tasks_newest_first(self, dashscope: Any, i2v: Any) -> None:
        ids = [dashscope.created(i2v) for _ in range(3)]
        dashscope.create(i2v, Authorization="Bearer sk-somebody-else-1")

        body = dashscope.http.get("/api/v1/tasks/").json()

        assert [row["task_id"] for row in body["data"]] == ids[::-1]
        assert (body["total"], body["total_page"], body["page_no"], body["page_size"]) == (3, 1, 1, 10)
        assert set(body["data"][0]) == {
            *("task_id", "status", "model_name", "gmt_create", "start_time", "end_time", "region", "request_id"),
            *("api_key_id", "caller_uid", "caller_parent_id", "user_api_unique_key"),
        }

    def test_it_has_pages(self, dashscope: Any, i2v: Any) -> None:
        ids = [dashscope.created(i2v) for _ in range(3)]

        body = dashscope.http.get("/api/v1/tasks", params={"page_no": 2, "page_size": 2}).json()

        assert [row["task_id"] for row in body["data"]] == [ids[0]]
        assert (body["total"], body["total_page"]) == (3, 2)

    def test_it_filters_by_model_status_and_id(self, dashscope: Any, i2v: Any, legacy_i2v: Any) -> None:
        first, second = dashscope.created(i2v), dashscope.created(legacy_i2v)
        dashscope.ended(first)

        def ids(**query: str) -> list[str]:
            return [row["task_id"] for row in dashscope.http.get("/api/v1/tasks/", params=query).json()["data"]]

        assert ids(model_name="wan2.6-i2v") == [second]
        assert ids(task_id=first, status="SUCCEEDED") == [first]
        assert ids(status="FAILED") == []

    def test_it_filters_by_beijing_time(self, dashscope: Any, i2v: Any) -> None:
        task_id = dashscope.created(i2v)
        now = datetime.now(BEIJING)

        def total(start: datetime, end: datetime) -> int:
            query = {"start_time": f"{start:%Y%m%d%H%M%S}", "end_time": f"{end:%Y%m%d%H%M%S}"}
            return int(dashscope.http.get("/api/v1/tasks/", params=query).json()["total"])

        assert task_id
        assert total(now - timedelta(minutes=1), now + timedelta(minutes=1)) == 1
        assert total(now - timedelta(minutes=9), now - timedelta(minutes=5)) == 0

    @pytest.mark.parametrize(
        "query",
        [
            {"start_time": "20260101000000", "end_time": "20260102000001"},
            {"start_time": "yesterday"},
            {"page_no": "0"},
        ],
    )
    def test_a_bad_query_is_refused(self, dashscope: Any, query: dict[str, str]) -> None:
        answer = dashscope.http.get("/api/v1/tasks/", params=query)

        assert answer.status_code == 400
        assert answer.json()["code"] == "InvalidParameter"


class TestReadLimit:
    @pytest.fixture
    def wan_emulator_settings(self) -> Any:
        return replace(AT_ONCE, read_qps=20, list_qps=20, cancel_qps=20)

    def test_the_twenty_first_read_of_a_second_is_throttled_for_that_key_only(self, dashscope: Any) -> None:
        path = f"/api/v1/tasks/{uuid.uuid4()}"

        answers = [dashscope.http.get(path) for _ in range(30)]
        other_key = dashscope.http.get(path, headers={"Authorization": "Bearer sk-somebody-else-1"})

        throttled = [answer for answer in answers if answer.status_code == 429]
        assert [answer.status_code for answer in answers[:20]] == [200] * 20
        assert throttled
        assert throttled[0].json()["code"] == "Throttling.RateQuota"
        assert other_key.status_code == 200

    def test_apiyi_reads_are_not_limited(self, apiyi: Any) -> None:
        path = f"/v1/tasks/{uuid.uuid4()}"

        assert {apiyi.http.get(path).status_code for _ in range(30)} == {400}
