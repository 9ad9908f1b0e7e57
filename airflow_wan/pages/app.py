"""The routes of the pages. Airflow itself says on each request who asks, and whether they may read the DAG."""

from __future__ import annotations

import logging
import mimetypes
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep  # noqa: TC002 - FastAPI reads the annotations
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.datastructures import MutableHeaders

from airflow_wan.pages import database, views
from airflow_wan.pages.files import NotShown, open_file
from airflow_wan.pages.records import Filters, Instance, VideoState
from airflow_wan.pages.rendering import render_html
from airflow_wan.pages.words import LANGUAGE_COOKIE, choose_language

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer: a page loads only this server's own files, and runs no script that stands in the page."""

_FILE_CSP = "default-src 'none'; frame-ancestors 'self'; sandbox"

_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})", re.ASCII)

_MAX_INT = 2**31 - 1
_MAX_TEXT_CHARS = 500


class _WithHeaders:
    """Adds `_HEADERS` to each answer that has not its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


_MAY_READ = [Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.XCOM))]


def _instance(dag_id: str, run_id: str, task_id: str, map_index: str) -> Instance:
    """Return the instance of a path. Airflow leaves ``{MAP_INDEX}`` in it for a task that is not mapped."""
    if map_index == "{MAP_INDEX}":
        return Instance(dag_id, run_id, task_id)
    if not re.fullmatch(r"-1|[0-9]{1,10}", map_index, re.ASCII) or int(map_index) > _MAX_INT:
        raise HTTPException(404, "No such task instance")
    return Instance(dag_id, run_id, task_id, int(map_index))


def _filters(
    *, dag_id: str = "", model: str = "", state: str = "", since: str = "", until: str = "", text: str = ""
) -> Filters:
    """Return what a form has sent; what makes no sense counts as not sent."""
    return Filters(
        dag_id=_text(dag_id),
        model=_text(model),
        state=VideoState(state) if state in set(VideoState) else None,
        since=_day(since),
        until=_day(until),
        text=_text(text),
    )


def _text(text: str) -> str:
    return text.replace("\0", "")[:_MAX_TEXT_CHARS].strip()


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if date(2000, 1, 1) < day < date(2200, 1, 1) else None


InstanceDep = Annotated[Instance, Depends(_instance)]
FiltersDep = Annotated[Filters, Depends(_filters)]


def create_app() -> FastAPI:
    """Return the app that the API server mounts."""
    app = FastAPI(title="Wan videos", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_WithHeaders)
    app.add_exception_handler(Exception, _say_nothing)
    for path, page in (
        ("/video/{dag_id}/{run_id}/{task_id}/{map_index}", _video),
        ("/sheet/{dag_id}/{run_id}", _sheet),
        ("/gallery", _gallery),
    ):
        app.add_api_route(path, page, methods=["GET"], dependencies=_MAY_READ, response_class=HTMLResponse)
    app.add_api_route(
        "/file/{dag_id}/{run_id}/{task_id}/{map_index}/{what}", _file, methods=["GET", "HEAD"], dependencies=_MAY_READ
    )
    app.add_api_route("/static/{name}", _static, methods=["GET", "HEAD"])
    return app


def _video(request: Request, session: SessionDep, user: GetUserDep, instance: InstanceDep) -> HTMLResponse:
    """Answer with the page of one task instance."""
    return _page(request, "video.html", views.task_video(session, instance, readable_dags(session, user)))


def _sheet(request: Request, session: SessionDep, dag_id: str, run_id: str) -> HTMLResponse:
    """Answer with the contact sheet of a DAG run."""
    return _page(request, "sheet.html", views.run_sheet(session, dag_id, run_id))


def _gallery(
    request: Request, session: SessionDep, user: GetUserDep, filters: FiltersDep, page: Annotated[str, Query()] = ""
) -> HTMLResponse:
    """Answer with a page of the gallery."""
    dag_ids, today = readable_dags(session, user), datetime.now(UTC).date()
    return _page(request, "gallery.html", views.gallery_page(session, dag_ids, filters, _text(page), today))


def _file(request: Request, session: SessionDep, instance: InstanceDep, what: str) -> Response:
    """Answer with a file that a task has left word of, or with a part of it."""
    row = database.find_row(session, instance)
    wanted = views.wanted_file(row, what) if row else None
    session.close()  # a long download holds no connection to the database
    if wanted is None:
        raise HTTPException(404, "not_found")
    try:
        served = open_file(wanted)
    except NotShown as error:
        raise HTTPException(404, error.problem) from None
    headers = {
        "Content-Security-Policy": _FILE_CSP,
        "Accept-Ranges": "bytes",
        "ETag": served.etag,
        # The address holds the digest, so the file behind it never changes.
        "Cache-Control": "private, max-age=31536000, immutable"
        if request.query_params.get("v")
        else "private, no-cache",
        "Content-Encoding": "identity",  # Airflow compresses what has none, and then the parts do not fit
        "Content-Type": served.media_type,
    }
    if served.etag in request.headers.get("if-none-match", ""):
        served.opened.close()
        return Response(status_code=304, headers=headers)
    start, end, status_code = 0, served.size, 200
    if_range = request.headers.get("if-range")
    if if_range is None or if_range == served.etag:
        part = _read_range(request.headers.get("range", ""), served.size)
        if part == (0, 0):
            served.opened.close()
            return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{served.size}"})
        if part is not None:
            (start, end), status_code = part, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{served.size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        served.opened.close()
        return Response(status_code=status_code, headers=headers)
    return StreamingResponse(served.pieces(start, end), status_code=status_code, headers=headers)


def _read_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte of a part and the one behind its last; (0, 0) if there is no such part.

    None for no part, for several, and for what is no part at all: the whole file is the answer then, as RFC 9110 has
    it.
    """
    found = _RANGE.fullmatch(header.strip())
    if not found or not (found["first"] or found["last"]):
        return None
    if not found["first"]:
        start, end = max(0, size - int(found["last"])), size
    else:
        start, end = int(found["first"]), min(size, int(found["last"]) + 1) if found["last"] else size
        if found["last"] and int(found["last"]) < start:
            return None
    return (start, end) if start < end else (0, 0)


