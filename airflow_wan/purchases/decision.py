"""Decides whether a video must be bought: pure, from the record of an earlier try and what became of it.

Neither gateway has an idempotency key, so the safety is made of three rules. The intent is written down before the
create request is sent. A request that may have been accepted is never sent again automatically. A video that was
bought is waited for and downloaded, never generated anew.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from airflow_wan.api.gateways import GATEWAYS, GatewayName
from airflow_wan.api.tasks import TaskStatus
from airflow_wan.exceptions import PurchaseUncertain, RequestChanged, VideoTaskLost
from airflow_wan.purchases.record import Intent, Purchase

log = logging.getLogger(__name__)

MESSAGE_PROMPT_CHARS = 200
"""Characters of a prompt that a message shows."""

Choice = Literal["fail", "resubmit"]
"""What to do when buying may be wrong: stop and tell the user, or buy."""

OnChange = Literal["fail", "resubmit", "keep"]
"""What to do when the request has changed: stop and tell the user, buy, or bring home what an earlier try bought."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the DAG author wants in the two doubtful cases.

    :param on_ambiguous_submit: when an earlier try may have bought the video without learning the task's id.
    :param on_changed_request: when the request is not the one that an earlier try bought.
    """

    on_ambiguous_submit: Choice = "fail"
    on_changed_request: OnChange = "fail"


@dataclass(frozen=True, slots=True)
class Remedies:
    """What a person can do when the decision is left to them, in the words of the place where the video is bought.

    :param lost: when the gateway does not know the task that was bought.
    :param uncertain: when an earlier try may have bought the video.
    :param changed: when the request is not the one that an earlier try bought.
    """

    lost: str
    uncertain: str
    changed: str


def airflow_remedies(where: str) -> Remedies:
    """Return what a person can do about an Airflow task.

    :param where: where a person finds the record, in words.
    """
    return Remedies(
        lost=f"To generate the video again, delete {where} and clear this task.",
        uncertain=(
            "Look for 'Submitted as wan task' in the log of that try, and for a task of that time in the gateway's "
            "console. If there is one, fetch it with WanVideoSensor(wan_task_id=…). If there is none, delete "
            f"{where}, or set on_ambiguous_submit='resubmit', and clear this task."
        ),
        changed=(
            "To bring that video home, set on_changed_request='keep' and clear this task, or fetch it with "
            "WanVideoSensor and this id, within 24 h. To buy the changed one, set on_changed_request='resubmit' and "
            "clear this task."
        ),
    )


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing is bought: an earlier try bought the video.

    :param purchase: the earlier try's purchase.
    """

    purchase: Purchase


@dataclass(frozen=True, slots=True)
class Buy:
    """A video is bought now.

    :param instead_of: an earlier purchase to cancel first; its record stays until the new intent replaces it.
    """

    instead_of: Purchase | None = None


def decide(
    earlier: Intent | Purchase | None,
    status: TaskStatus | None,
    *,
    fingerprint: str,
    policy: Policy,
    remedies: Remedies,
    search: str | None = None,
) -> Keep | Buy:
    """Decide what to do about a wish for a video.

    :param earlier: the record of an earlier try.
    :param status: of a `Purchase`, what the gateway says of its task; `TaskStatus.UNRECOGNISED` if it cannot be asked.
    :param fingerprint: digest of the request now.
    :param policy: the DAG author's choices.
    :param remedies: what a person can do in the cases that are errors.
    :param search: what came of the search for the task of a lost answer, if there was one.
    :raises PurchaseUncertain: when an earlier try may have bought the video and the policy is to fail.
    :raises RequestChanged: when the request has changed since it was bought and the policy is to fail.
    :raises VideoTaskLost: when the gateway does not know the task that was bought.
    """
    if earlier is None:
        return Buy()
    if isinstance(earlier, Intent):
        return _decide_without_an_id(earlier, policy, remedies, search)
    if status in (TaskStatus.FAILED, TaskStatus.CANCELED):
        log.info(
            "Wan task %s of an earlier try ended %s and is not billed; submitting again", earlier.wan_task_id, status
        )
        return Buy()
    if earlier.intent.fingerprint != fingerprint and policy.on_changed_request != "keep":
        return _decide_on_a_change(earlier, policy, remedies)
    if status is TaskStatus.UNKNOWN:
        raise VideoTaskLost(
            f"An earlier try bought this video as wan task {earlier.wan_task_id} on "
            f"{readable_time(earlier.submitted_at)}, but the gateway at {earlier.intent.base_url} does not know this "
            f"task (any more). It may have been billed: look it up in the gateway's console. {remedies.lost}",
            wan_task_id=earlier.wan_task_id,
            request_id=earlier.request_id,
        )
    if earlier.intent.fingerprint != fingerprint:
        log.warning(
            "The request has changed since an earlier try bought wan task %s on %s. The video is the one that was "
            "bought then, for %r, as on_changed_request='keep' says; nothing is submitted.",
            earlier.wan_task_id,
            readable_time(earlier.submitted_at),
            _short(earlier.order.prompt),
        )
        return Keep(earlier)
    log.info(
        "An earlier try bought this video as wan task %s on %s (%s); nothing is submitted",
        earlier.wan_task_id,
        readable_time(earlier.submitted_at),
        status,
    )
    return Keep(earlier)


def _decide_without_an_id(intent: Intent, policy: Policy, remedies: Remedies, search: str | None) -> Buy:
    if policy.on_ambiguous_submit == "resubmit":
        log.warning(
            "An earlier try may have submitted this video on %s without learning its id; submitting again, as "
            "on_ambiguous_submit='resubmit' says. It may be billed twice.",
            readable_time(intent.intent_at),
        )
        return Buy()
    searched = search or (
        f"The list of tasks at {intent.base_url} does not settle it."
        if GATEWAYS[GatewayName(intent.gateway)].can_list
        else f"{intent.gateway} has no list of tasks that an API key may search."
    )
    raise PurchaseUncertain(
        f"An earlier try sent, or was about to send, the create request for {intent.order.model} with the prompt "
        f"{_short(intent.order.prompt)!r} to {intent.base_url} on {readable_time(intent.intent_at)}, and never "
        f"received an answer: the video may be in the making, and may be billed. {searched} {remedies.uncertain}"
    )


def _decide_on_a_change(earlier: Purchase, policy: Policy, remedies: Remedies) -> Buy:
    if policy.on_changed_request == "resubmit":
        return Buy(instead_of=earlier)
    raise RequestChanged(
        f"The request has changed since an earlier try bought wan task {earlier.wan_task_id} on "
        f"{readable_time(earlier.submitted_at)} for {_short(earlier.order.prompt)!r}. {remedies.changed}",
        wan_task_id=earlier.wan_task_id,
        request_id=earlier.request_id,
    )


def readable_time(moment: float) -> str:
    """Return a unix time as text for a message, in UTC."""
    return f"{datetime.fromtimestamp(moment, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= MESSAGE_PROMPT_CHARS else prompt[:MESSAGE_PROMPT_CHARS] + "…"
