"""The two gateways: their hosts, paths and headers, what each can do, and the HTTP requests of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from airflow_wan.api.answers import is_task_id
from airflow_wan.exceptions import VideoTaskLost
from airflow_wan.net.addresses import is_loopback, resolves_privately

if TYPE_CHECKING:
    from datetime import datetime

TEXT_FIELDS = ("prompt", "negative_prompt")
"""The fields of ``input`` that are text and never the URL of a file, even if they look like one."""

VIDEO_SYNTHESIS = "/api/v1/services/aigc/video-generation/video-synthesis"


_FRAMES_MODEL = "kf2v"
"""Part of the ids of DashScope's models for a first and a last frame, which have a path of their own (its SDK)."""


class GatewayName(StrEnum):
    """The gateways that this package can use."""

    APIYI = "apiyi"
    DASHSCOPE = "dashscope"


@dataclass(frozen=True, slots=True)
class Gateway:
    """What is particular to one gateway.

    :param name: which gateway it is.
    :param title: its name in messages.
    :param default_base_url: its address if the connection has no host.
    :param create_path: path of the create request.
    :param task_path: path of the task query; ``{wan_task_id}`` stands for the id.
    :param can_cancel: whether a task can be canceled (DashScope: only while PENDING).
    :param can_list: whether it lists the tasks of an account to its API key.
    :param can_list_with_system_token: whether it lists them to a token of the account's owner instead.
    :param can_upload: whether it has a temporary store for media, with ``oss://`` URLs.
    """

    name: GatewayName
    title: str
    default_base_url: str
    create_path: str
    task_path: str
    can_cancel: bool
    can_list: bool
    can_list_with_system_token: bool
    can_upload: bool


# Sources: docs.apiyi.com (Wan overview, wan2.7-i2v, and the cost look-up of its FAQ); Alibaba Cloud Model Studio,
# "manage asynchronous tasks".
APIYI = Gateway(
    name=GatewayName.APIYI,
    title="APIYI",
    default_base_url="https://api.apiyi.com",
    create_path="/wan" + VIDEO_SYNTHESIS,
    task_path="/v1/tasks/{wan_task_id}",
    can_cancel=False,
    can_list=False,
    can_list_with_system_token=True,
    can_upload=False,
)
DASHSCOPE = Gateway(
    name=GatewayName.DASHSCOPE,
    title="DashScope",
    default_base_url="https://dashscope.aliyuncs.com",
    create_path=VIDEO_SYNTHESIS,
    task_path="/api/v1/tasks/{wan_task_id}",
    can_cancel=True,
    can_list=True,
    can_list_with_system_token=False,
    can_upload=True,
)
GATEWAYS = {gateway.name: gateway for gateway in (APIYI, DASHSCOPE)}

# DashScope's shared hosts end in aliyuncs.com; its workspace hosts are {WorkspaceId}.{region}.maas.aliyuncs.com.
_DOMAINS = {"aliyuncs.com": DASHSCOPE, "apiyi.com": APIYI}


def _official(base_url: str) -> Gateway | None:
    host = (urlsplit(base_url).hostname or "").lower()
    return next((own for domain, own in _DOMAINS.items() if host == domain or host.endswith("." + domain)), None)


def is_official(base_url: str) -> bool:
    """Return whether a base URL is at a host of a gateway's own domain."""
    return _official(base_url) is not None


