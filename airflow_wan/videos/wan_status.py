"""What a task leaves in XCom about itself for the pages: what it ordered, what it waits for, and how it ended.

It is for people to look at: nothing in this package decides by it, and no task fails because it could not be left.
Airflow deletes the XComs of a task instance when a new try begins, but not when a deferred task resumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from airflow_wan.api.resolutions import resolution_of_size
from airflow_wan.exceptions import WanError
from airflow_wan.purchases.siblings import map_index_of
from airflow_wan.redaction import redact_beginning, shareable
from airflow_wan.telemetry.harmless import harmless

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_wan.api.gateways import Account
    from airflow_wan.purchases.record import Order, Purchase
    from airflow_wan.videos.sidecar import Sidecar

__all__ = ["WAN_STATUS_KEY", "WanFailure", "WanStatus"]

WAN_STATUS_KEY = "wan_status"
"""The XCom key of a `WanStatus`."""

_MAX_MESSAGE_CHARS = 5_000
"""Longest message of a foreign error, in characters."""


class WanFailure(TypedDict):
    """The error that ended a task. All texts are free of secrets."""

    kind: str
    """The class of the error, such as ``VideoRejected``."""
    message: str
    """What happened."""
    advice: str
    """What to do; empty if nothing is known."""
    billed: bool | None
    """Whether it costs money; None for "perhaps"."""
    code: str | None
    """The gateway's error code."""
    request_id: str | None
    """The gateway's id of the request."""
    http_status: int | None
    kept_at: str | None
    """Path or URI of a file that arrived and could not be handed on: a rejected video, or one whose place is taken."""
    kept_sha256: str | None
    """Digest of that file, hexadecimal."""


class WanStatus(TypedDict, total=False):
    """What is known of the video of a task, as plain JSON without secrets. What is not known is None or missing."""

    state: Literal["waiting", "submitted", "done", "failed", "dry_run"]
    """``waiting`` for the video; ``submitted``, and another task brings it home; ``done``; ``failed``; or ``dry_run``,
    so that nothing was bought."""
    operator: str
    """The class of the operator, or ``@task.wan_video``."""
    model: str | None
    prompt: str | None
    expanded_prompt: str | None
    """The prompt that the gateway made of it."""
    request: dict[str, Any] | None
    """The JSON body of the request, with URLs without their query and digests instead of data URIs."""
    sources: list[dict[str, Any]]
    """The files that the video is made from: ``role``, ``url`` and ``digest``."""
    seconds: float | None
    """The length ordered, in s."""
    resolution: str | None
    estimated_usd: float | None
    gateway: str
    base_url: str
    wan_task_id: str | None
    request_id: str | None
    """The gateway's id of the create request."""
    wait_until: str | None
    """When the task gives up its wait, ISO 8601 in UTC."""
    times: dict[str, str]
    """When each state was reached, ISO 8601 in UTC: ``intent``, ``submitted``, ``running``, ``published`` …"""
    shortcomings: list[str]
    """Sentences that say where an accepted video differs from the request."""
    reused: bool
    """Whether the video was there already, so that nothing was submitted."""
    failure: WanFailure


@harmless("What the pages show of this task")
def tell_purchase(
    context: Context, purchase: Purchase, *, state: Literal["waiting", "submitted"], wait_until: float | None = None
) -> None:
    """Leave what was ordered.

    :param context: the running task's context.
    :param purchase: what was bought.
    :param state: whether this task waits for the video.
    :param wait_until: when it gives up, unix time in s.
    """
    intent, order = purchase.intent, purchase.order
    times = {"intent": intent.intent_at, "submitted": purchase.submitted_at}
    _tell(
        context,
        WanStatus(
            state=state,
            gateway=intent.gateway,
            base_url=intent.base_url,
            wan_task_id=purchase.wan_task_id,
            request_id=purchase.request_id,
            wait_until=_iso(wait_until) if wait_until else None,
            times={name: _iso(at) for name, at in times.items()},
        )
        | _what_was_ordered(order),
    )


