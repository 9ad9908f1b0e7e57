"""Lineage: reports which files a video was made from to Airflow's assets, its hook lineage and OpenLineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector
from airflow.providers.common.compat.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import BaseAsset

from airflow_wan.redaction import shareable
from airflow_wan.telemetry.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_wan.hooks.wan import WanHook


_TOLD_WITH_ASSETS = (
    *("path", "sha256", "duration_s", "wan_task_id", "model", "reused"),
    *("spent_usd", "video_cost_usd", "cost_is_estimate"),
)


def asset_uri(address: str) -> str | None:
    """Return the URI that names a file in lineage: no connection id, no query; in an object's key, marks are encoded.

    :param address: a local path, a URL or an object store URI.
    :returns: the URI; None for inline data and for anything that is not an address.
    """
    if address.startswith("/"):
        return f"file://{address}"
    try:
        # A query that is left belongs to the key of an object.
        parts = urlsplit(str(shareable(address)).replace("?", "%3F").replace("#", "%23"))
    except ValueError:
        return None
    if parts.scheme in ("", "data") or not parts.path:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def tell_airflow(context: Context, hook: WanHook, sources: Iterable[str], video: Mapping[str, Any]) -> None:
    """Report the files to Airflow's hook lineage, and the video to the task's outlets.

    :param context: the running task's context.
    :param hook: the hook that the video was made with.
    :param sources: addresses of the files that the video was made from.
    :param video: the video's metadata, as in the XCom ``wan_video``.
    """
    _tell_hook_lineage(hook, sources, video)
    _tell_outlets(context, video)


@harmless("The video's lineage")
def _tell_hook_lineage(hook: WanHook, sources: Iterable[str], video: Mapping[str, Any]) -> None:
    collector = get_hook_lineage_collector()
    for source in sources:
        if uri := asset_uri(source):
            collector.add_input_asset(context=hook, uri=uri)
    if uri := asset_uri(video["path"]):
        collector.add_output_asset(context=hook, uri=uri)


@harmless("The asset events of the video")
def _tell_outlets(context: Context, video: Mapping[str, Any]) -> None:
    """Put the video's facts into the event of each asset among the outlets; add the video itself to each alias."""
    events: Any = context.get("outlet_events")
    uri = asset_uri(video["path"])
    if events is None or uri is None:
        return
    extra = asset_extra(video)
    for outlet in context["task"].outlets:
        _tell_outlet(events, outlet, uri, extra)


@harmless("An asset event of the video")
def _tell_outlet(events: Any, outlet: Any, uri: str, extra: Mapping[str, Any]) -> None:
    if isinstance(outlet, AssetAlias):
        events[outlet].add(Asset(uri), extra=dict(extra))
    elif isinstance(outlet, BaseAsset):  # an asset, or a reference to one by name or URI
        events[outlet].extra.update(extra)


def asset_extra(video: Mapping[str, Any]) -> dict[str, Any]:
    """Return the extra of an asset event: a few of the facts of the video, by the names they have there."""
    return {name: video[name] for name in _TOLD_WITH_ASSETS}


@harmless("The video's lineage")
def openlineage_of(sources: Iterable[str], video: Mapping[str, Any]) -> Any:
    """Return the files as OpenLineage names them, for a task's ``get_openlineage_facets_on_complete``.

    :param sources: addresses of the files that the video was made from.
    :param video: the video's metadata, as in the XCom ``wan_video``.
    """
    # Only OpenLineage's own provider calls this, so its packages are installed; elsewhere they need not be.
    from airflow.providers.common.compat.openlineage.facet import (  # noqa: PLC0415
        Dataset,
        OutputDataset,
        OutputStatisticsOutputDatasetFacet,
    )
    from airflow.providers.openlineage.extractors import OperatorLineage  # noqa: PLC0415

    size = OutputStatisticsOutputDatasetFacet(size=video["bytes"], fileCount=1)
    outputs = [
        OutputDataset(namespace=namespace, name=name, outputFacets={"outputStatistics": size})
        for namespace, name in _openlineage_names([video["path"]])
    ]
    inputs = [Dataset(namespace=namespace, name=name) for namespace, name in _openlineage_names(sources)]
    return OperatorLineage(inputs=inputs, outputs=outputs)


def _openlineage_names(addresses: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield OpenLineage's namespace and name of each file: ``s3://bucket`` and ``key``, or ``file`` and the path."""
    for address in addresses:
        parts = urlsplit(asset_uri(address) or "")
        if parts.scheme == "file":
            yield "file", parts.path
        elif parts.scheme:
            yield f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")
