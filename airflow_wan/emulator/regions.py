"""DashScope's regions: a key belongs to one, and is refused at the hosts of the others (Alibaba's API pages)."""

from __future__ import annotations

import re

HOME = "cn-beijing"
"""The region of every host that is none of Alibaba's, such as the emulator's own."""

_SHARED_HOSTS = {
    "dashscope.aliyuncs.com": HOME,
    "dashscope-intl.aliyuncs.com": "ap-southeast-1",
    "dashscope-us.aliyuncs.com": "us-east-1",
    "cn-hongkong.dashscope.aliyuncs.com": "cn-hongkong",
}
REGIONS = (*_SHARED_HOSTS.values(), "eu-central-1", "ap-northeast-1")

_WORKSPACE_HOST = re.compile(r"[^.]+\.([a-z0-9-]+)\.maas\.aliyuncs\.com")


def region_of(host: str) -> str:
    """Return the region of a host.

    :param host: the `Host` header of a request.
    """
    name = host.rpartition(":")[0] or host
    workspace = _WORKSPACE_HOST.fullmatch(name)
    return workspace[1] if workspace else _SHARED_HOSTS.get(name, HOME)
