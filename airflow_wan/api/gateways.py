"""The two gateways: their hosts, paths, headers and limits, and what each of them can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from airflow_wan.net.addresses import is_loopback, resolves_privately

if TYPE_CHECKING:
    from datetime import datetime

TEXT_FIELDS = ("prompt", "negative_prompt")
"""The fields of ``input`` that are words and never a file's URL, even where they look like one."""

VIDEO_SYNTHESIS = "/api/v1/services/aigc/video-generation/video-synthesis"


class GatewayName(StrEnum):
    """The gateways this package speaks to."""

    APIYI = "apiyi"
    DASHSCOPE = "dashscope"


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway's side of the protocol.

    :param name: which gateway it is.
    :param title: its name in sentences for people.
    :param default_base_url: where it is reached when the connection names no host.
    :param create_path: path of the create request.
    :param task_path: path of the task query; ``{wan_task_id}`` stands for the id.
    :param can_cancel: whether a task can be canceled (DashScope: only while PENDING).
    :param can_list: whether an API key can list its tasks.
    :param can_upload: whether it keeps files for its tasks for a while, under ``oss://`` URLs.
    """

    name: GatewayName
    title: str
    default_base_url: str
    create_path: str
    task_path: str
    can_cancel: bool
    can_list: bool
    can_upload: bool


# Sources: docs.apiyi.com (Wan overview and wan2.7-i2v pages); Alibaba Cloud Model Studio, "manage asynchronous tasks".
APIYI = Gateway(
    name=GatewayName.APIYI,
    title="APIYI",
    default_base_url="https://api.apiyi.com",
    create_path="/wan" + VIDEO_SYNTHESIS,
    task_path="/v1/tasks/{wan_task_id}",
    can_cancel=False,
    can_list=False,
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
    can_upload=True,
)
GATEWAYS = {gateway.name: gateway for gateway in (APIYI, DASHSCOPE)}

# DashScope's shared hosts end in aliyuncs.com; its workspace hosts are {WorkspaceId}.{region}.maas.aliyuncs.com.
_DASHSCOPE_DOMAIN = "aliyuncs.com"


def gateway_of_host(base_url: str) -> Gateway:
    """Tell the gateway from a base URL: Alibaba's hosts are DashScope, all others are taken for APIYI."""
    host = (urlsplit(base_url).hostname or "").lower()
    return DASHSCOPE if host == _DASHSCOPE_DOMAIN or host.endswith("." + _DASHSCOPE_DOMAIN) else APIYI


@dataclass(frozen=True, slots=True)
class Account:
    """Where requests go and on whose money: what a connection boils down to.

    :param gateway: the gateway spoken to.
    :param base_url: its URL without a trailing slash.
    :param api_key: the key; never shown.
    :param workspace: DashScope workspace id, sent as ``X-DashScope-WorkSpace``.
    :param connect_timeout: s until a connection must stand.
    :param read_timeout: s without a byte until an answer is given up.
    """

    gateway: Gateway
    base_url: str
    api_key: str = field(repr=False)
    workspace: str | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0

    @property
    def on_loopback(self) -> bool:
        """Whether the gateway is an emulator on this machine, which may deal in plain http on loopback."""
        return is_loopback(urlsplit(self.base_url).hostname)

    @property
    def on_private_network(self) -> bool:
        """Whether the gateway is on this machine or in a private network, and so may offer its files there."""
        return resolves_privately(urlsplit(self.base_url).hostname or "")

    def headers(self) -> dict[str, str]:
        """Headers of every request.

        ``identity``: APIYI has been seen to label uncompressed bodies as gzip (its own script asks for the same).
        """
        headers = {"Authorization": f"Bearer {self.api_key}", "Accept-Encoding": "identity"}
        if self.workspace:
            headers["X-DashScope-WorkSpace"] = self.workspace
        return headers


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One HTTP request to a gateway, before anything is sent."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    json: dict[str, object] | None = None


def create_call(gateway: Gateway, body: dict[str, object]) -> ApiCall:
    """The request that submits, and pays for, a video. Both gateways answer only with the async header.

    DashScope looks ``oss://`` media up in its temporary store only when a header asks it to.
    """
    headers = {"X-DashScope-Async": "enable"}
    if gateway.can_upload and _holds_oss_url(body.get("input")):
        headers["X-DashScope-OssResourceResolve"] = "enable"
    return ApiCall("POST", gateway.create_path, headers=headers, json=body)


def _holds_oss_url(value: object) -> bool:
    """Whether a medium, anywhere in there, has an ``oss://`` URL; a prompt that begins so has none."""
    if isinstance(value, Mapping):
        return any(_holds_oss_url(inner) for name, inner in value.items() if name not in TEXT_FIELDS)
    if isinstance(value, list):
        return any(_holds_oss_url(inner) for inner in value)
    return isinstance(value, str) and value.startswith("oss://")


def policy_call(model: str) -> ApiCall:
    """The request for leave to upload one file for a model; DashScope only."""
    return ApiCall("GET", "/api/v1/uploads", params={"action": "getPolicy", "model": model})


def task_call(gateway: Gateway, wan_task_id: str) -> ApiCall:
    """The request that reads a task."""
    return ApiCall("GET", gateway.task_path.format(wan_task_id=quote(wan_task_id, safe="")))


def list_call(*, model: str, start: datetime, end: datetime, page: int) -> ApiCall:
    """The request that lists the account's tasks of one model, at most 24 h of them; DashScope only.

    :param start: begin of the window, written as its own clock says: the gateway does not document the time zone.
    :param end: end of the window, likewise.
    """
    window = {"start_time": f"{start:%Y%m%d%H%M%S}", "end_time": f"{end:%Y%m%d%H%M%S}"}
    return ApiCall("GET", "/api/v1/tasks/", params={**window, "model_name": model, "page_no": str(page)})


def cancel_call(gateway: Gateway, wan_task_id: str) -> ApiCall:
    """The request that cancels a task that is still queued; DashScope only."""
    return ApiCall("POST", gateway.task_path.format(wan_task_id=quote(wan_task_id, safe="")) + "/cancel")
