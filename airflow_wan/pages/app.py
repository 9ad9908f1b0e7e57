"""The routes of the pages. Airflow itself says on each request who asks, and whether they may read the DAG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, FileSystemLoader, select_autoescape

from airflow_wan.pages.records import Filters, GalleryPage, Instance, LiveState, RunSheet, TaskVideo, VideoState

_HERE = Path(__file__).parent

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Headers of every page: nothing but this server's own files is loaded, and no script that stands in a page."""

_MAY_READ = [Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.XCOM))]

_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"), autoescape=select_autoescape(default=True, default_for_string=True)
)


def render(request: Request, template: str, **values: Any) -> HTMLResponse:
    """Return a page.

    :param request: what the browser asks for. `base` in the template is the address of the pages, ``/wan`` or, behind
        a proxy with a path, ``/team/wan``.
    :param template: file name in ``templates/``.
    :param values: what the template shows.
    """
    html = _templates.get_template(template).render(base=request.scope["root_path"], **values)
    return HTMLResponse(html, headers=_HEADERS)


def create_app() -> FastAPI:
    """Return the app that the API server mounts."""
    app = FastAPI(title="Wan videos", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/video/{dag_id}/{run_id}/{task_id}/{map_index}", dependencies=_MAY_READ)
    def video(request: Request, session: SessionDep, instance: InstanceDep) -> HTMLResponse:
        view = TaskVideo(instance, VideoState.UNKNOWN)
        return render(request, "video.html", view=view)

    @app.get("/state/{dag_id}/{run_id}/{task_id}/{map_index}", dependencies=_MAY_READ)
    def state(session: SessionDep, instance: InstanceDep) -> JSONResponse:
        live = LiveState(VideoState.UNKNOWN, None, None, None, "")
        return JSONResponse(live.to_json(), headers=_HEADERS)

    @app.get("/sheet/{dag_id}/{run_id}", dependencies=_MAY_READ)
    def sheet(request: Request, session: SessionDep, dag_id: str, run_id: str) -> HTMLResponse:
        return render(request, "sheet.html", view=RunSheet(dag_id, run_id))

    @app.get("/gallery", dependencies=_MAY_READ)
    def gallery(
        request: Request, session: SessionDep, user: GetUserDep, filters: FiltersDep, page: Annotated[str, Query()] = ""
    ) -> HTMLResponse:
        return render(request, "gallery.html", view=GalleryPage(filters=filters))

    @app.get("/static/{name}")
    def static(_user: GetUserDep, name: str) -> Response:
        raise NotImplementedError

    return app


def _instance(dag_id: str, run_id: str, task_id: str, map_index: str) -> Instance:
    """Return the instance of a path. Airflow leaves ``{MAP_INDEX}`` in it for a task that is not mapped."""
    return Instance(dag_id, run_id, task_id, int(map_index) if map_index.lstrip("-").isdecimal() else -1)


InstanceDep = Annotated[Instance, Depends(_instance)]


def _filters(dag_id: str = "") -> Filters:
    return Filters(dag_id)


FiltersDep = Annotated[Filters, Depends(_filters)]
