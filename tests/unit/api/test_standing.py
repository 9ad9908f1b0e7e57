"""What a gateway tells of an account is read as documented, and anything else tells nothing."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.api.answers import Answer
from airflow_wan.api.standing import Limit, read_balance_usd, read_limits, read_models
from airflow_wan.redaction import KeyMask


def answer(body: Any, status: int = 200) -> Answer:
    return Answer.read(status, [], json.dumps(body).encode(), KeyMask())


def quotas(**row: Any) -> Answer:
    return answer({"request_id": "r", "output": {"total": 1, "quotas": [{"model": "wan2.7-i2v", **row}]}})


LIMIT = {
    "request_limit": 300,
    "request_limit_period": 60,
    "usage_limit": None,
    "async_user_queue_limit": 100,
    "async_user_concurrency_limit": 5,
}


def test_the_limits_of_a_key_are_read_as_documented() -> None:
    assert read_limits(quotas(model_limit=LIMIT, workspace_limit=None)) == [Limit("wan2.7-i2v", 300, 60, 5, 100)]


def test_the_limit_of_the_workspace_counts_before_that_of_the_account() -> None:
    own = LIMIT | {"request_limit": 30}

    assert read_limits(quotas(model_limit=LIMIT, workspace_limit=own))[0].creates == 30


@pytest.mark.parametrize("value", [None, "5", True, 0, -1, 10**13, [5], {}])
def test_a_limit_that_is_none_is_not_told(value: Any) -> None:
    limit = LIMIT | {"request_limit": value}

    assert read_limits(quotas(model_limit=limit)) == [Limit("wan2.7-i2v", None, 60, 5, 100)]


def test_a_balance_is_in_units_of_500000_for_a_usd() -> None:
    assert read_balance_usd(answer({"success": True, "data": {"quota": 24_997_909}})) == 50.0
    assert read_balance_usd(answer({"success": True, "data": {"quota": -250_000}})) == -0.5


def test_the_models_are_those_with_an_id() -> None:
    assert read_models(answer({"data": [{"id": "wan2.7-i2v"}, {"id": None}, "x", {}]})) == ["wan2.7-i2v"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "output", "quotas", "model", "model_limit", "workspace_limit", "quota", "id"]),
            inner,
        )
    ),
    max_leaves=6,
)


@hypothesis.settings(max_examples=25)  # most of the time goes into making the JSON
@given(JSON, st.sampled_from([200, 401, 404, 500]))
def test_no_answer_is_an_error(body: Any, status: int) -> None:
    reply = answer(body, status)

    limits, models, balance = read_limits(reply), read_models(reply), read_balance_usd(reply)

    if status != 200:
        assert (limits, models, balance) == ([], None, None)
