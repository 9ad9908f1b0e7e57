"""The reference describes every public name of the modules that users import from."""

from __future__ import annotations

import importlib
import re

import pytest
from documentation import DOCS

from airflow_wan.get_provider_info import get_provider_info

INFO = get_provider_info()
MODULES = [
    module
    for kind in ("operators", "sensors", "hooks", "triggers")
    for entry in INFO[kind]
    for module in entry["python-modules"]
]
MODULES += ["airflow_wan.decorators.wan", "airflow_wan.doctor.examination", "airflow_wan.films"]
REFERENCE = "".join(page.read_text() for page in (DOCS / "reference").glob("*.rst"))


@pytest.mark.parametrize("module", MODULES)
def test_it_has_each_public_name_of_a_module_that_users_import(module: str) -> None:
    public = importlib.import_module(module).__all__

    assert public
    assert [name for name in public if not re.search(rf"\b{name}\b", REFERENCE)] == []
