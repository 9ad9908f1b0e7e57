"""A key goes to the host of its own connection and to no other, whatever stands in the purchase record.

Users who may edit the state of tasks can write any host and any connection into the record. A connection can be moved
to another gateway while its video is being made. All runs go on at the same time.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from dag_runs import SLOW_S, TRIGGERERS
from hostile_gateway import HostileGateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journeys import Journey, Stage

AWS_PASSWORD = "the-secret-of-aws-prod-0123456789"
MOVED_KEY = "sk-of-another-reseller-0123456789"
KEY_NOT_SENT = "The key was not sent there."
NOT_WAN = "has the type 'aws', not 'wan'"

EDITS = {
    "another host": ({"base_url"}, KEY_NOT_SENT),
    "another connection": ({"wan_conn_id"}, NOT_WAN),
    "another connection and host": ({"base_url", "wan_conn_id"}, NOT_WAN),
}
"""Which fields of the record are changed, and what the log says then."""


@dataclass(frozen=True)
class Runs:
    """All runs of this module, and who listened.

    :param home: the gateway at which all videos were bought.
    :param stranger: the host that is written into records, and to which a connection is moved.
    :param edited: the run of each entry of `EDITS`.
    :param moved: a run whose connection is moved, and which is cleared then.
    :param resumed: a run whose connection is moved, and whose video is finished then.
    """

    home: HostileGateway
    stranger: HostileGateway
    edited: dict[str, Journey]
    moved: Journey
    resumed: Journey

    def all(self) -> list[Journey]:
        """Return all runs."""
        return [*self.edited.values(), self.moved, self.resumed]


def set_connection(journey: Journey, gateway: HostileGateway, key: str) -> None:
    """Set host and key of the connection of a run."""
    connection = {"connection_id": journey.wan_conn_id, "conn_type": "wan", "host": gateway.url, "password": key}
    path = f"/api/v2/connections/{journey.wan_conn_id}"
    journey.airflow.rest.patch(path, connection | {"extra": json.dumps({"gateway": journey.gateway})})


@pytest.fixture(scope="module")
def runs(stage: Stage) -> Iterator[Runs]:
    """Buy all videos, change records and connections while they are being made, and wait for the end of all runs."""
    aws = {"connection_id": "aws_prod", "conn_type": "aws", "login": "AKIA", "password": AWS_PASSWORD}
    stage.airflow.rest.post("/api/v2/connections", aws)
    with ExitStack() as running:
        home, stranger = [running.enter_context(HostileGateway(stage.slow.url)) for _ in range(2)]

        def start(name: str) -> Journey:
            return stage.start(name, on=stage.slow, through=home)

        runs = Runs(home, stranger, {name: start(name) for name in EDITS}, start("moved"), start("moved and resumed"))
        for journey in runs.all():
            journey.wait_for_log(": queued", by=TRIGGERERS)
            journey.wait_until("deferred")
        changes = {"base_url": stranger.url, "wan_conn_id": "aws_prod"}
        for name, (fields, _) in EDITS.items():
            runs.edited[name].edit_record(**{field: changes[field] for field in fields})
        for journey in (runs.moved, runs.resumed):
            set_connection(journey, stranger, MOVED_KEY)
        for journey in (*runs.edited.values(), runs.moved):
            journey.clear()
            journey.wait_for_log("trigger completed")
        stage.slow.advance(2 * SLOW_S)
        for journey in runs.all():
            journey.wait_for_end()
        yield runs


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_record_sends_no_key_anywhere(name: str, runs: Runs) -> None:
    journey = runs.edited[name]

    assert journey.wait_for_end() == "failed", journey.log()

    assert EDITS[name][1] in journey.log()
    assert not runs.stranger.has_seen(journey.key)
    assert len(journey.creates()) == 1


def test_the_password_of_another_connection_is_sent_nowhere(runs: Runs) -> None:
    assert not runs.home.has_seen(AWS_PASSWORD)
    assert not runs.stranger.has_seen(AWS_PASSWORD)


def test_no_key_of_a_moved_connection_is_shown_to_the_other_gateway(runs: Runs) -> None:
    for journey in (runs.moved, runs.resumed):
        assert journey.wait_for_end() == "failed", journey.log()
        assert KEY_NOT_SENT in journey.log()
        assert not runs.stranger.has_seen(journey.key)
    assert not runs.home.has_seen(MOVED_KEY)


def test_nothing_is_bought_a_second_time(runs: Runs) -> None:
    assert len(runs.home.creates()) == len(runs.all())
    assert runs.stranger.creates() == []


def test_a_connection_that_is_moved_back_delivers_the_video_that_was_bought(runs: Runs) -> None:
    for journey in (runs.moved, runs.resumed):
        set_connection(journey, runs.home, journey.key)
        journey.clear()

    for journey in (runs.moved, runs.resumed):
        journey.wait_until("success")
        assert journey.billed() == len(journey.creates()) == 1
        assert journey.has_whole_video()
    assert len(runs.home.creates()) == len(runs.all())
    assert runs.stranger.creates() == []
