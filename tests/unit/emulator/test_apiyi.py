from __future__ import annotations

import re
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_wan.emulator.testing import AT_ONCE

if TYPE_CHECKING:
    from airflow_wan.emulator.testing import RunningEmulator

CREATE = "/wan/api/v1/services/aigc/video-generation/video-synthesis"


def test_a_create_answers_in_dashscope_shape_with_both_request_ids_in_headers(apiyi: Any, i2v: Any) -> None:
    answer = apiyi.create(i2v)

    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"output", "request_id"}
    assert set(body["output"]) == {"task_id", "task_status"}
    assert body["output"]["task_status"] == "PENDING"
    assert uuid.UUID(body["output"]["task_id"]).version == 4
    assert answer.headers["X-Shellapi-Request-Id"] == body["request_id"]
    assert answer.headers["X-Request-Id"]


def test_a_finished_task_has_exactly_the_four_documented_fields(apiyi: Any, i2v: Any) -> None:
    task_id = apiyi.created(i2v)

    body = apiyi.ended(task_id)

    assert set(body) == {"status", "progress", "result_url", "task_id"}
    assert body["status"] == "completed"
    assert body["progress"] == 100
    assert body["task_id"] == task_id


class TestProgress:
    @pytest.fixture
    def wan_emulator_settings(self) -> Any:
        return replace(AT_ONCE, pending_s=100, running_s=100)

    def test_it_has_the_documented_states_and_values(self, apiyi: Any, i2v: Any, wan_emulator: RunningEmulator) -> None:
        task_id = apiyi.created(i2v)
        seen = []
        for _ in range(4):
            body = apiyi.poll(task_id)
            seen.append((body["status"], body["progress"]))
            wan_emulator.advance_clock(60)
        wan_emulator.advance_clock(60)
        ended = apiyi.ended(task_id)

        assert seen == [("submitted", 0), ("submitted", 10), ("in_progress", 30), ("in_progress", 30)]
        assert (ended["status"], ended["progress"]) == ("completed", 100)

    def test_the_api_answers_while_a_video_is_rendered(
        self, apiyi: Any, i2v: Any, wan_emulator: RunningEmulator
    ) -> None:
        i2v["parameters"]["duration"] = 9
        task_id = apiyi.created(i2v)
        wan_emulator.advance_clock(1000)

        answers = 0
        while (status := apiyi.poll(task_id)["status"]) != "completed":
            assert status == "in_progress"
            answers += 1

        assert answers > 2


def test_the_task_of_an_unreachable_image_fails_with_the_code_in_brackets(apiyi: Any, i2v: Any, media: Any) -> None:
    i2v["input"]["media"][0]["url"] = media.url("absent.png")

    body = apiyi.ended(apiyi.created(i2v))

    assert set(body) == {"status", "progress", "task_id", "error", "fail_reason"}
    assert body["status"] == "failed"
    assert re.match(r"^\[InvalidImageUrl\] \S", body["error"]["message"])
    assert body["fail_reason"] == body["error"]["message"]


def test_the_task_of_a_request_without_prompt_is_accepted_and_fails(apiyi: Any, i2v: Any) -> None:
    del i2v["input"]["prompt"]

    body = apiyi.ended(apiyi.created(i2v))

    assert body["error"]["message"] == "[InvalidParameter] Field required: input.prompt"


def test_an_unknown_task_does_not_exist(apiyi: Any) -> None:
    answer = apiyi.http.get(f"/v1/tasks/{uuid.uuid4()}")

    assert answer.status_code == 400
    assert answer.json()["code"] == "task_not_exist"


def test_a_task_expires_after_a_day(apiyi: Any, i2v: Any, wan_emulator: RunningEmulator) -> None:
    task_id = apiyi.created(i2v)
    apiyi.ended(task_id)

    wan_emulator.advance_clock(24 * 3600)

    assert apiyi.http.get(f"/v1/tasks/{task_id}").json()["code"] == "task_not_exist"


