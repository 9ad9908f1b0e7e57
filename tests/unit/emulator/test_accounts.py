"""What an account is told for nothing, and to which region and group its keys belong."""

from __future__ import annotations

import time
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.emulator.__main__ import main
from airflow_wan.emulator.testing import AT_ONCE, Settings

if TYPE_CHECKING:
    import httpx

    from airflow_wan.emulator.testing import RunningEmulator

T2V = {"model": "wan2.7-t2v", "input": {"prompt": "a kite"}, "parameters": {"resolution": "720P", "duration": 2}}
SINGAPORES, OUTSIDE, STRANGER = "sk-of-singapore", "sk-outside-the-group", {"Authorization": "Bearer nonsense"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def wan_emulator_settings() -> Settings:
    return replace(
        AT_ONCE,
        create_qps=7,
        running=None,
        system_token="token-1",
        key_regions=((SINGAPORES, "ap-southeast-1"),),
        ungrouped_keys=frozenset({OUTSIDE}),
        balance_usd=1.5,
    )


class TestQuotas:
    def test_each_models_limits_are_those_of_the_settings(self, http: httpx.Client) -> None:
        body = http.get("/api/v1/quotas", params={"model": "wan2.7-i2v"}).json()

        (row,) = body["output"]["quotas"]
        assert (body["output"]["total"], row["model"], row["workspace_limit"]) == (1, "wan2.7-i2v", None)
        limit = row["model_limit"]
        assert (limit["request_limit"], limit["request_limit_period"]) == (7, 1)
        assert limit["async_user_concurrency_limit"] is None
        assert body["request_id"]

    def test_they_are_found_by_a_part_of_the_name_and_come_in_pages(self, http: httpx.Client) -> None:
        found = [
            http.get("/api/v1/quotas", params={"name": "happyhorse", "page_no": page, "page_size": 4}).json()["output"]
            for page in (1, 2, 3)
        ]

        names = [row["model"] for output in found for row in output["quotas"]]
        assert [len(output["quotas"]) for output in found] == [4, 3, 0]
        assert found[0]["total"] == len(set(names)) == 7
        assert all(name.startswith("happyhorse") for name in names)

    @pytest.mark.parametrize("page", ["0", "first"])
    def test_a_page_that_is_none_is_refused(self, page: str, http: httpx.Client) -> None:
        answer = http.get("/api/v1/quotas", params={"page_no": page})

        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")

    def test_a_wrong_key_is_refused(self, http: httpx.Client) -> None:
        answer = http.get("/api/v1/quotas", headers=STRANGER)

        assert (answer.status_code, answer.json()["code"]) == (401, "InvalidApiKey")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("dashscope-intl.aliyuncs.com", 200),
        ("dashscope-intl.aliyuncs.com:8443", 200),
        ("ws-1.ap-southeast-1.maas.aliyuncs.com", 200),
        ("dashscope.aliyuncs.com", 401),
        ("dashscope-us.aliyuncs.com", 401),
        ("cn-hongkong.dashscope.aliyuncs.com", 401),
        ("ws-1.eu-central-1.maas.aliyuncs.com", 401),
        ("gateway.example", 401),
    ],
)
def test_a_key_of_a_region_is_good_at_the_hosts_of_that_region(host: str, status: int, http: httpx.Client) -> None:
    headers = {"Host": host, **bearer(SINGAPORES)}

    assert [http.get(path, headers=headers).status_code for path in ("/api/v1/tasks/x", "/api/v1/quotas")] == [
        status,
        status,
    ]
    assert http.get("/api/v1/tasks/x", headers={"Host": host}).status_code == 200  # a key without a region
    assert http.get("/v1/tasks/x", headers=headers).status_code == 400  # APIYI has no regions


def test_a_token_outside_the_group_sees_no_wan_models_and_cannot_create(
    http: httpx.Client, apiyi: Any, dashscope: Any, wan_emulator: RunningEmulator
) -> None:
    inside, outside = (
        [row["id"] for row in http.get("/v1/models", headers=headers).json()["data"]]
        for headers in ({}, bearer(OUTSIDE))
    )

    assert "wan2.7-i2v" in inside
    assert set(outside) < set(inside)
    assert not [name for name in outside if name.startswith(("wan", "happyhorse"))]
    refused = apiyi.create(T2V, **bearer(OUTSIDE))
    assert "该模型无可用渠道" in refused.json()["error"]["message"]
    assert wan_emulator.ledger() == []
    assert dashscope.create(T2V, **bearer(OUTSIDE)).status_code == 200  # DashScope has no groups


def test_the_models_are_told_to_no_wrong_key(http: httpx.Client) -> None:
    assert http.get("/v1/models", headers=STRANGER).status_code == 401


def test_the_balance_is_told_to_the_system_token_alone(http: httpx.Client) -> None:
    told = http.get("/api/user/self", headers={"Authorization": "token-1"}).json()
    refused = [
        http.get("/api/user/self", headers={"Authorization": token}).status_code
        for token in ("token-2", "sk-emulator-test-0123456789", "Bearer token-1", "")
    ]

    assert (told["success"], told["data"]["quota"]) == (True, 750_000)
    assert refused == [401] * 4


def test_every_answer_tells_the_time_of_the_emulators_clock_once(
    http: httpx.Client, wan_emulator: RunningEmulator
) -> None:
    wan_emulator.advance_clock(5000)
    asked_at = time.time()

    for path in ("/v1/tasks/x", "/api/v1/tasks/x", "/nowhere", "/_emulator/ledger"):
        (date,) = http.get(path).headers.get_list("date")
        assert 4990 < parsedate_to_datetime(date).timestamp() - asked_at < 5100


def test_a_used_up_free_quota_refuses_a_create_and_costs_nothing(
    apiyi: Any, dashscope: Any, wan_emulator: RunningEmulator
) -> None:
    wan_emulator.add_fault("create", "free_quota_used_up", times=2)

    at_dashscope, at_apiyi = dashscope.create(T2V), apiyi.create(T2V)

    assert (at_dashscope.status_code, at_dashscope.json()["code"]) == (403, "AllocationQuota.FreeTierOnly")
    assert (at_apiyi.status_code, at_apiyi.json()["error"]["code"]) == (403, "insufficient_user_quota")
    assert wan_emulator.ledger() == []


def test_a_region_that_does_not_exist_is_no_setting() -> None:
    with pytest.raises(ValueError, match=r"key_regions must name regions .* got \['the-moon'\]"):
        Settings(key_regions=(("sk-x", "the-moon"),))


@pytest.mark.parametrize("text", ["sk-x", "=cn-beijing", "sk-x=the-moon"])
def test_an_option_without_a_key_and_a_region_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--key-region", text])

    assert "expected KEY=REGION" in capsys.readouterr().err
