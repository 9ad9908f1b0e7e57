"""Which file was made from which: told to Airflow's assets, to its hook lineage and to OpenLineage."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from airflow.providers.common.compat.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_wan.hooks.wan import WanHook

log = logging.getLogger(__name__)


def asset_uri(address: str) -> str | None:
    """The URI by which lineage knows a file: without connection id, query and fragment.

    :param address: a local path, a URL or an object store URI.
    :returns: the URI, or None for inline data and what is no address.
    """
    if address.startswith("/"):
        return f"file://{address}"
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme in ("", "data") or not parts.path:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def tell_airflow(context: Context, hook: WanHook, sources: Iterable[str], video: Mapping[str, Any]) -> None:
    """Tell Airflow's hook lineage of the files, and the task's outlets of the video. Never fails the task.

    :param context: the running task's context.
    :param hook: what the video was made through.
    :param sources: addresses of the files it was made from.
    :param video: its metadata, as in the XCom ``wan_video``.
    """
    try:
        _tell_hook_lineage(hook, sources, video)
        _tell_outlets(context, video)
    except Exception:  # a video at its place is worth more than a word about it
        log.warning("Airflow could not be told of the video's lineage", exc_info=True)


def _tell_hook_lineage(hook: WanHook, sources: Iterable[str], video: Mapping[str, Any]) -> None:
    from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector  # noqa: PLC0415 - heavy

    collector = get_hook_lineage_collector()
    for source in sources:
        if uri := asset_uri(source):
            collector.add_input_asset(context=hook, uri=uri)
    if uri := asset_uri(video["path"]):
        collector.add_output_asset(context=hook, uri=uri)


def _tell_outlets(context: Context, video: Mapping[str, Any]) -> None:
    """Each asset among the outlets gets the video's facts as its event's extra; an alias, the video itself as well."""
    events: Any = context.get("outlet_events")
    uri = asset_uri(video["path"])
    if events is None or uri is None:
        return
    extra = asset_extra(video)
    for outlet in context["task"].outlets:
        if isinstance(outlet, AssetAlias):
            events[outlet].add(Asset(uri), extra=extra)
        elif isinstance(outlet, Asset):
            events[outlet].extra.update(extra)


def asset_extra(video: Mapping[str, Any]) -> dict[str, Any]:
    """What an asset event says of a video: path, sha256, duration_s, cost_usd, wan_task_id, model."""
    settled = video["settled_cost_usd"]
    return {
        "path": video["path"],
        "sha256": video["sha256"],
        "duration_s": video["duration_s"],
        "cost_usd": video["estimated_cost_usd"] if settled is None else settled,
        "wan_task_id": video["wan_task_id"],
        "model": video["model"],
    }


def openlineage_of(sources: Iterable[str], video: Mapping[str, Any]) -> Any:
    """The files as OpenLineage names them, for a task's ``get_openlineage_facets_on_complete``.

    Only OpenLineage's own provider asks for it, so its packages are there.
    """
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
    """Namespace and name as OpenLineage has them: ``s3://bucket`` and ``key``, ``file`` and the path."""
    for address in addresses:
        parts = urlsplit(asset_uri(address) or "")
        if parts.scheme == "file":
            yield "file", parts.path
        elif parts.scheme:
            yield f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")
