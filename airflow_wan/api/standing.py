"""Reads what a gateway tells of an account for nothing: its limits, its models, its balance.

Sources: Alibaba Cloud Model Studio, "List model quotas" (September 2026); APIYI, "balance query"; and gateways of the
family that APIYI's descends from (new-api) for the list of a key's models, which APIYI itself does not document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_wan.api.answers import text_of
from airflow_wan.api.gateways import ApiCall
from airflow_wan.api.tasks import QUOTA_OF_A_USD

if TYPE_CHECKING:
    from airflow_wan.api.answers import Answer

_MAX_MODEL_CHARS = 60
_MOST = 10**12
"""No limit and no balance in USD is as high."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What one key may do with one model; None is what the gateway does not limit or not tell.

    :param model: the model id.
    :param creates: create requests that are admitted in `period_s`.
    :param period_s: in seconds.
    :param tasks_at_a_time: tasks in process.
    :param queued_tasks: tasks that wait in the gateway's queue.
    """

    model: str
    creates: int | None = None
    period_s: int | None = None
    tasks_at_a_time: int | None = None
    queued_tasks: int | None = None

    @property
    def figures(self) -> tuple[int | None, ...]:
        """Everything but the model."""
        return self.creates, self.period_s, self.tasks_at_a_time, self.queued_tasks


def limits_call(name: str) -> ApiCall:
    """Return the request for the key's limits; DashScope only.

    :param name: a part of the names of the models.
    """
    return ApiCall("GET", "/api/v1/quotas", params={"name": name, "page_no": "1", "page_size": "100"})


def read_limits(answer: Answer) -> list[Limit]:
    """Return the key's limits for each model; none if the answer does not tell.

    The limit of the workspace, where one is set, counts before that of the account, which is the greater one.
    """
    output = answer.body.get("output")
    rows = output.get("quotas") if answer.ok and isinstance(output, Mapping) else None
    return list(_limits(rows)) if isinstance(rows, list) else []


def _limits(rows: list[Any]) -> Iterator[Limit]:
    for row in rows:
        model = text_of(row.get("model")) if isinstance(row, Mapping) else None
        told = next((row[name] for name in ("workspace_limit", "model_limit") if _is_object(row, name)), None)
        if model is None or told is None:
            continue
        yield Limit(
            model[:_MAX_MODEL_CHARS],
            creates=_count(told.get("request_limit")),
            period_s=_count(told.get("request_limit_period")),
            tasks_at_a_time=_count(told.get("async_user_concurrency_limit")),
            queued_tasks=_count(told.get("async_user_queue_limit")),
        )


def _is_object(row: object, name: str) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get(name), Mapping)


def models_call() -> ApiCall:
    """Return the request for the models that a key may use; APIYI only."""
    return ApiCall("GET", "/v1/models")


def read_models(answer: Answer) -> list[str] | None:
    """Return the ids of the models that a key may use; None if the answer does not tell."""
    rows = answer.body.get("data")
    if not answer.ok or not isinstance(rows, list):
        return None
    ids = [text_of(row.get("id")) for row in rows if isinstance(row, Mapping)]
    return [one for one in ids if one]


def balance_call() -> ApiCall:
    """Return the request for the account's balance; APIYI only, with its system token."""
    return ApiCall("GET", "/api/user/self", as_owner=True)


def read_balance_usd(answer: Answer) -> float | None:
    """Return the account's balance in USD; None if the answer does not tell."""
    data = answer.body.get("data")
    quota: Any = data.get("quota") if answer.ok and isinstance(data, Mapping) else None
    if isinstance(quota, bool) or not isinstance(quota, (int, float)) or abs(quota) > _MOST * QUOTA_OF_A_USD:
        return None
    return round(quota / QUOTA_OF_A_USD, 2)


def _count(value: object) -> int | None:
    """Return a limit; None for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < _MOST:
        return None
    return int(value)