def test_another_keys_task_is_not_shown(apiyi: Any, i2v: Any) -> None:
    task_id = apiyi.created(i2v)

    answer = apiyi.http.get(f"/v1/tasks/{task_id}", headers={"Authorization": "Bearer sk-somebody-else-1"})

    assert answer.json()["code"] == "task_not_exist"


def test_a_dashscope_task_is_not_shown(apiyi: Any, dashscope: Any, i2v: Any) -> None:
    task_id = dashscope.created(i2v)

    assert apiyi.http.get(f"/v1/tasks/{task_id}").json()["code"] == "task_not_exist"


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Basic c2s6", "Bearer"])
def test_a_missing_or_wrong_key_is_an_invalid_token(
    web: httpx.Client, wan_emulator: RunningEmulator, i2v: Any, authorization: str | None
) -> None:
    headers = {"X-DashScope-Async": "enable"} | ({"Authorization": authorization} if authorization else {})

    answers = [
        web.post(wan_emulator.base_url + CREATE, json=i2v, headers=headers),
        web.get(f"{wan_emulator.base_url}/v1/tasks/{uuid.uuid4()}", headers=headers),
    ]

    for answer in answers:
        assert answer.status_code == 401
        error = answer.json()["error"]
        assert error["message"].startswith("无效的令牌 (request id: ")
        assert error["type"] == "shell_api_error"
        assert "code" not in error


@pytest.mark.parametrize("value", [None, "disable", ""])
def test_a_create_without_the_async_header_is_refused(apiyi: Any, i2v: Any, value: str | None) -> None:
    headers = {} if value is None else {"X-DashScope-Async": value}

    answer = apiyi.http.post(CREATE, json=i2v, headers=headers)

    assert answer.status_code == 403
    assert answer.json()["error"]["message"] == "current user api does not support synchronous calls"


@pytest.mark.parametrize("roles", [[], ["driving_audio"], ["last_frame"]])
def test_missing_image_is_reported_as_a_server_error(apiyi: Any, i2v: Any, media: Any, roles: list[str]) -> None:
    i2v["input"]["media"] = [{"type": role, "url": media.url("tone.wav")} for role in roles]

    answer = apiyi.create(i2v)

    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "图生视频模型 wan2.7-i2v 必须提供图片"


def test_wan26_takes_the_body_of_27(apiyi: Any, i2v: Any) -> None:
    i2v["model"] = "wan2.6-i2v"

    assert apiyi.ended(apiyi.created(i2v))["status"] == "completed"


def test_wan26_with_the_legacy_body_has_no_image(apiyi: Any, media: Any) -> None:
    answer = apiyi.create({"model": "wan2.6-i2v", "input": {"prompt": "x", "img_url": media.url("first.png")}})

    assert answer.status_code == 500
    assert "必须提供图片" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("duration", "5", r"cannot unmarshal string into Go struct field \S+\.parameters\.duration of type int"),
        ("duration", 5.5, r"cannot unmarshal number 5\.5 into Go struct field \S+ of type int"),
        ("duration", True, r"cannot unmarshal bool into Go struct field \S+ of type int"),
        ("watermark", "true", r"cannot unmarshal string into Go struct field \S+ of type bool"),
        ("resolution", 720, r"cannot unmarshal number into Go struct field \S+ of type string"),
    ],
)
def test_a_wrong_json_type_is_refused_with_the_message_of_go(
    apiyi: Any, i2v: Any, field: str, value: object, sentence: str
) -> None:
    i2v["parameters"][field] = value

    answer = apiyi.create(i2v)

    assert answer.status_code == 400
    assert re.search(sentence, answer.json()["error"]["message"])


def test_an_unknown_model_has_no_channel(apiyi: Any, i2v: Any) -> None:
    i2v["model"] = "wan9.9-i2v"

    answer = apiyi.create(i2v)

    assert answer.status_code == 400
    assert "该模型无可用渠道" in answer.json()["error"]["message"]


