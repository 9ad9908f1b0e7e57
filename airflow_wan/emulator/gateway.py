"""What the emulator asks of a gateway: its words for each situation, as status and JSON body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_wan.emulator.orders import GatewayName, Refusal
    from airflow_wan.emulator.tasks import Snapshot, Task


@dataclass(frozen=True)
class Answer:
    """An HTTP status and a JSON body."""

    status: int
    body: Mapping[str, Any]


class Gateway(Protocol):
    """One gateway's answers."""

    @property
    def name(self) -> GatewayName:
        """Which gateway it is."""

    def headers(self, request_id: str) -> dict[str, str]:
        """Return the headers of every answer."""

    def unauthorized(self, *, key_given: bool, request_id: str) -> Answer:
        """Answer a request without a good key."""

    def throttled(self, request_id: str) -> Answer:
        """Answer one request too many."""

    def out_of_balance(self, request_id: str, *, as_throttling: bool) -> Answer:
        """Answer a create the account cannot pay for; with 429 if `as_throttling`."""

    def broken(self, status: int, request_id: str) -> Answer:
        """Answer 500 or 503: the fault is the gateway's own."""

    def no_route(self, method: str, path: str, request_id: str) -> Answer:
        """Answer a path that does not exist."""

    def refused(self, refusal: Refusal, request_id: str) -> Answer:
        """Answer a create that is not accepted."""

    def created(self, task: Task) -> Answer:
        """Answer a create that is accepted."""

    def task(self, task: Task, snapshot: Snapshot, url: str | None, request_id: str, now: float) -> Answer:
        """Answer a poll; `url` is the fresh result URL of a task that succeeded."""

    def no_task(self, task_id: str, request_id: str) -> Answer:
        """Answer a poll for a task that is unknown, expired or another account's."""

    def in_state(self, task_id: str, word: str, request_id: str) -> Answer:
        """Answer a poll with any word for the task's state."""
