"""The section ``[wan]``, and what it takes over from Airflow's own options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import conf

from airflow_wan.operators.wan import WanTextToVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_WAN = "AIRFLOW__WAN__DEFERRABLE"
IN_AIRFLOW = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE"


def waits_in_the_triggerer(**arguments: bool) -> bool:
    """Return what both the operator and the sensor do."""
    operator = WanTextToVideoOperator(task_id="make", prompt="A lighthouse.", **arguments)
    sensor = WanVideoSensor(task_id="wait", wan_task_id="an-id", **arguments)
    assert operator.deferrable is sensor.deferrable
    return bool(operator.deferrable)


class TestWhereATaskWaits:
    def test_in_the_triggerer_where_nobody_says_anything(self) -> None:
        assert waits_in_the_triggerer()

    @pytest.mark.parametrize("choice", [True, False])
    def test_where_the_installation_lets_all_operators_wait(
        self, monkeypatch: pytest.MonkeyPatch, choice: bool
    ) -> None:
        monkeypatch.setenv(IN_AIRFLOW, str(choice))
        assert waits_in_the_triggerer() is choice

    @pytest.mark.parametrize("choice", [True, False])
    def test_where_our_own_option_says(self, monkeypatch: pytest.MonkeyPatch, choice: bool) -> None:
        monkeypatch.setenv(IN_AIRFLOW, str(not choice))
        monkeypatch.setenv(IN_WAN, str(choice))
        assert waits_in_the_triggerer() is choice

    def test_where_the_author_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(IN_WAN, "False")
        assert waits_in_the_triggerer(deferrable=True)
        assert not waits_in_the_triggerer(deferrable=False)

    @pytest.mark.usefixtures("file_that_airflow_has_written")
    def test_in_the_triggerer_although_airflow_writes_its_own_default_to_its_file(self) -> None:
        assert waits_in_the_triggerer()


@pytest.fixture
def file_that_airflow_has_written() -> Iterator[None]:
    """Read what Airflow writes to ``airflow.cfg`` when it creates the file: all its defaults."""
    conf.read_string("[operators]\ndefault_deferrable = False\n")
    yield
    conf.remove_option("operators", "default_deferrable", remove_default=False)
