"""Mapped instances of one task tell each other in XCom where their videos go, so that no two buy for one path.

Each tells its path first and looks then, so of two that do so at the same time at least one sees the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_wan.exceptions import DestinationError
from airflow_wan.purchases.siblings import NEVER_BEGUN, NOT_BEGUN_YET, is_mapped, states_of_instances

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_wan.videos.destination import Destination

WAN_PATH_KEY = "wan_output_path"
"""The XCom key of a mapped task instance's path."""


def tell_path(context: Context, destination: Destination | None) -> None:
    """Tell the mapped instances of this task in this run where this one's video goes.

    :param context: the running task's context.
    :param destination: where the video goes; None takes back what was told.
    """
    instance = context["ti"]
    if is_mapped(instance):
        place = destination.place if destination else None
        instance.xcom_push(key=WAN_PATH_KEY, value={"map_index": instance.map_index, "place": place})


def find_sibling(context: Context, destination: Destination) -> int | None:
    """Return the map index of another instance of this task and run that has told the same path, or None.

    :param context: the running task's context.
    :param destination: where the video of this instance goes.
    :raises DestinationError: when such an instance is still to run. If the run was cleared since, the list that the
        task is mapped over may have changed, and with it that instance's path.
    """
    instance = context["ti"]
    if not is_mapped(instance):
        return None
    told_by = [
        int(told["map_index"])
        for told in instance.xcom_pull(task_ids=[instance.task_id], key=WAN_PATH_KEY) or ()
        if isinstance(told, Mapping)
        and told.get("map_index") != instance.map_index
        and told.get("place") == destination.place
    ]
    states = states_of_instances(instance, instance.task_id) if told_by else {}
    waiting = None
    for index in told_by:
        state = states.get(index, "running")
        if state in NOT_BEGUN_YET:
            waiting = index
        elif state not in NEVER_BEGUN:
            return index
    if waiting is not None:
        raise DestinationError(
            f"Map index {waiting} of this task has said that it writes to {destination}, too, and is still to run. A "
            "retry checks this again."
        )
    return None
