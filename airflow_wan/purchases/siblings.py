"""The mapped instances of one task, and which Wan tasks the task instances of a DAG run hold, as far as XCom tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

WAN_TASK_ID_KEY = "wan_task_id"
"""XCom key under which each task that buys pushes the Wan task's id as soon as it has it."""


def map_index_of(instance: Any) -> int:
    """Return the map index of a task instance, -1 if it is not mapped: Airflow may say that in either of two ways."""
    return -1 if instance.map_index is None else int(instance.map_index)


def is_mapped(instance: Any) -> bool:
    """Return whether a task instance is one of several that a mapped task was expanded to."""
    return map_index_of(instance) >= 0


class Claims(Protocol):
    """Which Wan tasks are held by others that buy videos, so that no two take one for theirs."""

    @property
    def is_mapped(self) -> bool:
        """Whether others may have ordered the same words at the same time."""

    def claim(self, wan_task_id: str) -> bool:
        """Hold a Wan task, and return whether nobody else holds it."""

    def held(self) -> list[str]:
        """Return the Wan tasks that are held."""

    def all_others_hold_one(self) -> bool:
        """Return whether each of those that may have ordered the same words holds a Wan task of its own."""


class Siblings:
    """The task instances of this DAG run that may have bought a video, this one included.

    :param context: the running task's context.
    """

    def __init__(self, context: Context) -> None:
        self._instance: Any = context["ti"]
        task: Any = context["task"]
        self._task_ids = [node.task_id for node in task.dag.tasks if _buys(node)] if task.has_dag() else []

    @property
    def is_mapped(self) -> bool:
        """Whether this task instance is one of several that a mapped task was expanded to."""
        return is_mapped(self._instance)

    def claim(self, wan_task_id: str) -> bool:
        """Hold a Wan task, and return whether no other task instance holds it.

        It is first held and then asked for: of two instances that claim one Wan task, at least one sees the other.
        """
        self._instance.xcom_push(key=WAN_TASK_ID_KEY, value=wan_task_id)
        if not self._task_ids or self._held(self._task_ids).count(wan_task_id) == 1:
            return True
        self._instance.xcom_push(key=WAN_TASK_ID_KEY, value="")
        return False

    def held(self) -> list[str]:
        """Return the Wan tasks that task instances of this DAG run hold."""
        return self._held(self._task_ids)

    def all_others_hold_one(self) -> bool:
        """Return whether each other instance of this mapped task holds a Wan task of its own."""
        instance = self._instance
        count: int = instance.get_ti_count(
            dag_id=instance.dag_id, task_ids=[instance.task_id], run_ids=[instance.run_id]
        )
        return len(self._held([instance.task_id])) >= count - 1

    def _held(self, task_ids: list[str]) -> list[str]:
        if not task_ids:
            return []
        return [str(held) for held in self._instance.xcom_pull(task_ids=task_ids, key=WAN_TASK_ID_KEY) or () if held]


def _buys(task: Any) -> bool:
    """Return whether a task, mapped or not, is of an operator that buys videos."""
    return hasattr(getattr(task, "operator_class", task), "leaves_wan_order")
