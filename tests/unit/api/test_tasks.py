from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_wan.api.answers import Answer
from airflow_wan.api.gateways import APIYI, DASHSCOPE, Gateway, cancel_call, gateway_of_host, list_call, task_call
from airflow_wan.api.tasks import ListedTask, ListPage, TaskStatus, WanTask, read_created, read_list, read_task
from airflow_wan.exceptions import AuthenticationFailed, GatewayUnavailable, WanError

TASK_ID = "f8ca39a0-6f4b-4ec2-99bf-8b9649d946c4"
URL = "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/x.mp4?Expires=1&Signature=TOPSECRET"


def answer(payload: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, headers, payload, "")


def read(payload: object) -> WanTask:
    return read_task(answer(payload), TASK_ID)


# What a create answers -----------------------------------------------------------------------------------------------


def test_the_documented_create_answer_is_a_queued_task() -> None:
    payload = {"output": {"task_id": TASK_ID, "task_status": "PENDING"}, "request_id": "r-1"}

    assert read_created(answer(payload)) == WanTask(
        wan_task_id=TASK_ID, status=TaskStatus.QUEUED, status_word="PENDING", request_id="r-1"
    )


@pytest.mark.parametrize(
    "payload",
    [
        {"task_id": TASK_ID},
        {"output": {"task_id": TASK_ID}},
        {"code": "success", "data": {"task_id": TASK_ID}},
        {"data": {"output": {"task_id": TASK_ID}}},
    ],
)
def test_a_task_id_is_found_wherever_it_stands(payload: dict[str, Any]) -> None:
    task = read_created(answer(payload))

    assert (task.wan_task_id, task.status) == (TASK_ID, TaskStatus.QUEUED)


def test_a_task_id_that_is_a_number_becomes_text() -> None:
    assert read_created(answer({"output": {"task_id": 4711}})).wan_task_id == "4711"


# What a query answers ------------------------------------------------------------------------------------------------


def test_apiyis_flat_answer_of_a_finished_task_is_read() -> None:
    task = read({"status": "completed", "progress": 100, "result_url": URL, "task_id": TASK_ID})

    assert task == WanTask(TASK_ID, TaskStatus.SUCCEEDED, "completed", progress=100, video_url=URL)


def test_apiyis_answer_of_a_failed_task_has_the_upstreams_code_in_brackets() -> None:
    message = "[InvalidParameter] Field required: input.media"

    task = read({"task_id": TASK_ID, "status": "failed", "error": {"message": message}, "fail_reason": message})

    assert (task.status, task.code) == (TaskStatus.FAILED, "InvalidParameter")
    assert task.message == "Field required: input.media"


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"fail_reason": "[InvalidImageUrl] gone"}, "InvalidImageUrl", "gone"),
        ({"error": "it broke"}, None, "it broke"),
        ({"error": "[A.B] it broke"}, "A.B", "it broke"),
        ({"error": {"code": "Given", "message": "why"}}, "Given", "why"),
        ({"error": {"code": "Given", "message": "[Upstream] why"}}, "Upstream", "why"),
        ({"error": {"message": ""}, "fail_reason": "why"}, None, "why"),
        ({"error": None, "message": "why"}, None, "why"),
        ({}, None, None),
    ],
)
def test_the_reason_of_a_failure_is_found_wherever_it_stands(fields: dict[str, Any], code: str, message: str) -> None:
    task = read({"status": "failed", **fields})

    assert (task.code, task.message) == (code, message)


def test_dashscopes_answer_of_a_finished_task_is_read() -> None:
    usage = {"duration": 10, "input_video_duration": 0, "output_video_duration": 10, "video_count": 1, "SR": 720}
    payload = {
        "request_id": "r-1",
        "output": {
            "task_id": TASK_ID,
            "task_status": "SUCCEEDED",
            "submit_time": "2026-04-02 15:11:42.100",
            "scheduled_time": "2026-04-02 15:11:42.150",
            "end_time": "2026-04-02 15:13:01.300",
            "orig_prompt": "a kite",
            "actual_prompt": "a red kite",
            "video_url": URL,
        },
        "usage": usage,
    }

    assert read(payload) == WanTask(
        TASK_ID,
        TaskStatus.SUCCEEDED,
        "SUCCEEDED",
        video_url=URL,
        request_id="r-1",
        # Eight hours ahead of UTC.
        submitted_at=datetime(2026, 4, 2, 7, 11, 42, 100_000, tzinfo=UTC),
        started_at=datetime(2026, 4, 2, 7, 11, 42, 150_000, tzinfo=UTC),
        ended_at=datetime(2026, 4, 2, 7, 13, 1, 300_000, tzinfo=UTC),
        orig_prompt="a kite",
        actual_prompt="a red kite",
        usage=usage,
    )


