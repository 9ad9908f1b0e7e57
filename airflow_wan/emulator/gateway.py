"""The interface of a gateway: for each situation, the status and the JSON body that this gateway answers with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_wan.emulator.gateway_names import GatewayName
    from airflow_wan.emulator.tasks import Snapshot, Task
    from airflow_wan.emulator.validation import Refusal


@dataclass(frozen=True)
class Answer:
    """An HTTP status, a JSON body, and headers besides those that every answer of the gateway has."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Gateway(Protocol):
    """The answers of one gateway."""

    @property
    def name(self) -> GatewayName:
        """Which gateway this is."""

    def headers(self, request_id: str) -> dict[str, str]:
        """Return the headers that every answer has."""

    def unauthorized(self, *, key_given: bool, request_id: str) -> Answer:
        """Answer a request without a valid key."""

    def throttled(self, request_id: str) -> Answer:
        """Answer a request that exceeds the rate limit."""

    def out_of_balance(self, request_id: str, *, as_throttling: bool) -> Answer:
        """Answer a create that the account cannot pay for; with status 429 if `as_throttling`."""

    def free_quota_used_up(self, request_id: str) -> Answer:
        """Answer a create of an account whose free quota is used up, and which is set to use nothing else."""

    def broken(self, status: int, request_id: str) -> Answer:
        """Answer with status 500 or 503, an error of the gateway itself."""

    def no_route(self, method: str, path: str, request_id: str) -> Answer:
        """Answer a request for a path that does not exist."""

    def refused(self, refusal: Refusal, request_id: str) -> Answer:
        """Answer a create that is not accepted."""

    def created(self, task: Task) -> Answer:
        """Answer a create that is accepted."""

    def task(self, task: Task, snapshot: Snapshot, url: str | None, request_id: str, now: float) -> Answer:
        """Answer a poll.

        :param url: the new result URL of a task that succeeded, else None.
        :param now: the emulator's time in seconds since the epoch.
        """

    def no_task(self, task_id: str, request_id: str) -> Answer:
        """Answer a poll for a task that is unknown, has expired or belongs to another account."""

    def in_state(self, task_id: str, word: str, request_id: str) -> Answer:
        """Answer a poll with any word as the state of the task."""
