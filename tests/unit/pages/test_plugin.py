"""What Airflow loads in every process, and what it shows of it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple

from airflow_wan.pages.plugin import WanPagesPlugin

HAS_VIEWS = get_base_airflow_version_tuple() >= (3, 1)


def test_airflow_finds_the_plugin_by_its_entry_point() -> None:
    (entry_point,) = entry_points(group="airflow.plugins").select(name="wan_pages")

    assert entry_point.load() is WanPagesPlugin


def test_a_process_that_only_loads_the_plugin_loads_neither_a_web_server_nor_the_pages() -> None:
    code = (
        "import sys; import airflow_wan.pages.plugin; "
        "heavy = [name for name in sys.modules if name.split('.')[0] in ('fastapi', 'starlette', 'jinja2')"
        " or name.startswith('airflow_wan.') and name != 'airflow_wan.pages' and name != 'airflow_wan.pages.plugin']; "
        "print(heavy)"
    )
    before = "import sys; from airflow.providers.common.compat.sdk import AirflowPlugin; "

    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            before + "known = set(sys.modules); " + code.replace("in sys.modules if", "in set(sys.modules) - known if"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )

    assert answer.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.skipif(HAS_VIEWS, reason="this Airflow shows views of plugins")
def test_an_airflow_that_knows_no_views_gets_nothing() -> None:
    assert WanPagesPlugin.fastapi_apps == []
    assert WanPagesPlugin.external_views == []


@pytest.mark.skipif(not HAS_VIEWS, reason="this Airflow knows no views of plugins")
def test_airflow_gets_a_tab_of_the_task_one_of_the_run_and_an_entry_of_the_menu() -> None:
    from airflow.api_fastapi.core_api.datamodels.plugins import PluginResponse

    (app,) = WanPagesPlugin.fastapi_apps
    assert app["url_prefix"] == "/wan"
    views = {view["destination"]: view for view in WanPagesPlugin.external_views}
    assert views.keys() == {"task_instance", "dag_run", "nav"}
    assert views["task_instance"]["href"] == "wan/video/{DAG_ID}/{RUN_ID}/{TASK_ID}/{MAP_INDEX}"
    assert not any(view["href"].startswith("/") for view in views.values())  # Airflow may have a path of its own
    fields = PluginResponse.model_fields["external_views"].annotation
    assert fields is not None
    from pydantic import TypeAdapter

    assert len(TypeAdapter(fields).validate_python(list(views.values()))) == 3
