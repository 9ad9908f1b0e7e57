"""Whose the files at a destination are: no task replaces a file that it is not known to have made.

A video is replaced by the next run of the same task, for example at ``latest.mp4``, and only if it was there before the
new one was ordered. Its digest tells that it is the task's: the record beside it names it, or what the run before
handed on (its XCom ``wan_video``). The same holds for the poster. A record tells by its content that it is one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_wan.exceptions import DestinationError
from airflow_wan.redaction import shareable
from airflow_wan.videos.download import MAX_FILE_BYTES
from airflow_wan.videos.sidecar import AirflowTask, is_record_or_unknown, read_sidecar, video_matches

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_wan.purchases.record import Order
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.sidecar import Sidecar

log = logging.getLogger(__name__)

_TASK_INSTANCE = ("dag_id", "run_id", "task_id", "map_index")


def task_instance(airflow: Mapping[str, Any]) -> AirflowTask | None:
    """Return the task instance as records name it; None where there is none, but a command."""
    if not airflow:
        return None
    return AirflowTask(**{name: airflow[name] for name in _TASK_INSTANCE})


def owner_of(destination: Destination) -> Sidecar | None:
    """Return the record of the video at a destination; None if there is no video, or its record is not of it.

    :raises DestinationError: when the destination cannot be read.
    """
    record = read_sidecar(destination)
    return record if record is not None and video_matches(destination, record) else None


def is_another_task(theirs: AirflowTask | None, ours: AirflowTask | None) -> bool:
    """Return whether two task instances are neither the same nor of two runs of one task.

    All commands at one place count as one task, which is None.
    """
    if theirs is None or ours is None:
        return theirs is not ours
    if (theirs.dag_id, theirs.task_id) != (ours.dag_id, ours.task_id):
        return True
    return theirs.run_id == ours.run_id and theirs.map_index != ours.map_index


def files_of(video: Mapping[str, Any] | Sidecar | None) -> frozenset[str]:
    """Return the digests of the files that a record, or a ``wan_video``, names: a video and its poster."""
    if isinstance(video, Mapping):
        named = video.get("sha256"), video.get("poster_sha256")
    elif video is not None:
        named = video.video.sha256, video.poster.sha256 if video.poster else None
    else:
        return frozenset()
    return frozenset(digest for digest in named if isinstance(digest, str))


def is_one_of(place: Destination, digests: Collection[str]) -> bool:
    """Return whether the file at a place has one of these digests, or no key tells what it is.

    :raises DestinationError: when the place cannot be read for now.
    """
    try:
        size = place.size()
        return size is not None and bool(digests) and size <= MAX_FILE_BYTES and place.sha256() in digests
    except DestinationError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        # Somebody else's local file stays. A key that may only write to a store can never tell.
        return place.local_path is None


def why_not_ours(
    destination: Destination, task: AirflowTask | None, ours: frozenset[str], *, sidecar: bool, poster: bool
) -> str | None:
    """Return a sentence about a file that the task would have to replace and may not, or None if there is none.

    :param destination: where the video goes.
    :param task: the task instance; None for a command.
    :param ours: digests of the files that an earlier run of the task handed on.
    :param sidecar: whether a record is wanted beside the video.
    :param poster: whether a poster is wanted beside it.
    :raises DestinationError: when the destination cannot be read for now.
    """
    record = read_sidecar(destination)
    known = ours | files_of(record)
    if not _is_free(destination):
        if record is not None and is_another_task(record.airflow, task) and video_matches(destination, record):
            return (
                f"At {destination} is the video of {_in_words(record.airflow)}, which would be replaced. Give each "
                "task a path of its own, or move that video away together with its record."
            )
        if not is_one_of(destination, known):
            return (
                f"At {destination} is a file that this task is not known to have made{_changed(record)}, and it would "
                "be replaced. Move it away or delete it, or choose another path for the video."
            )
    if sidecar and not is_record_or_unknown(destination):
        return f"At {destination.sidecar} is a file that is no record of this package, and it would be replaced."
    if poster and not _is_free(destination.poster) and not is_one_of(destination.poster, known):
        return (
            f"At {destination.poster} is a file that is not known to be a poster of this task, and it would be "
            "replaced. Move it away or delete it, or choose another path for the video."
        )
    return None


def _in_words(task: AirflowTask | None) -> str:
    if task is None:
        return "the command line"
    return f"another task ({task.dag_id}, {task.run_id}, {task.task_id}, map index {task.map_index})"


def _is_free(place: Destination) -> bool:
    """Return whether there is no file; with a key that may only write to a store, there may be none."""
    try:
        return place.size() is None
    except DestinationError as error:
        if place.local_path is None and isinstance(error.__cause__, PermissionError):
            return True
        raise


def _changed(record: Sidecar | None) -> str:
    return ", or that was changed since" if record is not None else ""


@dataclass(frozen=True, slots=True)
class NewVideo:
    """A video that has been downloaded, and is to be published.

    :param wan_task_id: the Wan task that made it.
    :param sha256: its digest.
    :param task: the task instance that wants to publish it; None for a command.
    :param order: what was ordered.
    :param ordered_at: when it was ordered, unix time in s, or the latest time at which it can have been.
    :param ours: digests of the files that an earlier run of the task handed on.
    """

    wan_task_id: str
    sha256: str
    task: AirflowTask | None
    order: Order
    ordered_at: float
    ours: frozenset[str] = frozenset()

    def may_replace(self, destination: Destination) -> bool:
        """Return whether the file at a destination may be replaced by this video.

        :raises DestinationError: when the destination cannot be read for now.
        """
        try:
            record = owner_of(destination)
            if record is None:
                digest = destination.sha256()
                if digest == self.sha256:
                    return True  # this very video, whose record could not be written yet
                if digest is None:
                    return True  # a link to a file that does not exist
                if digest not in self.ours:
                    return False
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
