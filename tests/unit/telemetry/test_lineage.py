"""What is reported to Airflow about the files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_wan.hooks.wan import WanHook
from airflow_wan.telemetry.lineage import asset_uri, tell_airflow

VIDEO: dict[str, Any] = {
    "path": "s3://aws@clips/a.mp4",
    "sha256": "ab" * 32,
    "duration_s": 5.0,
    "bytes": 10,
    "wan_task_id": "t-1",
    "model": "wan2.7-i2v",
    "reused": False,
    "spent_usd": 0.42,
    "video_cost_usd": 0.42,
    "cost_is_estimate": True,
}


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("/data/a.png", "file:///data/a.png"),
        ("file:///data/a.png", "file:///data/a.png"),
        ("s3://aws@clips/a.png", "s3://clips/a.png"),
        ("https://cdn.example.com/a.png?Signature=x#y", "https://cdn.example.com/a.png"),
        ("https://user:secret@cdn.example.com/a.png", "https://cdn.example.com/a.png"),
        ("https://proxy.example/host/a.png%3Fsig%3Dx", "https://proxy.example/host/a.png"),
        ("s3://aws@clips/a#b?.png", "s3://clips/a%23b%3F.png"),
        ("data:image/png;base64,AAAA", None),
        ("data:image/png;sha256=abcd", None),
        ("a.png", None),
        ("s3://", None),
        ("http://[", None),
    ],
)
def test_a_file_is_named_without_connection_id_query_and_secrets(address: str, uri: str | None) -> None:
    assert asset_uri(address) == uri


def context(*outlets: Any) -> Any:
    return {"task": SimpleNamespace(outlets=list(outlets)), "outlet_events": OutletEventAccessors()}


def test_an_asset_event_holds_the_videos_facts_and_its_costs() -> None:
    asset = Asset("clip")
    run = context(asset)

    tell_airflow(run, WanHook(), [], VIDEO)

    assert run["outlet_events"][asset].extra == {
        "path": "s3://aws@clips/a.mp4",
        "sha256": "ab" * 32,
        "duration_s": 5.0,
        "wan_task_id": "t-1",
        "model": "wan2.7-i2v",
        "reused": False,
        "spent_usd": 0.42,
        "video_cost_usd": 0.42,
        "cost_is_estimate": True,
    }


def test_an_outlet_that_airflow_cannot_find_keeps_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    asset = Asset("clip")
    run = context(Asset.ref(name="nobody knows it"), object(), asset)

    tell_airflow(run, WanHook(), [], VIDEO)

    assert run["outlet_events"][asset].extra["path"] == "s3://aws@clips/a.mp4"
    assert "An asset event of the video could not be reported" in caplog.text


def test_the_video_is_added_to_an_alias() -> None:
    alias = AssetAlias("clips")
    run = context(alias)

    tell_airflow(run, WanHook(), [], VIDEO)

    (event,) = run["outlet_events"][alias].asset_alias_events
    assert event.dest_asset_key.uri == "s3://clips/a.mp4"
    assert event.extra["sha256"] == "ab" * 32


def test_hook_lineage_names_the_sources_and_the_video(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.common.compat.lineage import hook as lineage

    collector = type(lineage.get_hook_lineage_collector())
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(collector, "add_input_asset", lambda _, context, uri: told.append(("in", uri)))
    monkeypatch.setattr(collector, "add_output_asset", lambda _, context, uri: told.append(("out", uri)))

    tell_airflow(context(), WanHook(), ["https://cdn.example.com/a.png?Signature=x", "data:image/png;sha256=a"], VIDEO)

    assert told == [("in", "https://cdn.example.com/a.png"), ("out", "s3://clips/a.mp4")]


def test_an_error_in_lineage_does_not_fail_the_task(caplog: pytest.LogCaptureFixture) -> None:
    run = context(Asset("clip"))
    run["outlet_events"] = {}

    tell_airflow(run, WanHook(), [], VIDEO)

    assert "lineage" in caplog.text
