"""A pasted base URL is understood or refused, and never changed into another one."""

from __future__ import annotations

import re
import string
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.api.base_urls import Flaw, UnusableError, read_base_url
from airflow_wan.api.gateways import APIYI, DASHSCOPE, GATEWAYS

OFFICIAL = (
    "https://api.apiyi.com",
    "https://vip.apiyi.com",
    "https://dashscope.aliyuncs.com",
    "https://dashscope-intl.aliyuncs.com",
    "https://cn-hongkong.dashscope.aliyuncs.com",
    "https://llm-0a1b2c.ap-southeast-1.maas.aliyuncs.com",
    "https://token-plan.ap-southeast-1.maas.aliyuncs.com",
)
CREATE = "/api/v1/services/aigc/video-generation/video-synthesis"
DOCUMENTED_PATHS = (
    "",
    "/",
    "//",
    "/v1",
    "/v1/",
    "/api/v1",
    "/api/v1/",
    "/compatible-mode/v1",
    "/compatible-mode/v1/chat/completions",
    "/compatible-api/v1/reranks",
    CREATE,
    CREATE.replace("video-generation", "image2video"),
    "/wan",
    "/wan/",
    "/wan/api/v1",
    "/wan" + CREATE,
    "/v1/tasks/f8ca39a0-6f4b-4ec2-99bf-8b9649d946c4",
    "/api/v1/tasks/",
    "/api/v1/tasks/f8ca39a0/cancel",
    "/api/v1/uploads",
    "/api/v1/quotas",
    "/api/v2/apps/protocols",
    "/v1/chat/completions",
    "/v1/videos",
)
DECORATIONS = (
    "{}",
    "  {} ",
    '"{}"',
    "'{}'",
    "`{}`",
    "<{}>",
    "({})",
    "{},",
    "{};",
    "{}。",
    "“{}”",
    "（{}）",
    "https://{}",
    "http://{}",
    "\n{}\n",
)

# Names of which no part is one that an API's path begins or goes on with.
OWN_SEGMENT = st.text(string.ascii_lowercase + string.digits + "-_.~", min_size=1, max_size=8).filter(
    lambda text: not re.match(r"api|v1|compatible|services|wan$|\.+$", text)
)


def read(pasted: str, **known: Any) -> str:
    return read_base_url(pasted, **known)[1]


@given(
    st.sampled_from(OFFICIAL),
    st.sampled_from(DOCUMENTED_PATHS),
    st.sampled_from(DECORATIONS),
    st.sampled_from([str, str.upper, lambda url: quote(url, safe="")]),
)
def test_whatever_a_manual_shows_of_a_gateway_is_its_base_url(base: str, path: str, around: str, write: Any) -> None:
    wan_at_dashscope = path.startswith("/wan") and "apiyi" not in base
    pasted = write(base) + path if write is str.upper else write(base + path)

    if around.startswith("http") and write not in (str, str.upper):
        with pytest.raises(UnusableError):  # https://https%3A%2F%2F…
            read(around.format(pasted))
    elif wan_at_dashscope:  # no manual shows this; a path that is none of DashScope's own stays
        assert read(around.format(pasted)) in (base, base + "/wan")
    else:
        assert read(around.format(pasted)) == base


@given(st.sampled_from(OFFICIAL), st.sampled_from(DOCUMENTED_PATHS))
def test_a_scheme_that_is_missing_is_https(base: str, path: str) -> None:
    if not path.startswith("/wan"):
        assert read(base.removeprefix("https://") + path) == base


@given(st.lists(OWN_SEGMENT, max_size=4), st.sampled_from(["", *DOCUMENTED_PATHS]), st.sampled_from(list(GATEWAYS)))
def test_a_proxys_own_path_stays_and_the_apis_goes(own: list[str], path: str, name: Any) -> None:
    base = "https://proxy.example" + "".join(f"/{segment}" for segment in own)
    rest = "/wan" if path.startswith("/wan") and (GATEWAYS[name] is DASHSCOPE or path in ("/wan", "/wan/")) else ""

    assert read(base + path, gateway=GATEWAYS[name]) == base + rest


ALPHABET = st.text(
    st.sampled_from("ahpisv1.:/\\@?#%{}<>[]$ -_,;=&~。：／２ſ\u202e\x00\n") | st.characters(), max_size=40
)


@given(
    st.builds(
        "".join,
        st.lists(st.sampled_from(["https://", "http:/", "api.apiyi.com", "/v1", "/wan", ":443", CREATE]) | ALPHABET),
    )
)
def test_any_other_text_is_refused_or_leads_to_the_host_in_it(text: str) -> None:
    try:
        gateway, url = read_base_url(text)
    except UnusableError:
        return
    parts = urlsplit(url)
    assert parts.scheme in ("http", "https")
    assert not any((parts.username, parts.password, parts.query, parts.fragment))
    if url in (APIYI.default_base_url, DASHSCOPE.default_base_url) and parts.hostname not in text.lower():
        assert not text.strip().strip("/\"'`<>(),;。，；、“”‘’《》「」（）").strip()  # nothing was pasted
        return
    plain = unquote(text).lower()
    assert str(parts.hostname) in plain
    assert read_base_url(url, gateway=gateway) == (gateway, url)
    path = re.sub("/+", "/", plain.partition(str(parts.hostname))[2].replace("\\", "/"))
    assert path.removeprefix(".").removeprefix(f":{parts.port}").startswith(parts.path.lower())


