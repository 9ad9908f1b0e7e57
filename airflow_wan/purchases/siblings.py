"""The mapped instances of one task, and which Wan tasks the task instances of a DAG run hold, as far as XCom tells."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
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


NEVER_BEGUN = ("skipped", "upstream_failed", "removed")
"""The states of task instances that have ordered nothing, unless it was before their DAG run was cleared."""

NOT_BEGUN_YET = (None, "scheduled", "queued")
"""The states of task instances that are still to run, to run again, or to go on after a wait."""


def states_of_instances(instance: Any, task_id: str) -> dict[int, str | None]:
    """Return the states of the instances of a task, by map index.

    :param instance: the running task instance, in whose DAG run they are.
    :param task_id: the task.
    """
    states = instance.get_task_states(dag_id=instance.dag_id, task_ids=[task_id], run_ids=[instance.run_id])
    # Of a mapped task, Airflow adds the map index to the name.
    return {
        -1 if name == task_id else int(name.removeprefix(f"{task_id}_")): None if state is None else str(state)
        for name, state in states.get(instance.run_id, {}).items()
    }


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
        self._is_inner = task.has_dag() and self._instance.task_id not in {node.task_id for node in self._buyers}

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
        if self._is_inner:  # a function calls an operator: so may other functions, of which nothing is known
            return False
        return all(self._each_holds_one(task_id) for task_id in self._rivals(with_picture=with_picture))

    def _each_holds_one(self, task_id: str) -> bool:
        """Return whether each other instance of a task holds a Wan task, as far as it may have ordered one."""
        own = self._instance
        idle_states = (*NEVER_BEGUN, *(NOT_BEGUN_YET if task_id in self._downstream else ()))
        indexes = states_of_instances(own, task_id)
        if task_id == own.task_id:
            indexes.pop(map_index_of(own), None)
        idle = [index for index, state in indexes.items() if state in idle_states]
        # An idle instance may still hold what it has ordered before the run was cleared.
        held = len(self._held([task_id])) - (len(self._held([task_id], idle)) if idle else 0)
        return held >= len(indexes) - len(idle)

    def _rivals(self, *, with_picture: bool) -> list[str]:
        """Return the tasks of which another instance may have ordered the same."""
        own = self._instance.task_id
        names = ("model", "prompt", "first_frame") if with_picture else ("model", "prompt")
        is_known = not getattr(self._task, "extra_body", None)
        rivals = [
            node.task_id
            for node in self._buyers
            if node.task_id != own
            and all(not is_known or _may_be(getattr(self._task, name, None), _written(node, name)) for name in names)
        ]
        if is_mapped(self._instance) and not (with_picture and self._tells_instances_apart()):
            rivals.append(own)
        return rivals

    @property
    def _downstream(self) -> set[str]:
        """The tasks that follow this one: they begin later, unless their trigger rule or a task group lets them."""
        if not self._buyers:
            return set()
        return {node.task_id for node in self._task.get_flat_relatives(upstream=False)}

    def _tells_instances_apart(self) -> bool:
        """Return whether no two instances of this mapped task are the same in all that the search compares."""
        node = next((node for node in self._buyers if node.task_id == self._instance.task_id), None)
        given: Any = self._resolve(getattr(getattr(node, "expand_input", None), "value", None)) or ()
        if isinstance(given, Mapping):
            lists = [[*self._resolve(values)] for values in given.values()]
            given = [dict(zip(given, values, strict=True)) for values in product(*lists)]
        compared = [_compared(self._resolve(instance)) for instance in given]
        return len(set(compared)) == len(compared) > 0

    def _resolve(self, value: Any) -> Any:
        """Return what another task has returned, if a value stands for that."""
        return value.resolve(self._context) if hasattr(value, "resolve") else value

    def _held(self, task_ids: list[str], map_indexes: list[int] | None = None) -> list[str]:
        if not task_ids:
            return []
        wanted = {} if map_indexes is None else {"map_indexes": map_indexes}
        held = self._instance.xcom_pull(task_ids=task_ids, key=WAN_TASK_ID_KEY, **wanted)
        return [str(one) for one in held or () if one]


_COMPARED = ("model", "prompt", "first_frame", "media", "resolution", "duration")
"""The arguments by which the search for a lost submit tells one video from another."""

_TEMPLATE_SIGNS = ("{{", "{%", "{#")
_UNKNOWN = "{{ }}"

_REPLACING = frozenset({"python_callable", "extra_body"})
"""What may replace any other argument of a task: what a function returns, and what is merged into the request."""


def _compared(given: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(repr(given.get(name)) for name in _COMPARED)


def _written(node: Any, name: str) -> Any:
    """Return an argument of a task as its author wrote it; a template if that is not known: it may be mapped over."""
    arguments = getattr(node, "partial_kwargs", None)
    if arguments is not None:
        expanded = getattr(node.expand_input, "value", None)
        is_replaced = not _REPLACING.isdisjoint({*arguments, *(expanded if isinstance(expanded, Mapping) else ())})
        return _UNKNOWN if is_replaced else arguments.get(name, _UNKNOWN)
    if any(getattr(node, replacing, None) for replacing in _REPLACING):
        return _UNKNOWN
    return getattr(node, name, None) or (_UNKNOWN if getattr(node, "media", None) else None)


def _may_be(rendered: object, written: object) -> bool:
    """Return whether what an author wrote for another task may render to the same."""
    is_text = isinstance(written, str) and not any(sign in written for sign in _TEMPLATE_SIGNS)
    return (written is not None and not is_text) or _lines(rendered) == _lines(written)


def _lines(text: Any) -> list[str]:
    """Return the lines of a text, if any: rendering drops the end of the last one."""
    return text.splitlines() if isinstance(text, str) else [] if text is None else [text]


def _buys(task: Any) -> bool:
    """Return whether a task, mapped or not, is of an operator that buys videos."""
    return hasattr(getattr(task, "operator_class", task), "leaves_wan_order")
