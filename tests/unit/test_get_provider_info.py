"""What Airflow reads about the provider, checked with Airflow's own means."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from airflow import __version__ as airflow_version
from packaging.utils import canonicalize_name
from packaging.version import Version

from airflow_wan.api.gateways import GatewayName
from airflow_wan.get_provider_info import get_provider_info
from airflow_wan.waiting.limits import DEFAULT_LIMITS

DISTRIBUTION = "airflow-provider-wan"
INFO = get_provider_info()


def test_it_satisfies_airflows_own_schema() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())

    jsonschema.validate(INFO, schema)


def test_it_is_named_as_its_distribution_is() -> None:
    # Anything else breaks every `airflow` command.
    assert INFO["package-name"] == canonicalize_name(distribution(DISTRIBUTION).metadata["Name"])


def test_airflow_finds_it_by_its_entry_point() -> None:
    (entry_point,) = entry_points(group="apache_airflow_provider").select(
        value="airflow_wan.get_provider_info:get_provider_info"
    )

    assert entry_point.load()() == INFO


@pytest.mark.parametrize("kind", ["hooks", "operators", "sensors", "triggers"])
def test_every_module_it_names_exists(kind: str) -> None:
    (entry,) = INFO[kind]

    for module in entry["python-modules"]:
        importlib.import_module(module)


def test_the_hook_is_the_one_of_its_connection_type() -> None:
    (connection_type,) = INFO["connection-types"]
    module, _, name = connection_type["hook-class-name"].rpartition(".")

    hook = getattr(importlib.import_module(module), name)

    assert hook.conn_type == connection_type["connection-type"]
    assert hook.hook_name == connection_type["hook-name"]
    assert hook.default_conn_name == "wan_default"


def test_its_options_are_described_with_the_defaults_that_the_code_has() -> None:
    options = INFO["config"]["wan"]["options"]

    assert all(option["description"] for option in options.values())
    left_open = ("poll_interval", "reads_per_second", "lists_per_second", "share_of_limits", "deferrable")
    assert {options[name]["default"] for name in left_open} == {""}
    dashscope, apiyi = DEFAULT_LIMITS[GatewayName.DASHSCOPE], DEFAULT_LIMITS[GatewayName.APIYI]
    for limit in (dashscope.reads_per_second, apiyi.reads_per_second):
        assert f"{limit:g}" in options["reads_per_second"]["description"]
    assert f"{dashscope.lists_per_second:g};" in options["lists_per_second"]["description"]


def test_the_connection_form_offers_wan_by_name() -> None:
    (form,) = (form for form in _connection_forms() if form.connection_type == "wan")

    assert form.hook_name == "Wan"


@pytest.mark.skipif(
    Version(airflow_version) < Version("3.2"),
    reason="before 3.2 the form took labels and fields from methods of the hook, not from the provider's metadata",
)
def test_the_connection_form_has_our_labels_and_fields() -> None:
    (form,) = (form for form in _connection_forms() if form.connection_type == "wan")

    standard = form.standard_fields
    assert standard.password.title == "API key"
    assert standard.host.title == "Base URL"
    assert standard.host.placeholder == "https://api.apiyi.com"
    assert all(getattr(standard, name).hidden for name in ("login", "port", "url_schema"))
    assert set(form.extra_fields) == {
        "gateway",
        "workspace",
        "system_token",
        "connect_timeout",
        "read_timeout",
        "total_timeout",
        "least_speed",
    }
    gateway = form.extra_fields["gateway"]
    assert gateway["schema"]["title"] == "Gateway"
    assert gateway["schema"]["enum"] == ["apiyi", "dashscope", None]


def _connection_forms() -> list[Any]:
    """What the connection form of Airflow's UI is drawn from."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    return list(HookMetaService.hook_meta_data())


@pytest.mark.parametrize("module", ["airflow_wan", "airflow_wan.get_provider_info"])
def test_what_airflow_imports_at_start_up_is_light(module: str) -> None:
    _python(f"{_forbid('airflow', 'httpx', 'pydantic', 'sqlalchemy')}import {module}")


def test_what_a_dag_imports_leaves_the_http_library_for_later() -> None:
    # Airflow 3.3 imports httpx itself, 3.4 no longer does: what counts is that nothing of ours asks for it.
    floors = ", ".join(f"airflow_wan.{floor}.wan" for floor in ("hooks", "triggers", "sensors", "operators"))
    _python(
        "import airflow.sdk, airflow.triggers.base, airflow.providers.common.compat.sdk as sdk\n"
        "sdk.BaseHook, sdk.BaseOperator, sdk.BaseSensorOperator, sdk.conf, sdk.mask_secret\n"
        f"{_forbid('httpx', 'pydantic')}import {floors}"
    )


def _forbid(*modules: str) -> str:
    """Code after which an import of these modules fails, whether or not they are there already."""
    return f"import sys; sys.modules.update(dict.fromkeys({modules}))\n"


def _python(code: str) -> None:
    # A measured subprocess would import on its own account.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_airflow_that_looks_for_example_dags_logs_no_error_of_this_provider(
    airflow_db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.dag_processing.bundles import manager

    if not hasattr(manager, "_add_provider_example_dags_to_bundle"):
        pytest.skip("this Airflow looks for none")
    found: list[Any] = []

    manager._add_provider_example_dags_to_bundle(found)

    assert "airflow_provider_wan" not in caplog.text
    assert not [one for one in found if "wan" in one.name]