def test_dashscopes_answer_of_a_failed_task_is_read() -> None:
    output = {"task_id": TASK_ID, "task_status": "FAILED", "code": "InvalidParameter", "message": "why"}

    task = read({"request_id": "r-1", "output": output})

    assert (task.status, task.code, task.message, task.request_id) == (
        TaskStatus.FAILED,
        "InvalidParameter",
        "why",
        "r-1",
    )


def test_dashscopes_unknown_is_a_status_and_not_an_error() -> None:
    task = read({"request_id": "r-1", "output": {"task_id": TASK_ID, "task_status": "UNKNOWN"}})

    assert task.status is TaskStatus.UNKNOWN


def test_an_answer_of_new_api_is_read() -> None:
    upstream = {"output": {"task_status": "SUCCEEDED", "video_url": URL}, "usage": {"SR": 720}}
    payload = {
        "code": "success",
        "message": "",
        "data": {"task_id": TASK_ID, "status": "SUCCESS", "progress": "100%", "result_url": "", "data": upstream},
    }

    task = read(payload)

    assert (task.status, task.progress, task.video_url) == (TaskStatus.SUCCEEDED, 100, URL)
    assert task.usage == {"SR": 720}


def test_the_success_code_of_the_query_is_not_the_code_of_a_failed_task() -> None:
    task = read({"code": "success", "message": "", "data": {"status": "FAILURE", "fail_reason": "why"}})

    assert (task.status, task.code, task.message) == (TaskStatus.FAILED, None, "why")


@pytest.mark.parametrize(
    "where",
    [
        {"result_url": URL},
        {"video_url": URL},
        {"data": {"result_url": URL}},
        {"output": {"video_url": URL}},
        {"data": {"data": {"output": {"video_url": URL}}}},
        {"result": {"data": {"output": {"video_url": URL}}}},
        {"metadata": {"url": URL}},
    ],
)
def test_the_video_url_is_found_wherever_it_stands(where: dict[str, Any]) -> None:
    assert read({"status": "completed", **where}).video_url == URL


def test_the_outermost_status_counts() -> None:
    task = read({"status": "in_progress", "data": {"status": "SUCCESS"}, "output": {"task_status": "FAILED"}})

    assert task.status is TaskStatus.RUNNING


@pytest.mark.parametrize(
    ("word", "status"),
    [
        *((word, TaskStatus.QUEUED) for word in ("PENDING", "submitted", "QUEUED", "NOT_START", "SUSPENDED")),
        *((word, TaskStatus.RUNNING) for word in ("RUNNING", "in_progress", "IN_PROGRESS", "processing")),
        *((word, TaskStatus.SUCCEEDED) for word in ("SUCCEEDED", "SUCCESS", "completed", " Completed ")),
        *((word, TaskStatus.FAILED) for word in ("FAILED", "FAILURE", "failed")),
        *((word, TaskStatus.CANCELED) for word in ("CANCELED", "cancelled")),
        ("UNKNOWN", TaskStatus.UNKNOWN),
        *((word, TaskStatus.UNRECOGNISED) for word in ("REVIEWING", "排队中", "x" * 300)),
    ],
)
def test_every_status_word_is_known_in_any_letter_case(word: str, status: TaskStatus) -> None:
    task = read({"status": word})

    assert task.status is status
    assert task.status_word == word.strip()[:40]


@pytest.mark.parametrize(
    ("progress", "percent"),
    [
        *((0, 0), (10, 10), (30, 30), (100, 100)),
        *(("30%", 30), ("30 %", 30), ("100%", 100), ("7", 7), (33.7, 33), ("33.7%", 33)),
        *((140, 100), (-1, 0)),
        *((None, None), ("", None), ("soon", None), (True, None), ([30], None), ("nan%", None), ("inf", None)),
    ],
)
def test_progress_is_read_as_a_number_or_a_percentage_within_bounds(progress: object, percent: int | None) -> None:
    assert read({"status": "in_progress", "progress": progress}).progress == percent


