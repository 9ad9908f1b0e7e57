"""The plugin that puts the pages into Airflow's web interface.

Every Airflow process loads plugins, so nothing heavy is imported here: the pages themselves are built when the API
server asks for them. Airflow before 3.1 knows no views of plugins, and gets none.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple

URL_PREFIX = "/wan"
"""Where the API server mounts the pages."""

HAS_VIEWS = get_base_airflow_version_tuple() >= (3, 1)
"""Whether this Airflow shows the views of plugins."""

_ICONS = {"icon": "wan/static/icon.svg", "icon_dark_mode": "wan/static/icon_dark.svg"}

# Without a slash at the beginning, Airflow's own pages put their base URL in front.
_VIEWS = [
    {
        "name": "Video",
        "href": "wan/video/{DAG_ID}/{RUN_ID}/{TASK_ID}/{MAP_INDEX}",
        "destination": "task_instance",
        "url_route": "wan_video",
        **_ICONS,
    },
    {
        "name": "Videos",
        "href": "wan/sheet/{DAG_ID}/{RUN_ID}",
        "destination": "dag_run",
        "url_route": "wan_sheet",
        **_ICONS,
    },
    {
        "name": "Videos",
        "href": "wan/gallery",
        "destination": "nav",
        "category": "browse",
        "url_route": "wan_gallery",
        **_ICONS,
    },
]


class _BuiltWhenAsked:
    """The list of FastAPI apps, which only the API server reads."""

    def __get__(self, _instance: object, _owner: type) -> list[dict[str, Any]]:
        if not HAS_VIEWS:
            return []
        from airflow_wan.pages.app import create_app  # noqa: PLC0415 - FastAPI; only in the API server

        return [{"app": create_app(), "url_prefix": URL_PREFIX, "name": "Wan videos"}]


class WanPagesPlugin(AirflowPlugin):
    """Registers the pages and their views."""

    name = "wan_pages"
    fastapi_apps: Any = _BuiltWhenAsked()
    external_views: list[Any] = _VIEWS if HAS_VIEWS else []
