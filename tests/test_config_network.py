from __future__ import annotations

import ssl
import warnings
from typing import Any

import pytest

from bifrost import ConfigError, NetworkConfig, Secret
from tests.table import table

AUTH = Secret("user:s3cret-canary")


@table(
    "proxy",
    ["environment", "none", "http://h", "http://h:8080/", "https://h:443", "socks5://h", "socks5h://[::1]:1080"],
)
def test_a_proxy_is_an_address_or_one_of_two_words(proxy: str) -> None:
    assert NetworkConfig(proxy=proxy).proxy == proxy


@table(
    ("proxy", "said"),
    [
        ("h:8080", "this is not the address of a proxy"),
        ("ftp://h", "this is not the address of a proxy"),
        ("http://", "this is not the address of a proxy"),
        ("http://h:no", "this is not the address of a proxy"),
        ("http://h:0", "this is not the address of a proxy"),
        ("http://h/path", "this is not the address of a proxy"),
        ("", "this is not the address of a proxy"),
        (None, "this is not the address of a proxy"),
        ("http://u:s3cret-canary@h", "set proxy_auth"),
    ],
)
def test_what_is_no_proxy_is_told_without_its_text(proxy: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        NetworkConfig(proxy=proxy)
    assert str(caught.value).startswith("NetworkConfig.proxy: ")
    assert "canary" not in str(caught.value)


@table(
    ("fields", "said"),
    [
        ({"proxy_auth": AUTH}, ", too"),
        ({"proxy": "http://h", "proxy_auth": "u:p"}, r"takes Secret\(...\), not str"),
        ({"client_key": "key.pem"}, ", too"),
        ({"user_agent": "a\r\nb"}, "printable ASCII"),
        ({"user_agent": " "}, "printable ASCII"),
        ({"user_agent": 3}, "printable ASCII"),
        ({"ca": 3}, "NetworkConfig.ca must be text, not int"),
        ({"client_certificate": b""}, "NetworkConfig.client_certificate must be text, not bytes"),
        ({"http2": 1}, "NetworkConfig.http2 must be True or False, not 1"),
        ({"ssl_context": False}, r"NetworkConfig.ssl_context takes SSLContext\(...\), not bool"),
        ({"streams_per_connection": 0}, "greater than 0"),
        ({"ssl_context": ssl.create_default_context(), "ca": "ca.pem"}, "replaces ca and"),
    ],
)
def test_what_does_not_go_together_is_told(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        NetworkConfig(**fields)


def test_a_context_that_checks_nothing_is_refused() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(ConfigError, match="does not verify certificates and host names"):
        NetworkConfig(ssl_context=context)
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ConfigError, match="does not verify certificates and host names"):
        NetworkConfig(ssl_context=context)


def test_a_context_of_old_versions_is_refused() -> None:
    context = ssl.create_default_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for old in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.MINIMUM_SUPPORTED):
            context.minimum_version = old
            with pytest.raises(ConfigError, match=r"older than TLS 1\.2"):
                NetworkConfig(ssl_context=context)
    for good in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED):
        context.minimum_version = good
        assert NetworkConfig(ssl_context=context).ssl_context is context


def test_its_repr_shows_no_secret() -> None:
    assert "canary" not in repr(NetworkConfig(proxy="http://h", proxy_auth=AUTH))