@pytest.mark.parametrize("value", ["2026-04-02T15:11:42+08:00", "2026-04-02 15:11:42.000", "2026-04-02 15:11:42"])
def test_a_time_is_read_with_or_without_a_time_zone(value: str) -> None:
    task = read({"output": {"task_status": "RUNNING", "submit_time": value}})

    assert task.submitted_at == datetime(2026, 4, 2, 7, 11, 42, tzinfo=UTC)


@pytest.mark.parametrize("value", ["yesterday", "", None, 1_775_113_902, 1_771_123_100_000, "2026-13-02 00:00:00"])
def test_a_value_that_is_no_time_is_ignored(value: object) -> None:
    assert read({"status": "SUCCESS", "submit_time": value}).submitted_at is None


def test_no_text_of_a_task_shows_the_signed_url() -> None:
    for payload in (
        {"status": "completed", "result_url": URL},
        {"status": "failed", "fail_reason": f"could not store {URL}"},
        {"status": URL},
    ):
        task = read(payload)

        assert "TOPSECRET" not in f"{task} {task!r} {task.message} {task.status_word}"


def test_the_repr_of_an_answer_hides_its_text() -> None:
    assert "TOPSECRET" not in repr(Answer(502, {}, None, URL))


def test_a_task_cannot_be_changed() -> None:
    task = read({"status": "completed"})

    with pytest.raises(dataclasses.FrozenInstanceError):
        task.status = TaskStatus.FAILED  # type: ignore[misc]


OTHER = "00000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    "payload",
    [
        {"task_id": OTHER, "status": "completed", "result_url": URL},
        {"task_id": OTHER, "status": "failed", "fail_reason": "why"},
        {"output": {"task_id": OTHER, "task_status": "SUCCEEDED", "video_url": URL}},
        {"output": {"task_id": OTHER, "task_status": "FAILED", "code": "InvalidParameter"}},
        {"output": {"task_id": OTHER, "task_status": "UNKNOWN"}},
        {"task_id": OTHER, "output": {"task_status": "SUCCEEDED", "video_url": URL}},
        {"code": "success", "data": {"task_id": OTHER, "status": "SUCCESS", "result_url": URL}},
        {"status": "completed", "result_url": URL, "output": {"task_id": OTHER}},
        {"task_id": OTHER, "status": "completed", "result_url": URL, "output": {"task_id": TASK_ID}},
        {"code": "InvalidParameter", "message": "m", "output": {"task_id": OTHER}},
        {"task_id": 4711, "status": "completed", "result_url": URL},
    ],
)
def test_an_answer_about_another_task_is_not_believed(payload: dict[str, Any]) -> None:
    with pytest.raises(GatewayUnavailable) as caught:
        read(payload)

    assert caught.value.wan_task_id == TASK_ID
    assert "TOPSECRET" not in str(caught.value)


def test_the_id_that_the_upstream_of_a_gateway_has_for_a_task_may_differ() -> None:
    upstream = {"output": {"task_id": OTHER, "task_status": "SUCCEEDED", "video_url": URL}, "usage": {"SR": 720}}

    for payload in (
        {"task_id": TASK_ID, "status": "completed", "result": {"data": upstream}},
        {"data": {"task_id": TASK_ID, "status": "SUCCESS", "data": upstream}},
    ):
        task = read(payload)

        assert (task.wan_task_id, task.status, task.video_url, task.usage) == (
            TASK_ID,
            TaskStatus.SUCCEEDED,
            URL,
            {"SR": 720},
        )


def test_what_an_answer_says_of_another_task_beside_ours_does_not_count() -> None:
    ours = {"task_id": TASK_ID, "task_status": "SUCCEEDED"}

    task = read({"output": ours, "data": {"task_id": OTHER, "status": "FAILURE", "result_url": URL, "progress": 7}})

    assert (task.status, task.video_url, task.progress) == (TaskStatus.SUCCEEDED, None, None)


@pytest.mark.parametrize("status", [201, 202, 203, 206, 302, 304])
def test_a_task_is_believed_only_with_status_200(status: int) -> None:
    with pytest.raises(GatewayUnavailable):
        read_task(answer({"task_id": TASK_ID, "status": "failed"}, status=status), TASK_ID)


