"""The mapped instances of one task, and which Wan tasks the task instances of a DAG run hold, as far as XCom tells."""

from __future__ import annotations

from collections.abc import Mapping
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

    def claim(self, wan_task_id: str) -> bool:
        """Hold a Wan task, and return whether nobody else holds it."""

    def held(self) -> list[str]:
        """Return the Wan tasks that are held."""

    def all_rivals_hold_one(self, *, with_picture: bool) -> bool:
        """Return whether each of those that may have ordered the same holds a Wan task of its own.

        :param with_picture: whether the same picture counts, too, and not the same words alone.
        """


class Siblings:
    """The task instances of this DAG run that may have bought a video, this one included.

    :param context: the running task's context.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._instance: Any = context["ti"]
        task: Any = context["task"]
        self._task = task
        self._buyers = [node for node in task.dag.tasks if _buys(node)] if task.has_dag() else []

    def claim(self, wan_task_id: str) -> bool:
        """Hold a Wan task, and return whether no other task instance holds it.

        It is first held and then asked for: of two instances that claim one Wan task, at least one sees the other.
        """
        self._instance.xcom_push(key=WAN_TASK_ID_KEY, value=wan_task_id)
        if not self._buyers or self.held().count(wan_task_id) == 1:
            return True
        self._instance.xcom_push(key=WAN_TASK_ID_KEY, value="")
        return False

    def held(self) -> list[str]:
        """Return the Wan tasks that task instances of this DAG run hold."""
        return self._held([node.task_id for node in self._buyers])

    def all_rivals_hold_one(self, *, with_picture: bool) -> bool:
        """Return whether each other task instance of this DAG run that may have ordered the same holds a Wan task.

        :param with_picture: whether the same first frame counts, too, and not the same prompt alone.
        """
        rivals = self._rivals(with_picture=with_picture)
        if not rivals:
            return True
        instance = self._instance
        these = {"dag_id": instance.dag_id, "task_ids": rivals, "run_ids": [instance.run_id]}
        count = instance.get_ti_count(**these) - instance.get_ti_count(**these, states=list(_NEVER_BEGUN))
        return len(self._held(rivals)) >= int(count) - (instance.task_id in rivals)

    def _rivals(self, *, with_picture: bool) -> list[str]:
        """Return the tasks of which another instance may have ordered the same; a task downstream has not begun."""
        own = self._instance.task_id
        names = ("model", "prompt", "first_frame") if with_picture else ("model", "prompt")
        out_of_question = {own}
        if self._buyers:
            out_of_question |= {node.task_id for node in self._task.get_flat_relatives(upstream=False)}
        rivals = [
            node.task_id
            for node in self._buyers
            if node.task_id not in out_of_question
            and all(_may_be(getattr(self._task, name, None), _written(node, name)) for name in names)
        ]
        if is_mapped(self._instance) and not (with_picture and self._tells_instances_apart()):
            rivals.append(own)
        return rivals

    def _tells_instances_apart(self) -> bool:
        """Return whether the instances of this mapped task surely differ in nothing but what the search compares."""
        node = next((node for node in self._buyers if node.task_id == self._instance.task_id), None)
        expanded: Any = self._resolve(getattr(getattr(node, "expand_input", None), "value", None))
        items = [expanded] if isinstance(expanded, Mapping) else [self._resolve(item) for item in expanded or ()]
        names = {name for item in items if isinstance(item, Mapping) for name in item} - _NOT_ORDERED
        return bool(names) and names <= _COMPARED

    def _resolve(self, value: Any) -> Any:
        """Return what another task has returned, if a value stands for that."""
        return value.resolve(self._context) if hasattr(value, "resolve") else value

    def _held(self, task_ids: list[str]) -> list[str]:
        if not task_ids:
            return []
        return [str(held) for held in self._instance.xcom_pull(task_ids=task_ids, key=WAN_TASK_ID_KEY) or () if held]


_COMPARED = frozenset({"model", "prompt", "first_frame", "media", "resolution", "duration"})
"""The arguments by which the search for a lost submit tells one video from another."""

_NOT_ORDERED = frozenset({"output_path"})
"""An argument that changes nothing about the video."""

_NEVER_BEGUN = ("skipped", "upstream_failed", "removed")
"""The states of task instances that have ordered nothing."""

_UNKNOWN = "{{ }}"


def _written(node: Any, name: str) -> Any:
    """Return an argument of a task as its author wrote it; a template if that is not known: it may be mapped over."""
    arguments = getattr(node, "partial_kwargs", None)
    if arguments is not None:
        return arguments.get(name, _UNKNOWN)
    if hasattr(node, "python_callable"):  # a function returns the arguments
        return _UNKNOWN
    return getattr(node, name, None) or (_UNKNOWN if getattr(node, "media", None) else None)


def _may_be(rendered: object, written: object) -> bool:
    """Return whether what an author wrote for another task may render to the same."""
    is_known = written is None or (isinstance(written, str) and "{{" not in written and "{%" not in written)
    return not is_known or (rendered or None) == (written or None)


def _buys(task: Any) -> bool:
    """Return whether a task, mapped or not, is of an operator that buys videos."""
    return hasattr(getattr(task, "operator_class", task), "leaves_wan_order")
