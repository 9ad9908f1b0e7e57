"""Tells through which proxy of the environment a request goes."""

from __future__ import annotations

import urllib.request
from urllib.parse import SplitResult, urlsplit


def environment_proxy(scheme: str, host: str) -> SplitResult | None:
    """Return the proxy that the environment names for a host, if any; it may hold a password.

    One whose URL is malformed has no scheme.

    :param scheme: ``https`` or ``http``, the scheme of the URL that is asked for.
    :param host: its host.
    """
    proxies = urllib.request.getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    if not url or urllib.request.proxy_bypass(host):
        return None
    try:
        proxy = urlsplit(url if "://" in url else f"http://{url}")
        _ = proxy.port  # raises ValueError when it is not a number from 0 to 65535
    except ValueError:
        return SplitResult("", "", "", "", "")
    return proxy