@pytest.mark.parametrize("raw", [b"{", b"[]", b"", b"\xff", b'{"model": NaN}', b'{"model": "\\ud83d"}', b"[" * 5000])
def test_a_body_that_is_not_a_json_object_cannot_be_parsed(apiyi: Any, raw: bytes) -> None:
    answer = apiyi.create(raw)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "parse_request_failed"
    assert apiyi.http.get("/_emulator/requests").status_code == 200


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"resolution": "720p"}, "resolution"),
        ({"resolution": "480P"}, "resolution"),
        ({"duration": 1}, "duration"),
        ({"duration": 16}, "duration"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
    ],
)
def test_values_out_of_range_are_refused(apiyi: Any, i2v: Any, parameters: Any, word: str) -> None:
    i2v["parameters"] = parameters

    answer = apiyi.create(i2v)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"[InvalidParameter] parameters.{word}")


def test_happyhorse_takes_two_seconds_here_but_no_driving_audio(apiyi: Any, i2v: Any, media: Any) -> None:
    i2v["model"] = "happyhorse-1.1-i2v"
    accepted = apiyi.create(i2v)
    i2v["input"]["media"].append({"type": "driving_audio", "url": media.url("tone.wav")})
    refused = apiyi.create(i2v)

    assert accepted.status_code == 200
    assert refused.status_code == 400
    assert "driving_audio" in refused.json()["error"]["message"]


def test_the_openai_style_route_drops_the_media(apiyi: Any, i2v: Any) -> None:
    answer = apiyi.http.post("/v1/videos", json=i2v)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "[InvalidParameter] Field required: input.media"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/tasks/f8ca39a0-6f4b-4ec2-99bf-8b9649d946c4/cancel"),
        ("GET", "/v1/tasks"),
        ("GET", "/wan/api/v1/tasks/f8ca39a0-6f4b-4ec2-99bf-8b9649d946c4"),
        ("GET", CREATE),
    ],
)
def test_a_path_that_does_not_exist_is_404_in_its_envelope(apiyi: Any, method: str, path: str) -> None:
    answer = apiyi.http.request(method, path)

    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert "X-Shellapi-Request-Id" in answer.headers


class TestTheTaskTable:
    """``GET /api/task/self``, which a system token opens."""

    @pytest.fixture
    def wan_emulator_settings(self) -> Any:
        return replace(AT_ONCE, system_token="owner-token")

    @pytest.fixture
    def table(self, wan_emulator: Any) -> Any:
        def get(token: str = "owner-token", **query: Any) -> Any:
            return httpx.get(
                f"{wan_emulator.base_url}/api/task/self", headers={"Authorization": token}, params=query, timeout=30
            )

        return get

    def test_it_has_the_documented_fields_and_the_cost(self, apiyi: Any, i2v: Any, table: Any) -> None:
        i2v["parameters"] = {"resolution": "720P", "duration": 2}
        task_id = apiyi.created(i2v)
        apiyi.ended(task_id)

        (row,) = table(task_id=task_id).json()["data"]["items"]

        assert set(row) == {"task_id", "status", "quota", "submit_time", "finish_time", "model_name"}
        assert (row["task_id"], row["status"], row["model_name"]) == (task_id, "completed", "wan2.7-i2v")
        assert row["quota"] / 500_000 == 0.168
        assert row["submit_time"] <= row["finish_time"]

    def test_it_is_filtered_and_comes_in_pages(self, apiyi: Any, i2v: Any, table: Any) -> None:
        created = [apiyi.created(i2v) for _ in range(3)]

        pages = [table(p=page, page_size=2).json()["data"]["items"] for page in (1, 2, 3)]

        assert [row["task_id"] for page in pages for row in page] == created[::-1]
        assert [len(page) for page in pages] == [2, 1, 0]
        assert table(model_name="wan2.7-t2v").json()["data"]["items"] == []
        assert table(end_timestamp=1).json()["data"]["items"] == []
        assert table(p="first").status_code == 400

    @pytest.mark.parametrize("token", ["", "another-token", "Bearer owner-token", "sk-0123456789abcdef"])
    def test_it_opens_to_the_raw_token_alone(self, token: str, table: Any) -> None:
        assert table(token).status_code == 401