@pytest.mark.parametrize(
    "payload", [None, {}, [], "completed", 3, {"status": 200}, {"status": ""}, {"output": {}}, {"data": []}]
)
def test_an_answer_without_a_status_makes_the_gateway_unavailable(payload: object) -> None:
    with pytest.raises(GatewayUnavailable, match="no task status") as caught:
        read(payload)

    assert caught.value.wan_task_id == TASK_ID


def test_an_error_code_in_an_answer_with_status_200_counts() -> None:
    with pytest.raises(AuthenticationFailed):
        read({"code": "InvalidApiKey", "message": "no", "request_id": "r-1"})


def test_a_task_status_in_a_failed_answer_does_not_count() -> None:
    with pytest.raises(GatewayUnavailable):
        read_task(answer({"status": "completed", "result_url": URL}, status=502), TASK_ID)


def test_the_prompt_is_read_from_the_request_that_apiyi_repeats_in_its_record() -> None:
    record = {"input": {"prompt": "a kite", "media": []}, "output": {}}

    task = read_task(answer({"status": "completed", "task_id": TASK_ID, "result": {"data": record}}), TASK_ID)

    assert task.orig_prompt == "a kite"


# Lists ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["data", "tasks"])
def test_a_page_of_a_list_is_read_as_documented_and_as_the_sdk_reads_it(key: str) -> None:
    rows = [
        {"task_id": "a", "gmt_create": 1_775_113_902_100},
        {"task_id": "b", "gmt_create": 1_775_113_902_200.0},
    ]

    page = read_list(answer({key: rows, "total": 22, "total_page": "3"}))

    assert page.rows == [ListedTask("a", 1_775_113_902.1), ListedTask("b", 1_775_113_902.2)]
    assert (page.rows_sent, page.total, page.total_pages) == (2, 22, 3)


@pytest.mark.parametrize("name", ["status", "task_status"])
def test_a_row_tells_the_state_of_its_task_and_when_it_ran(name: str) -> None:
    row = {"task_id": "a", name: "SUCCEEDED", "gmt_create": 1_775_113_902_100, "start_time": 1_775_113_903_000}

    (listed,) = read_list(answer({"data": [row | {"end_time": 1_775_114_000}]})).rows

    assert (listed.status, listed.status_word) == (TaskStatus.SUCCEEDED, "SUCCEEDED")
    assert (listed.started_at, listed.ended_at) == (1_775_113_903, 1_775_114_000)


@pytest.mark.parametrize(
    ("started", "ended"),
    [
        ({"start_time": 1_775_113_902_150}, {"end_time": 1_775_113_981_300}),
        ({"start_time": 1_775_113_902.15}, {"end_time": 1_775_113_981.3}),
        ({"start_time": "2026-04-02 15:11:42.150"}, {"end_time": "2026-04-02 15:13:01.300"}),
        ({"scheduled_time": "2026-04-02 15:11:42.150", "start_time": 0}, {"end_time": "2026-04-02T15:13:01.300+08:00"}),
        ({"start_time": "2026-04-02 07:11:42.150Z"}, {"finish_time": 1_775_113_981.3}),
    ],
)
def test_a_row_tells_the_tasks_state_and_times_in_whatever_form(started: dict[str, Any], ended: dict[str, Any]) -> None:
    row = {"task_id": "a", "gmt_create": 1_775_113_902_100, "status": "SUCCEEDED", **started, **ended}

    tasks = read_list(answer({"data": [row]})).rows

    assert [(task.status, task.started_at, task.ended_at) for task in tasks] == [
        (TaskStatus.SUCCEEDED, pytest.approx(1_775_113_902.15), pytest.approx(1_775_113_981.3))
    ]


@pytest.mark.parametrize(
    "rubbish", [None, "", "soon", True, -1, 10**400, float("nan"), float("inf"), [], {}, "9999-01-01"]
)
def test_a_time_of_a_row_that_is_none_is_not_read(rubbish: object) -> None:
    row = {"task_id": "a", "gmt_create": 1_775_113_902_100, "start_time": rubbish, "end_time": rubbish}

    assert read_list(answer({"data": [row]})).rows == [ListedTask("a", 1_775_113_902.1)]


@pytest.mark.parametrize(
    ("word", "status", "status_word"),
    [("DREAMING", TaskStatus.UNRECOGNISED, "DREAMING"), (None, None, ""), (7, None, "")],
)
def test_a_row_with_a_state_that_nobody_knows_is_kept(
    word: object, status: TaskStatus | None, status_word: str
) -> None:
    row = {"task_id": "a", "gmt_create": 1_775_113_902_100, "status": word}

    assert read_list(answer({"data": [row]})).rows == [
        ListedTask("a", 1_775_113_902.1, status=status, status_word=status_word)
    ]