_STATIC = {
    path.name: (path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream")
    for path in (Path(__file__).parent / "static").iterdir()
    if path.is_file()
}


def _static(_user: GetUserDep, name: str) -> Response:
    """Answer with a style sheet, a script or a drawing of the pages."""
    if name not in _STATIC:
        raise HTTPException(404, "not_found")
    content, media_type = _STATIC[name]
    return Response(content, media_type=media_type, headers={"Cache-Control": "private, max-age=300"})


def readable_dags(session: Session, user: Any) -> set[str]:
    """Return the DAGs with videos whose XComs a user may read."""
    auth_manager = get_auth_manager()
    permitted = auth_manager.get_authorized_dag_ids(user=user, method="GET", session=session)
    return {
        dag_id
        for dag_id in database.dags_with_videos(session) & permitted
        if auth_manager.is_authorized_dag(
            method="GET", access_entity=DagAccessEntity.XCOM, details=_details(dag_id), user=user
        )
    }


def _details(dag_id: str) -> DagDetails:
    from airflow.models.dag import DagModel  # noqa: PLC0415 - no cycle at the start of Airflow

    if hasattr(DagModel, "get_team_name"):  # Airflow 3.2
        return DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return DagDetails(id=dag_id)


def _page(request: Request, template: str, view: object) -> HTMLResponse:
    words = choose_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language"))
    html = render_html(template, base=request.scope["root_path"], words=words, view=view)
    return HTMLResponse(html.encode(errors="replace"))  # an XCom can hold half a character


def _say_nothing(_request: Request, error: Exception) -> Response:
    """Answer after a defect; the trace goes to the log of the API server."""
    log.error("A page of Wan videos failed", exc_info=error)
    return PlainTextResponse("Internal Server Error", 500, headers=_HEADERS)
