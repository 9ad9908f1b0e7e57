"""The object stores that we offer are those that Airflow's providers bring."""

from __future__ import annotations

import importlib

import pytest

from airflow_wan.api.media_items import is_source
from airflow_wan.net.stores import STORE_PACKAGES

FILE_SYSTEMS = {
    "airflow-provider-wan[s3]": "airflow.providers.amazon.aws.fs.s3",
    "airflow-provider-wan[gcs]": "airflow.providers.google.cloud.fs.gcs",
    "airflow-provider-wan[azure]": "airflow.providers.microsoft.azure.fs.adls",
    "airflow-provider-wan[oss]": "airflow_wan.fs.oss",
}


@pytest.mark.parametrize("scheme", STORE_PACKAGES)
def test_the_provider_of_a_store_registers_its_scheme(scheme: str) -> None:
    module = FILE_SYSTEMS[STORE_PACKAGES[scheme]]
    try:
        file_system = importlib.import_module(module)
    except ImportError:
        pytest.skip(f"{module} is not installed")

    assert scheme in file_system.schemes


@pytest.mark.parametrize(
    ("address", "source"),
    [("s3://aws@bucket/a.png", True), ("OSS://bucket/a.png", True), ("az://container/a.png", False), ("s3://", False)],
)
def test_media_may_lie_in_these_stores_and_no_others(address: str, source: bool) -> None:
    assert is_source(address) is source
