"""What is decided about a wish for a video, for every record of an earlier try and every state of its task."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_wan.api.tasks import TaskStatus
from airflow_wan.exceptions import PurchaseUncertain, RequestChanged, VideoTaskLost
from airflow_wan.purchases.decision import Buy, Keep, Policy, airflow_remedies, decide
from airflow_wan.purchases.record import Intent, Order, Purchase

ORDER = Order(request={"model": "wan2.7-i2v", "input": {"prompt": "The clouds drift."}, "parameters": {}})
INTENT = Intent("same", 1_800_000_000.0, "wan_default", "dashscope", "https://dashscope.aliyuncs.com", ORDER)
PURCHASE = Purchase(INTENT, "wan-task-1", "request-1", 1_800_000_001.0)
RESUBMIT = Policy(on_ambiguous_submit="resubmit", on_changed_request="resubmit")
ENDED_UNBILLED = [TaskStatus.FAILED, TaskStatus.CANCELED]
NOT_ENDED_UNBILLED = [status for status in TaskStatus if status not in ENDED_UNBILLED]


def decision(earlier: Any, status: Any = None, fingerprint: str = "same", policy: Policy | None = None) -> Keep | Buy:
    return decide(
        earlier,
        status,
        fingerprint=fingerprint,
        policy=policy or Policy(),
        remedies=airflow_remedies("the record's place"),
    )


def test_a_first_try_buys() -> None:
    assert decision(None) == Buy()


def test_an_intent_without_an_id_stops_and_says_what_to_look_up() -> None:
    with pytest.raises(PurchaseUncertain) as raised:
        decision(INTENT)

    message = str(raised.value)
    for fact in ("wan2.7-i2v", "The clouds drift.", "may be billed", "2027-01-15 08:00:00 UTC", "the record's place"):
        assert fact in message
    assert not raised.value.retry_can_help


def test_an_intent_without_an_id_is_bought_again_only_where_the_author_says_so() -> None:
    assert decision(INTENT, policy=Policy(on_ambiguous_submit="resubmit")) == Buy()
    with pytest.raises(PurchaseUncertain):
        decision(INTENT, policy=Policy(on_changed_request="resubmit"))


@pytest.mark.parametrize("policy", [Policy(), RESUBMIT])
@pytest.mark.parametrize("fingerprint", ["same", "changed"])
@pytest.mark.parametrize("status", ENDED_UNBILLED)
def test_a_task_that_ended_unbilled_is_bought_again(status: TaskStatus, fingerprint: str, policy: Policy) -> None:
    assert decision(PURCHASE, status, fingerprint, policy) == Buy()


@pytest.mark.parametrize("policy", [Policy(), RESUBMIT])
@pytest.mark.parametrize("status", [status for status in NOT_ENDED_UNBILLED if status is not TaskStatus.UNKNOWN])
def test_whatever_can_still_become_a_video_is_kept(status: TaskStatus, policy: Policy) -> None:
    assert decision(PURCHASE, status, policy=policy) == Keep(PURCHASE)


@pytest.mark.parametrize("status", NOT_ENDED_UNBILLED)
def test_a_changed_request_stops_or_replaces_what_was_bought(status: TaskStatus) -> None:
    with pytest.raises(RequestChanged, match="wan-task-1"):
        decision(PURCHASE, status, "changed", Policy(on_ambiguous_submit="resubmit"))

    assert decision(PURCHASE, status, "changed", RESUBMIT) == Buy(instead_of=PURCHASE)


def test_a_changed_request_may_keep_what_was_bought_whatever_can_still_become_of_it() -> None:
    keep = Policy(on_changed_request="keep")

    assert decision(PURCHASE, TaskStatus.RUNNING, "changed", keep) == Keep(PURCHASE)
    assert decision(PURCHASE, TaskStatus.FAILED, "changed", keep) == Buy()
    with pytest.raises(VideoTaskLost):
        decision(PURCHASE, TaskStatus.UNKNOWN, "changed", keep)
    with pytest.raises(PurchaseUncertain):
        decision(INTENT, None, "changed", keep)


@pytest.mark.parametrize("policy", [Policy(), RESUBMIT])
def test_a_task_that_the_gateway_does_not_know_stops_with_its_id(policy: Policy) -> None:
    with pytest.raises(VideoTaskLost, match="wan-task-1") as raised:
        decision(PURCHASE, TaskStatus.UNKNOWN, policy=policy)

    assert raised.value.wan_task_id == "wan-task-1"
