"""The section ``[wan]``, and what it takes over from Airflow's own options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.exceptions import AirflowConfigException
from airflow.providers.common.compat.sdk import conf

from airflow_wan import config
from airflow_wan.api.gateways import GatewayName
from airflow_wan.operators.wan import WanTextToVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor
from airflow_wan.waiting.limits import DEFAULT_LIMITS, Limits

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


class TestNumbers:
    @pytest.mark.parametrize("option", ["reads_per_second", "lists_per_second", "share_of_limits"])
    @pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "many"])
    def test_a_limit_that_is_none_ends_no_wait(
        self, option: str, text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv(f"AIRFLOW__WAN__{option.upper()}", text)

        assert config.limits(GatewayName.DASHSCOPE) == DEFAULT_LIMITS[GatewayName.DASHSCOPE]
        assert option in caplog.text

    def test_the_limits_are_those_of_the_account_and_of_this_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__WAN__READS_PER_SECOND", "10")
        monkeypatch.setenv("AIRFLOW__WAN__SHARE_OF_LIMITS", "0.5")

        assert config.limits(GatewayName.DASHSCOPE) == Limits(reads_per_second=5.0, lists_per_second=2.0)

    @pytest.mark.parametrize("text", ["nan", "inf", "-1", "many"])
    def test_a_rate_of_creates_that_is_none_is_the_usual_one(
        self, text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("AIRFLOW__WAN__CREATES_PER_SECOND", text)

        assert config.creates_per_second() == config.DEFAULT_CREATES_PER_SECOND
        assert "creates_per_second" in caplog.text

    @pytest.mark.parametrize(("text", "rate"), [("0", 0.0), ("0.5", 0.5), ("", config.DEFAULT_CREATES_PER_SECOND)])
    def test_a_rate_of_creates(self, text: str, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__WAN__CREATES_PER_SECOND", text)

        assert config.creates_per_second() == rate

    @pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "many"])
    def test_an_interval_that_is_none_is_refused_where_the_task_is_defined(
        self, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__WAN__POLL_INTERVAL", text)

        with pytest.raises(AirflowConfigException, match="poll_interval must be a number over 0"):
            WanVideoSensor(task_id="wait", wan_task_id="an-id")
