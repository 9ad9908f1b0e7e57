"""Whose the file at a destination is: no task replaces a video that another task has made and handed on.

A video is replaced by the next run of the same task, for example at ``latest.mp4``, and only if it was there before the
new one was ordered. A file of which no record tells whose it is may be replaced under the same condition.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_wan.exceptions import DestinationError
from airflow_wan.redaction import shareable
from airflow_wan.videos.sidecar import AirflowTask, read_sidecar, video_matches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_wan.purchases.record import Order
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.sidecar import Sidecar

log = logging.getLogger(__name__)

_TASK_INSTANCE = ("dag_id", "run_id", "task_id", "map_index")


def task_instance(airflow: Mapping[str, Any]) -> AirflowTask:
    """Return the task instance as records name it."""
    return AirflowTask(**{name: airflow[name] for name in _TASK_INSTANCE})


def owner_of(destination: Destination) -> Sidecar | None:
    """Return the record of the video at a destination; None if there is no video, or its record is not of it.

    :raises DestinationError: when the destination cannot be read.
    """
    record = read_sidecar(destination)
    return record if record is not None and video_matches(destination, record) else None


def is_another_task(theirs: AirflowTask, ours: AirflowTask) -> bool:
    """Return whether two task instances are neither the same nor of two runs of one task."""
    if (theirs.dag_id, theirs.task_id) != (ours.dag_id, ours.task_id):
        return True
    return theirs.run_id == ours.run_id and theirs.map_index != ours.map_index


@dataclass(frozen=True, slots=True)
class NewVideo:
    """A video that has been downloaded, and is to be published.

    :param wan_task_id: the Wan task that made it.
    :param sha256: its digest.
    :param task: the task instance that wants to publish it.
    :param order: what was ordered.
    :param ordered_at: when it was ordered, unix time in s, or the latest time at which it can have been.
    """

    wan_task_id: str
    sha256: str
    task: AirflowTask
    order: Order
    ordered_at: float

    def may_replace(self, destination: Destination) -> bool:
        """Return whether the file at a destination may be replaced by this video.

        :raises DestinationError: when the destination cannot be read for now.
        """
        try:
            record = owner_of(destination)
            if record is None and destination.sha256() == self.sha256:
                return True  # this very video, whose record could not be written yet
        except DestinationError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            # Somebody else's local file stays. A key that may only write to a store can never tell.
            return destination.local_path is None
        if record is not None and record.gateway.wan_task_id == shareable(self.wan_task_id):
            return True
        if record is not None and is_another_task(record.airflow, self.task):
            return False
        return self._was_there(destination, record)

    def _was_there(self, destination: Destination, record: Sidecar | None) -> bool:
        """Return whether the file at the destination was there before this video was ordered."""
        if self.order.found_there is not None:
            return destination.version() == self.order.found_there
        if record is not None and record.airflow == self.task:
            return True
        moment = destination.modified_at()
        return moment is None or moment < self.ordered_at