def test_a_row_without_an_id_or_a_time_is_ignored() -> None:
    rows: list[Any] = [
        {"task_id": "", "gmt_create": 1},
        {"task_id": "a"},
        {"task_id": "a", "gmt_create": "yesterday"},
        {"task_id": "a", "gmt_create": 10**400},
        "x",
        None,
    ]

    assert read_list(answer({"data": rows})) == ListPage([], rows_sent=6)


@pytest.mark.parametrize("total", [None, True, -1, 1.5, "many", "²", [], 10**400])
def test_a_number_of_pages_that_is_none_is_not_known(total: Any) -> None:
    assert read_list(answer({"data": [], "total": total, "total_page": total})).total_pages is None


@pytest.mark.parametrize("payload", [None, {}, {"data": None}, {"data": "x"}, {"code": "InternalError"}])
def test_an_answer_that_is_no_list_makes_the_gateway_unavailable(payload: object) -> None:
    with pytest.raises(GatewayUnavailable):
        read_list(answer(payload))


def test_a_refused_list_raises_the_error_of_its_code() -> None:
    with pytest.raises(WanError) as caught:
        read_list(answer({"code": "InvalidApiKey", "message": "no"}, status=401))

    assert type(caught.value) is AuthenticationFailed


# Paths ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gateway", "path"), [(APIYI, "/v1/tasks/"), (DASHSCOPE, "/api/v1/tasks/")])
def test_a_task_is_read_at_the_documented_path(gateway: Gateway, path: str) -> None:
    call = task_call(gateway, TASK_ID)

    assert (call.method, call.path, call.headers) == ("GET", path + TASK_ID, {})


def test_a_task_is_canceled_at_the_documented_path() -> None:
    call = cancel_call(DASHSCOPE, TASK_ID)

    assert (call.method, call.path) == ("POST", f"/api/v1/tasks/{TASK_ID}/cancel")


def test_a_task_id_cannot_change_the_path() -> None:
    assert task_call(APIYI, "../x?y#z/ü").path == "/v1/tasks/..%2Fx%3Fy%23z%2F%C3%BC"


def test_a_list_is_requested_with_the_documented_filters() -> None:
    start, end = datetime(2026, 4, 2, 7, 1, 2, tzinfo=UTC), datetime(2026, 4, 2, 8, 1, 2, tzinfo=UTC)

    call = list_call(model="wan2.7-i2v", start=start, end=end, page=2)

    assert (call.method, call.path) == ("GET", "/api/v1/tasks/")
    assert call.params == {
        "start_time": "20260402070102",
        "end_time": "20260402080102",
        "model_name": "wan2.7-i2v",
        "page_no": "2",
    }


@pytest.mark.parametrize(
    ("base_url", "gateway"),
    [
        ("https://api.apiyi.com", APIYI),
        ("https://vip.apiyi.com", APIYI),
        ("http://127.0.0.1:8765", APIYI),
        ("https://dashscope.aliyuncs.com", DASHSCOPE),
        ("https://DashScope-Intl.Aliyuncs.com", DASHSCOPE),
        ("https://cn-hongkong.dashscope.aliyuncs.com", DASHSCOPE),
        ("https://ws-1.eu-central-1.maas.aliyuncs.com", DASHSCOPE),
        ("https://notaliyuncs.com", APIYI),
        ("https://aliyuncs.com.example.org", APIYI),
    ],
)
def test_the_gateway_is_known_by_its_host(base_url: str, gateway: Gateway) -> None:
    assert gateway_of_host(base_url) is gateway


@pytest.mark.parametrize(
    "results",
    [
        {"video_url": "https://h.example/a.mp4"},
        [{"video_url": "https://h.example/a.mp4"}],
        [
            {"task_id": "another", "video_url": "https://h.example/not-ours.mp4"},
            {"video_url": "https://h.example/a.mp4"},
        ],
    ],
)
def test_the_url_under_results_is_read(results: object) -> None:
    body = {"output": {"task_status": "SUCCEEDED", "results": results}, "request_id": "r-1", "of": {"task_id": TASK_ID}}

    assert read_task(answer(body), TASK_ID).video_url == "https://h.example/a.mp4"