@pytest.mark.parametrize(
    ("pasted", "flaw"),
    [
        ("https://{WorkspaceId}.cn-beijing.maas.aliyuncs.com", Flaw.HOST_TO_FILL_IN),
        ("https://%7BWorkspaceId%7D.cn-beijing.maas.aliyuncs.com/api/v1", Flaw.HOST_TO_FILL_IN),
        ("https://[WorkspaceId].cn-beijing.maas.aliyuncs.com", Flaw.HOST_TO_FILL_IN),
        ("https://WorkspaceId.cn-beijing.maas.aliyuncs.com", Flaw.HOST_TO_FILL_IN),
        ("YOUR_WORKSPACE_ID.eu-central-1.maas.aliyuncs.com", Flaw.HOST_TO_FILL_IN),
        ("{WorkspaceId}.cn-beijing.maas.aliyuncs.com", Flaw.HOST_TO_FILL_IN),
        ("https://api.apiyi.com/v1/tasks/{task_id}", Flaw.HOST_TO_FILL_IN),
        ("https://me:hunter2@api.apiyi.com", Flaw.HOST_WITH_SECRET),
        ("https://api.apiyi.com/v1?key=hunter2", Flaw.HOST_WITH_SECRET),
        ("https://docs.apiyi.com/en/api-capabilities/wan/overview", Flaw.HOST_FOR_PEOPLE),
        ("sk-0123456789abcdef0123", Flaw.HOST_WITH_SECRET),
        ("https://sk-0123456789abcdef0123/v1", Flaw.HOST_WITH_SECRET),
        ("https://help.aliyun.com/zh/model-studio/", Flaw.HOST_FOR_PEOPLE),
        ("https:/api.apiyi.com", Flaw.HOST_UNREADABLE),
        ("/v1/chat/completions", Flaw.HOST_UNREADABLE),
        ("///api.apiyi.com", Flaw.HOST_UNREADABLE),
        ("https://api.\napiyi.com", Flaw.HOST_UNREADABLE),
        ("https://api.apiyi.com/\tv1", Flaw.HOST_UNREADABLE),
        ("https//api.apiyi.com", Flaw.HOST_UNREADABLE),
        ("https:api.apiyi.com", Flaw.HOST_UNREADABLE),
        ("POST https://api.apiyi.com/v1", Flaw.HOST_UNREADABLE),
        ("base_url=https://api.apiyi.com/v1", Flaw.HOST_UNREADABLE),
        ("https://api.apiyi.com/,https://vip.apiyi.com", Flaw.HOST_UNREADABLE),
        ("https://api.apiyi.com/https://vip.apiyi.com", Flaw.HOST_UNREADABLE),
        ("https://api.apiyi.com\\@evil.example", Flaw.HOST_WITH_SECRET),
        ("https://api.apiyi.com\\evil.example", Flaw.HOST_UNREADABLE),
        ("https://api.apiyi.com/../..", Flaw.HOST_UNREADABLE),
        ("https://api%2eapiyi.com", Flaw.HOST_UNREADABLE),
        ("https：//api.apiyi.com", Flaw.HOST_UNREADABLE),
        ("https://api.apiyi.com:0", Flaw.HOST_UNREADABLE),
        ("https://api..apiyi.com", Flaw.HOST_UNREADABLE),
        (f"https://{'a' * 64}.example", Flaw.HOST_UNREADABLE),
        ("wss://dashscope.aliyuncs.com/api-ws/v1/inference", Flaw.HOST_UNREADABLE),
    ],
)
def test_what_has_no_one_meaning_is_refused(pasted: str, flaw: Flaw) -> None:
    with pytest.raises(UnusableError) as caught:
        read_base_url(pasted)

    assert caught.value.flaw is flaw
    assert "hunter2" not in caught.value.problem


@pytest.mark.parametrize(
    ("pasted", "base_url"),
    [
        ("https://relay.example/v1/proxy", "https://relay.example/v1/proxy"),
        ("https://relay.example/api/v1/wan-proxy/v1", "https://relay.example/api/v1/wan-proxy"),
        ("https://relay.example/llm/v1/v1/chat/completions", "https://relay.example/llm"),
        ("https://relay.example/services/aigc", "https://relay.example"),
        ("https://dashscope.aliyuncs.com/api/v1/brand-new-endpoint", "https://dashscope.aliyuncs.com"),
        ("[::1]:8765/v1", "http://[::1]:8765"),
        ("http://gateway:8765", "http://gateway:8765"),
    ],
)
def test_the_path_of_a_proxy_is_told_from_that_of_the_api(pasted: str, base_url: str) -> None:
    assert read(pasted) == base_url
