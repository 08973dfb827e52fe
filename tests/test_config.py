from __future__ import annotations

from typing import Any

import attrs
import pytest

from bifrost.config import (
    AdaptiveConfig,
    CallOptions,
    ConnectionConfig,
    ProviderConfig,
    RetryConfig,
    SizeLimits,
    Timeouts,
    check_base_url,
)
from bifrost.errors import ConfigError
from tests.table import table

NAN = float("nan")


@table(
    ("kind", "setting", "problem"),
    [
        (CallOptions, {"timeout": "5"}, "timeout must be a number, not '5'"),
        (CallOptions, {"timeout": NAN}, "timeout must be greater than 0, not nan"),
        (CallOptions, {"max_retries": 1.5}, "max_retries must be a whole number, not 1.5"),
        (CallOptions, {"on_interrupt": "again"}, "on_interrupt must be 'raise' or 'restart', not 'again'"),
        (CallOptions, {"max_retries": True}, "max_retries must be a whole number, not True"),
        (ProviderConfig, {"concurrency": 0}, "ProviderConfig.concurrency must be greater than 0, not 0"),
        (ProviderConfig, {"concurrency": 2.5}, "ProviderConfig.concurrency must be a whole number, not 2.5"),
        (ProviderConfig, {"queue": -1}, "ProviderConfig.queue must be 0 or more, not -1"),
        (ProviderConfig, {"queue": None}, "ProviderConfig.queue must be a whole number, not None"),
        (ProviderConfig, {"on_full": "block"}, "ProviderConfig.on_full must be 'wait' or 'drop', not 'block'"),
        (ProviderConfig, {"on_full": ["wait"]}, r"ProviderConfig.on_full must be 'wait' or 'drop', not \['wait'\]"),
        (ProviderConfig, {"queue_timeout": "1"}, "ProviderConfig.queue_timeout must be a number, not '1'"),
        (
            ProviderConfig,
            {"stream_share": 1.5},
            "ProviderConfig.stream_share is a share and must be at most 1, not 1.5",
        ),
        (ProviderConfig, {"retry": {"max_retries": 1}}, r"ProviderConfig.retry takes RetryConfig\(...\), not dict"),
        (ProviderConfig, {"timeouts": 5}, r"ProviderConfig.timeouts takes Timeouts\(...\), not int"),
        (ProviderConfig, {"size_limits": None}, r"ProviderConfig.size_limits takes SizeLimits\(...\), not NoneType"),
        (ProviderConfig, {"adaptive": True}, r"ProviderConfig.adaptive takes AdaptiveConfig\(...\), not bool"),
        (AdaptiveConfig, {"factor": 1.0}, "AdaptiveConfig.factor must be below 1, not 1.0"),
        (AdaptiveConfig, {"factor": 0}, "AdaptiveConfig.factor must be greater than 0, not 0"),
        (AdaptiveConfig, {"used": 1.5}, "AdaptiveConfig.used is a share and must be at most 1, not 1.5"),
        (AdaptiveConfig, {"start": 0}, "AdaptiveConfig.start must be greater than 0, not 0"),
        (AdaptiveConfig, {"start": 1.5}, "AdaptiveConfig.start must be a whole number, not 1.5"),
        (RetryConfig, {"attempts_total": 0}, "RetryConfig.attempts_total must be greater than 0, not 0"),
        (RetryConfig, {"retry_sent": True}, "RetryConfig.retry_sent must be 'until_first_token' or 'never', not True"),
        (Timeouts, {"connect": -1}, "Timeouts.connect must be greater than 0, not -1"),
        (SizeLimits, {"body": 1e6}, "SizeLimits.body must be a whole number, not 1000000.0"),
        (ConnectionConfig, {"age": "5"}, "ConnectionConfig.age must be a number, not '5'"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_work_is_told_by_the_name_its_user_wrote(
    kind: Any, setting: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{problem}$"):
        kind(**setting)


def test_the_defaults_are_what_the_design_says() -> None:
    assert attrs.asdict(CallOptions()) == {
        "timeout": 600,
        "max_retries": None,
        "fallbacks": (),
        "extra_headers": {},
        "key": None,
        "session": None,
        "on_interrupt": "raise",
    }
    assert attrs.asdict(Timeouts()) == {
        "connect": 5,
        "write": 30,
        "first_token": 120,
        "first_token_share": 0.4,
        "idle_bytes": 60,
        "idle_events": 300,
        "consumer_idle": 300,
        "error_body": 5,
    }
    assert attrs.asdict(AdaptiveConfig()) == {"factor": 0.9, "used": 0.8, "start": None}
    provider = ProviderConfig()
    assert provider.adaptive is None
    assert (provider.concurrency, provider.queue, provider.on_full, provider.queue_timeout) == (
        256,
        10_000,
        "wait",
        None,
    )
    assert (provider.stream_share, provider.connections.idle, provider.connections.age) == (0.75, 30, 300)
    retry = provider.retry
    assert (retry.max_retries, retry.attempts_total, retry.backoff_base, retry.backoff_cap) == (2, 6, 0.5, 8)


@table(
    ("url", "base"),
    [
        ("https://api.example/v1/", "https://api.example/v1"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://127.3.2.1/x", "http://127.3.2.1/x"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://API.Example/V1", "https://api.example/V1"),
        ("https://my_host-1.corp/v1", "https://my_host-1.corp/v1"),
        ("https://gpu3:8443/v1", "https://gpu3:8443/v1"),
        ("https://10.0.0.7/v1", "https://10.0.0.7/v1"),
        ("https://[2001:DB8:0::1]:443/v1", "https://[2001:db8::1]:443/v1"),
        ("https://api.example:/v1", "https://api.example/v1"),
        ("https://api.example/a%20b/", "https://api.example/a%20b"),
        ("https://api\uff0eexample", "https://api.example"),
    ],
)
def test_a_base_url_is_brought_to_one_form(url: str, base: str) -> None:
    assert check_base_url(url, where="x") == base


@table(
    ("url", "problem"),
    [
        ("api.example/v1", "without a scheme"),
        ("file:///etc/passwd", "not file"),
        ("https://", "must be"),
        ("https://me:secret@api.example", "a user name"),
        ("https://api.example?key=secret", "a query"),
        ("https://api.example/#x", "fragment"),
        ("https://api.example/a/../b", "must not contain '.' or '..'"),
        ("https://api.example/a b", "a space"),
        ("https://api.example:port", "the host is no name"),
        ("https://api.example:0", "the port must be a number from 1 to 65535"),
        ("https://api.example:65536", "the port must be"),
        ("https://api.example:" + "9" * 5000, "the port must be"),
        ("https://api%2eexample", "letters, digits"),
        ("https://api%00.example", "letters, digits"),
        ("https://api\x00.example", "control character"),
        ("https://api\\.example", "a backslash"),
        ("https:\\\\api.example", "a backslash"),
        ("https://api..example", "single dots"),
        ("https://.api.example", "single dots"),
        ("https://api.example./v1", "single dots"),
        ("https://.", "single dots"),
        ("https://a,b.example", "letters, digits"),
        ("https://a*b.example", "letters, digits"),
        ("https://$host", "letters, digits"),
        (f"https://{'a' * 64}.example", "letters, digits"),
        (f"https://{'a.' * 130}example", "letters, digits"),
        ("https://127.1", "ends in a number"),
        ("https://2130706433", "ends in a number"),
        ("https://0x7f000001", "ends in a number"),
        ("https://0x7f.0x1", "ends in a number"),
        ("https://127.0.0.01", "ends in a number"),
        ("https://1.2.3.4.5", "ends in a number"),
        ("https://256.1.1.1", "ends in a number"),
        ("https://[::1", "cannot be read"),
        ("https://[::1]evil", "base URL cannot be"),
        ("https://[::g]", "base URL cannot be"),
        ("https://[1::2::3]", "base URL cannot be"),
        ("https://[fe80::1%25eth0]", "base URL cannot be"),
        ("https://a:1:2", "the host is no name"),
        ("https://api.example/a/%2e%2e/b", "must not contain '.' or '..'"),
        ("https://api.example/a/%2E%2e%2fb", "must not contain '.' or '..'"),
        ("https://api.example/a/%252e%252e/b", "must not contain '.' or '..'"),
        ("https://api.example/a%00", "escaped control"),
        ("https://api.example/a%5cb", "backslash"),
        ("https://api.example/a\u2028", "a space"),
        ("https://api.example/a\u00a0b", "a space"),
        ("https://@api.example", "a user name"),
        ("http://api.example", "plain http to api.example"),
        ("http://localhost.evil.example", "plain http"),
        ("http://127.evil.example", "plain http to 127.evil.example"),
        ("http://127.0.0.1.evil.example", "plain http"),
        (f"https://ü{'a' * 70}.example", "cannot be written in ASCII"),
        (5, "must be text, not int"),
    ],
)
def test_a_base_url_that_would_do_harm_is_refused(url: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        check_base_url(url, where="x")
    assert "secret" not in str(caught.value)


def test_plain_http_to_a_network_of_ones_own_is_allowed_when_said() -> None:
    assert check_base_url("http://10.0.0.1/v1", where="x", allow_insecure_http=True) == "http://10.0.0.1/v1"
