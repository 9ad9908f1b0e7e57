"""The button "Video" on a task: the page of its video, or, before Airflow 3.1 has such pages, the way to its file.

Airflow asks for it on the worker when the task has ended, and keeps the answer in XCom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple

from airflow_wan.purchases.siblings import is_mapped, map_index_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

HAS_PAGES = get_base_airflow_version_tuple() >= (3, 1)
"""Whether this Airflow shows the pages of plugins."""


class VideoLink(BaseOperatorLink):
    """Links a task to its video."""

    name = "Video"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address, relative to the server if ``[api] base_url`` is not set."""
        root = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
        dag_id, run_id, task_id = (quote(name, safe="") for name in (ti_key.dag_id, ti_key.run_id, ti_key.task_id))
        if HAS_PAGES:
            return f"{root}/wan/video/{dag_id}/{run_id}/{task_id}/{map_index_of(ti_key)}"
        video = getattr(operator, "_video", None)
        path: str = video.facts["path"] if video else ""
        if path.startswith("gs://"):  # the one store that opens an object for whoever is logged in there
            return f"https://storage.cloud.google.com/{quote(path.removeprefix('gs://').rpartition('@')[2])}"
        mapped = f"/mapped/{ti_key.map_index}" if is_mapped(ti_key) else ""
        return f"{root}/dags/{dag_id}/runs/{run_id}/tasks/{task_id}{mapped}/xcom"
