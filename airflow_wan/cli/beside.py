"""What lies in a folder: videos, and purchases whose videos are still to come."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_wan.exceptions import DestinationError, LedgerUnreadable
from airflow_wan.purchases.file_ledger import RECORD_SUFFIX, read_record_file
from airflow_wan.purchases.record import Intent, Purchase
from airflow_wan.videos.destination import Destination
from airflow_wan.videos.sidecar import read_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_wan.purchases.file_ledger import FileLedger
    from airflow_wan.videos.sidecar import Sidecar

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beside:
    """A video, or the place of one that is to come.

    :param video: the local path of the video.
    :param purchase: the record of its purchase, if there is one.
    :param sidecar: the record of the video, if there is one.
    """

    video: Path
    purchase: Intent | Purchase | None
    sidecar: Sidecar | None

    @property
    def wan_task_id(self) -> str | None:
        """The Wan task that it is made by, if that is known."""
        if isinstance(self.purchase, Purchase):
            return self.purchase.wan_task_id
        return self.sidecar.gateway.wan_task_id if self.sidecar and self.purchase is None else None


def beside(video: Path) -> Beside:
    """Return what is known of a video by the files beside it.

    :raises LedgerUnreadable: when the record of its purchase cannot be read.
    :raises DestinationError: when the record of the video cannot be read.
    """
    purchase = read_record_file(video.with_name(video.name + RECORD_SUFFIX))
    return Beside(video, purchase, read_sidecar(Destination(str(video))))


def in_folder(folder: Path) -> Iterator[Beside]:
    """Yield each purchase and each video with a record in a folder; what cannot be read is left out with a warning."""
    for video in _videos_with_records(folder):
        try:
            found = beside(video)
        except (LedgerUnreadable, DestinationError) as error:
            log.warning("%s", error)
            continue
        if found.purchase is not None or found.sidecar is not None:
            yield found


def _videos_with_records(folder: Path) -> list[Path]:
    names = {path.name.removesuffix(RECORD_SUFFIX) for path in folder.glob(f"*{RECORD_SUFFIX}")}
    names |= {path.name.removesuffix(".json") for path in folder.glob("*.mp4.json")}
    return [folder / name for name in sorted(names)]


class Neighbours:
    """The other videos of a folder, which may hold the Wan task of a lost answer; see `Claims`.

    :param ledger: the record of the video that a Wan task is looked for.
    :param video: the local path of that video.
    """

    def __init__(self, ledger: FileLedger, video: Path) -> None:
        self._ledger = ledger
        self._video = video

    def held(self) -> list[str]:
        """Return the Wan tasks of the other videos.

        :raises LedgerUnreadable: when a purchase record cannot be read: it may hold the very task that is looked for.
        :raises DestinationError: when the record of a video cannot be read, likewise.
        """
        others = (beside(video) for video in _videos_with_records(self._video.parent) if video.name != self._video.name)
        return [found.wan_task_id for found in others if found.wan_task_id]

    def claim(self, wan_task_id: str) -> bool:
        """Write a Wan task down as the one that was looked for, and return whether no other video has it.

        It is first written down and then looked for: of two commands that claim one, at least one sees the other.

        :raises LedgerUnreadable: when nobody can say, as `held`; then it is not written down.
        :raises DestinationError: likewise.
        """
        intent = self._ledger.read()
        if not isinstance(intent, Intent):
            return False
        self._ledger.write(Purchase(intent, wan_task_id, request_id=None, submitted_at=intent.intent_at))
        is_ours = False
        try:
            is_ours = wan_task_id not in self.held()
        finally:
            if not is_ours:
                self._ledger.write(intent)
        return is_ours

    def all_rivals_hold_one(self, *, with_picture: bool) -> bool:  # noqa: ARG002 - commands are not told apart by it
        """Return True: the others are other videos, of other words."""
        return True
