from __future__ import annotations

import pytest

from bifrost.wire.hosts import is_loopback, read_authority
from tests.table import table


@table(
    ("authority", "host", "port"),
    [
        ("api.example", "api.example", None),
        ("API.example:443", "api.example", 443),
        ("localhost:", "localhost", None),
        ("my_host-1:65535", "my_host-1", 65535),
        ("10.0.0.7:8080", "10.0.0.7", 8080),
        ("[2001:DB8:0::1]:443", "2001:db8::1", 443),
        ("1.2.3.4.example", "1.2.3.4.example", None),
        ("bücher.example", "xn--bcher-kva.example", None),
        ("api\uff0eexample", "api.example", None),
    ],
)
def test_a_host_and_its_port(authority: str, host: str, port: int | None) -> None:
    assert read_authority(authority) == (host, port)


@table(
    ("authority", "problem"),
    [
        ("", "no name and no IP address"),
        ("user@api.example", "no name and no IP address"),
        ("[::1]evil", "no name and no IP address"),
        ("[::g]", "no name and no IP address"),
        ("[fe80::1%eth0]", "no name and no IP address"),
        ("::1", "no name and no IP address"),
        ("[1::2::3]", "no IPv6 address"),
        ("[127.0.0.1]", "no IPv6 address"),
        ("api..example", "single dots"),
        ("api.example.", "single dots"),
        ("a b", "letters, digits"),
        ("a\nb", "letters, digits"),
        ("api.example\n", "letters, digits"),
        ("a%2eb", "letters, digits"),
        ("a\\b", "letters, digits"),
        ("a/b", "letters, digits"),
        ("127.1", "ends in a number"),
        ("0X7F", "ends in a number"),
        ("127.0.0.1.0x1", "ends in a number"),
        (f"ü{'a' * 70}", "ASCII"),
        ("api.example:0", "from 1 to 65535"),
        ("api.example:00000", "from 1 to 65535"),
        ("api.example:65536", "from 1 to 65535"),
        ("api.example:" + "1" * 6000, "from 1 to 65535"),
    ],
)
def test_anything_else_is_refused_and_not_shown(authority: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        read_authority(authority)
    assert not authority or authority not in str(caught.value)


@table("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@table("host", ["localhost.example", "127.example", "::", "10.0.0.1"])
def test_another_machine(host: str) -> None:
    assert not is_loopback(host)
