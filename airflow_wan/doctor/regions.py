"""DashScope's regions and the hosts that all workspaces of a region share.

Source: Alibaba's API pages, and the table of hosts in its SDK. Regions without a shared host are not in the table:
their hosts have the id of a workspace in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORKSPACE_HOSTS = ".maas.aliyuncs.com"


@dataclass(frozen=True, slots=True)
class Region:
    """A region with a shared host.

    :param name: its id.
    :param place: where it is.
    :param host: its shared host.
    """

    name: str
    place: str
    host: str

    @property
    def base_url(self) -> str:
        """The base URL of its shared host."""
        return f"https://{self.host}"


REGIONS = (
    Region("cn-beijing", "Beijing", "dashscope.aliyuncs.com"),
    Region("ap-southeast-1", "Singapore", "dashscope-intl.aliyuncs.com"),
    Region("us-east-1", "Virginia", "dashscope-us.aliyuncs.com"),
    Region("cn-hongkong", "Hong Kong", "cn-hongkong.dashscope.aliyuncs.com"),
)


def region_of(base_url: str) -> str | None:
    """Return the id of the region that a base URL belongs to; None if it is none of Alibaba's hosts for this API."""
    host = urlsplit(base_url).hostname or ""
    if host.endswith(_WORKSPACE_HOSTS):
        return host.removesuffix(_WORKSPACE_HOSTS).rpartition(".")[2]
    return next((region.name for region in REGIONS if region.host == host), None)


def other_hosts(base_url: str) -> Iterator[Region]:
    """Yield the regions whose shared host is another one than that of a base URL."""
    host = urlsplit(base_url).hostname
    yield from (region for region in REGIONS if region.host != host)
