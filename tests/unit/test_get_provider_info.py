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

from airflow_wan.get_provider_info import get_provider_info

DISTRIBUTION = "airflow-provider-wan"
INFO = get_provider_info()
HEAVY = ("airflow", "httpx", "pydantic", "sqlalchemy")


def test_it_satisfies_airflows_own_schema() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())

    jsonschema.validate(INFO, schema)


def test_it_is_named_as_its_distribution_is() -> None:
    # Anything else breaks every `airflow` command.
    assert INFO["package-name"] == canonicalize_name(distribution(DISTRIBUTION).metadata["Name"])


def test_airflow_finds_it_by_its_entry_point() -> None:
    (entry_point,) = entry_points(group="apache_airflow_provider").select(value="airflow_wan.get_provider_info:get_provider_info")

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
    assert hook.get_hook if hasattr(hook, "get_hook") else True
    assert hook.default_conn_name == "wan_default"


def test_every_option_can_be_read_with_its_default() -> None:
    from airflow_wan import settings

    options = INFO["config"]["wan"]["options"]

    assert all(option["description"] for option in options.values())
    # The tests set this one; that it is read at all is what counts.
    assert settings.poll_interval() == 0.2


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
    assert set(form.extra_fields) == {"gateway", "workspace", "connect_timeout", "read_timeout"}
    gateway = form.extra_fields["gateway"]
    assert gateway["schema"]["title"] == "Gateway"
    assert gateway["schema"]["enum"] == ["apiyi", "dashscope", None]


def _connection_forms() -> list[Any]:
    """What the connection form of Airflow's UI is drawn from."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    return list(HookMetaService.hook_meta_data())


@pytest.mark.parametrize("module", ["airflow_wan", "airflow_wan.get_provider_info"])
def test_what_airflow_imports_at_start_up_is_light(module: str) -> None:
    assert _newly_imported(f"import {module}") == set()


@pytest.mark.parametrize("module", ["operators", "sensors", "triggers", "hooks"])
def test_what_a_dag_imports_leaves_the_http_library_for_later(module: str) -> None:
    # Airflow 3.1 to 3.3 bring httpx themselves: what counts is what comes on top.
    before = "import airflow.sdk, airflow.triggers.base, airflow.providers.common.compat.sdk"

    assert _newly_imported(f"import airflow_wan.{module}.wan", before, prefixes=("httpx", "pydantic")) == set()


@pytest.mark.parametrize("module", ["api.requests", "api.tasks", "api.polling", "api.errors", "files.destination"])
def test_the_ground_floor_needs_no_http_library_until_it_calls(module: str) -> None:
    assert _newly_imported(f"import airflow_wan.{module}") == set()


def _newly_imported(statement: str, before: str = "pass", prefixes: tuple[str, ...] = HEAVY) -> set[str]:
    """Which of the modules named by `prefixes` a fresh Python imports for a statement, and had not before it."""
    code = (
        f"import sys\n{before}\nbefore = set(sys.modules)\n{statement}\n"
        "print(*(set(sys.modules) - before))"
    )
    # Without the variables of a measured subprocess, which import on their own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split() if name.partition(".")[0] in prefixes}