def gateway_of_host(base_url: str) -> Gateway:
    """Return the gateway at a base URL: DashScope at Alibaba's hosts, APIYI at any other."""
    return _official(base_url) or APIYI


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a gateway, as an Airflow connection describes it.

    :param gateway: the gateway.
    :param base_url: its address, without a trailing slash.
    :param api_key: the key; never shown.
    :param system_token: a token of the account's owner, which opens APIYI's list of tasks; never shown.
    :param workspace: DashScope workspace id, sent as ``X-DashScope-WorkSpace``.
    :param connect_timeout: how long connecting may take, in seconds.
    :param read_timeout: how long to wait for the next byte of an answer, in seconds.
    :param total_timeout: how long one call may take altogether, in seconds. `read_timeout` starts again with each byte.
    :param least_speed: the speed that an upload or a download must keep, in bytes per second, averaged over a minute.
    :param warnings: what is strange in the connection, one sentence each, for whoever buys with it.
    """

    gateway: Gateway
    base_url: str
    api_key: str = field(repr=False)
    system_token: str | None = field(default=None, repr=False, kw_only=True)
    workspace: str | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    total_timeout: float = 180.0
    least_speed: float = 1024.0
    warnings: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return (self.api_key, self.system_token) if self.system_token else (self.api_key,)

    @property
    def can_list(self) -> bool:
        """Whether the gateway lists this account's tasks."""
        return self.gateway.can_list or self.has_system_list

    @property
    def has_system_list(self) -> bool:
        """Whether the gateway lists this account's tasks, and what each has cost, to the account's system token."""
        return self.gateway.can_list_with_system_token and bool(self.system_token)

    @property
    def on_loopback(self) -> bool:
        """Whether the gateway is on this machine (an emulator), so that plain http on loopback is allowed."""
        return is_loopback(urlsplit(self.base_url).hostname)

    @property
    def on_private_network(self) -> bool:
        """Whether the gateway is on this machine or in a private network, so that its files may be there too."""
        return resolves_privately(urlsplit(self.base_url).hostname or "")

    def headers(self) -> dict[str, str]:
        """Return the headers of every request, but for the one with the key.

        They ask for uncompressed answers, as APIYI's own script does: APIYI may label an uncompressed answer as gzip.
        """
        headers = {"Accept-Encoding": "identity"}
        if self.workspace:
            headers["X-DashScope-WorkSpace"] = self.workspace
        return headers


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One HTTP request to a gateway, before anything is sent.

    :param as_owner: whether it is sent with the account's system token in place of its API key.
    """

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    json: dict[str, object] | None = field(default=None, repr=False)  # its media may have signed URLs
    as_owner: bool = False


def create_call(gateway: Gateway, body: dict[str, object]) -> ApiCall:
    """Return the request that submits a video, which costs money. Both gateways require the async header.

    DashScope resolves ``oss://`` URLs of its temporary store only if a header asks for it.
    """
    headers = {"X-DashScope-Async": "enable"}
    if gateway.can_upload and _holds_oss_url(body.get("input")):
        headers["X-DashScope-OssResourceResolve"] = "enable"
    path = gateway.create_path
    if gateway is DASHSCOPE and _FRAMES_MODEL in str(body.get("model")):
        path = path.replace("/video-generation/", "/image2video/")
    return ApiCall("POST", path, headers=headers, json=body)


def _holds_oss_url(value: object) -> bool:
    """Return whether any media item has an ``oss://`` URL; a prompt that begins like one does not count."""
    if isinstance(value, Mapping):
        return any(_holds_oss_url(inner) for name, inner in value.items() if name not in TEXT_FIELDS)
    if isinstance(value, list):
        return any(_holds_oss_url(inner) for inner in value)
    return isinstance(value, str) and value.startswith("oss://")


def policy_call(model: str) -> ApiCall:
    """Return the request for the permission to upload one file for a model; DashScope only."""
    return ApiCall("GET", "/api/v1/uploads", params={"action": "getPolicy", "model": model})


def task_call(gateway: Gateway, wan_task_id: str) -> ApiCall:
    """Return the request that reads a task.

    :raises VideoTaskLost: when no task can have this id.
    """
    return ApiCall("GET", _task_path(gateway, wan_task_id))


def list_call(
    *, page: int, start: datetime | None, end: datetime | None, model: str | None = None, page_size: int | None = None
) -> ApiCall:
    """Return the request that lists the account's tasks from at most 24 h; DashScope only.

    :param page: number of the page, from 1.
    :param start: begin of the 24 h. It is sent without its time zone: the gateway does not document which one it uses.
        None leaves it to the gateway, as the end.
    :param end: end of the 24 h, sent in the same way.
    :param model: the only model id whose tasks are listed; all when None.
    :param page_size: rows of a page; as many as the gateway likes when None.
    """
    params = {
        "start_time": f"{start:%Y%m%d%H%M%S}" if start else None,
        "end_time": f"{end:%Y%m%d%H%M%S}" if end else None,
        "model_name": model,
        "page_no": str(page),
        "page_size": str(page_size) if page_size else None,
    }
    return ApiCall("GET", "/api/v1/tasks/", params={name: value for name, value in params.items() if value})


def owner_list_call(page: int, *, page_size: int, **filters: str) -> ApiCall:
    """Return the request that lists the account's tasks to its system token; APIYI only.

    :param page: number of the page, from 1.
    :param page_size: rows of a page.
    :param filters: ``task_id``, ``model_name``, ``start_timestamp`` and ``end_timestamp`` (Unix times in seconds).
    """
    params = {"p": str(page), "page_size": str(page_size), **filters}
    return ApiCall("GET", "/api/task/self", params=params, as_owner=True)


def cancel_call(gateway: Gateway, wan_task_id: str) -> ApiCall:
    """Return the request that cancels a queued task; DashScope only.

    :raises VideoTaskLost: when no task can have this id.
    """
    return ApiCall("POST", _task_path(gateway, wan_task_id) + "/cancel")


def _task_path(gateway: Gateway, wan_task_id: str) -> str:
    if not is_task_id(wan_task_id):
        raise VideoTaskLost("No Wan task can have this id; nothing was asked.", wan_task_id=wan_task_id)
    return gateway.task_path.format(wan_task_id=quote(wan_task_id, safe=""))