def _what_was_ordered(order: Order) -> WanStatus:
    return WanStatus(
        model=order.model,
        prompt=order.prompt or None,
        request=dict(order.request) or None,
        sources=[dict(source) for source in order.sources],
        seconds=order.seconds,
        resolution=order.resolution,
        estimated_usd=order.estimated_usd,
    )


@harmless("What the pages show of this task")
def tell_dry_run(context: Context, order: Order, account: Account) -> None:
    """Leave what would have been ordered, and what it would cost.

    :param context: the running task's context.
    :param order: the order.
    :param account: where it would have been sent.
    """
    _tell(
        context,
        WanStatus(state="dry_run", gateway=account.gateway.name, base_url=account.base_url) | _what_was_ordered(order),
    )


@harmless("What the pages show of this task")
def tell_wait(context: Context, wan_task_id: str, *, wait_until: float | None = None) -> None:
    """Leave that a Wan task is waited for of which nothing else is known."""
    until = _iso(wait_until) if wait_until else None
    _tell(context, WanStatus(state="waiting", wan_task_id=wan_task_id, wait_until=until))


@harmless("What the pages show of this task")
def tell_video(context: Context, record: Sidecar, *, reused: bool) -> None:
    """Leave that the video is at its destination; its own facts are in the XCom ``wan_video``.

    :param context: the running task's context.
    :param record: the record of the video.
    :param reused: whether it was there already.
    """
    known = record.model_dump(mode="json")
    generation, request = known["generation"], known["request"] or {}
    parameters = request.get("parameters") or {}
    resolution, size = parameters.get("resolution"), parameters.get("size")
    _tell(
        context,
        WanStatus(
            state="done",
            model=generation["model"],
            prompt=generation["prompt"],
            expanded_prompt=generation["expanded_prompt"],
            request=known["request"],
            sources=known["sources"],
            seconds=record.inspection.duration_s,
            resolution=resolution or (resolution_of_size(size) if isinstance(size, str) else None),
            estimated_usd=record.cost.estimated,
            gateway=record.gateway.name,
            base_url=record.gateway.base_url,
            wan_task_id=record.gateway.wan_task_id,
            request_id=record.gateway.request_id,
            times={name: at.isoformat() for name, at in record.times.items()},
            shortcomings=list(record.inspection.shortcomings),
            reused=reused,
        ),
    )


@harmless("What the pages show of this task")
def tell_failure(context: Context, error: BaseException) -> None:
    """Leave what ended the task, and keep what it has left about its order.

    :param context: the running task's context.
    :param error: the error, as Airflow gets it.
    """
    if isinstance(error, WanError):
        failure = WanFailure(
            kind=type(error).__name__,
            message=error.message,
            advice=error.advice,
            billed=error.billed,
            code=error.code,
            request_id=error.request_id,
            http_status=error.http_status,
            kept_at=getattr(error, "kept_at", None),
            kept_sha256=getattr(error, "kept_sha256", None),
        )
    else:
        failure = WanFailure(
            kind=type(error).__name__,
            message=redact_beginning(str(error), _MAX_MESSAGE_CHARS),
            advice="",
            billed=None,
            code=None,
            request_id=None,
            http_status=None,
            kept_at=None,
            kept_sha256=None,
        )
    known = _told(context)
    wan_task_id = getattr(error, "wan_task_id", None) or known.get("wan_task_id")
    _tell(context, known | WanStatus(state="failed", failure=failure, wan_task_id=wan_task_id))


def _told(context: Context) -> WanStatus:
    """Return what this try has left so far, or else what its task was going to order."""
    instance, task = context["ti"], context["task"]
    told = instance.xcom_pull(task_ids=instance.task_id, key=WAN_STATUS_KEY, map_indexes=map_index_of(instance))
    if isinstance(told, Mapping):
        return cast("WanStatus", dict(told))
    wanted = {name: getattr(task, name, None) for name in ("model", "prompt", "wan_task_id")}
    return cast("WanStatus", {name: text if isinstance(text, str) else None for name, text in wanted.items()})


def _tell(context: Context, status: WanStatus) -> None:
    task = context["task"]
    told = {"operator": getattr(task, "custom_operator_name", type(task).__name__), **status}
    context["ti"].xcom_push(key=WAN_STATUS_KEY, value=shareable(told))


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
