"""Signature Version 4 against AWS's published test suite, and against signatures that botocore 1.44.8 makes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bifrost.errors import ConfigError, InvalidKeyError, InvalidRequestError
from bifrost.wire.auth.sigv4 import SigV4Auth, canonical_request, signing_key, string_to_sign
from bifrost.wire.http import HttpRequest
from bifrost.wire.secrets import Secret
from tests.table import table

MOMENT = "20150830T123600Z"
NOW = 1440938160.0
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SCOPE = "20150830/us-east-1/service/aws4_request"
HOST = {"host": "example.amazonaws.com", "x-amz-date": MOMENT}


def signature(request: HttpRequest, headers: dict[str, str]) -> str:
    import hmac

    text = string_to_sign(canonical_request(request, headers), moment=MOMENT, scope=SCOPE)
    return hmac.digest(signing_key(Secret(SECRET), scope=SCOPE), text.encode(), "sha256").hex()


@table(
    ("method", "path", "headers", "body", "expected"),
    [
        ("GET", "/", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            {},
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            {},
            b"",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        ("POST", "/", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "POST",
            "/",
            {"content-type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "GET",
            "/",
            {"My-Header1": " value1", "My-Header2": ' "a   b   c"'},
            b"",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        ("GET", "/./", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("GET", "/foo/bar/../..", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ],
)
def test_the_published_vectors(method: str, path: str, headers: dict[str, str], body: bytes, expected: str) -> None:
    request = HttpRequest(method=method, path=path, body=body)
    assert signature(request, {**HOST, **headers}) == expected


ARN = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Feu.anthropic.claude-v1%3A0"
BEDROCK = [
    (
        "POST",
        "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse",
        b'{"messages":[]}',
        None,
        "6ba5765f5a30fcd59996cd7173bd09ac5e49d5216c3162051f885b11e7fc8e3d",
    ),
    (
        "POST",
        f"/model/{ARN}/converse-stream",
        b"{}",
        "SESSION/TOKEN+x==",
        "27388be88c3c91d7f025ff4074b79ec742425001b39435842995471131921197",
    ),
    (
        "GET",
        "/foundation-models?byProvider=a%20b&byOutputModality=TEXT",
        b"",
        None,
        "b40e4ea3177e14ba31270f5fab9c811a122fe4270868c8b8d156d49f25d8dc96",
    ),
    (
        "POST",
        "/model/a:b c/invoke",
        b"\x00\xff",
        None,
        "0dc00b1827c20692f9cf84892deda9e9e5b3a21ccab37848b9f1119143297f26",
    ),
]


def signed(method: str, path: str, body: bytes, token: str | None, *, settings: Any = None) -> HttpRequest:
    request = HttpRequest(method=method, path=path, headers={"content-type": "application/json"}, body=body)
    credential = Secret(":".join(["AKIDEXAMPLE", SECRET, *([token] if token else [])]))
    auth = SigV4Auth(service="bedrock", region=None if settings else "eu-west-1")
    auth.sign(request, credential, now=NOW, host="bedrock-runtime.eu-west-1.amazonaws.com", settings=settings)
    return request


@table(("method", "path", "body", "token", "expected"), BEDROCK)
def test_requests_of_bedrock_are_signed_as_botocore_does(
    method: str, path: str, body: bytes, token: str | None, expected: str
) -> None:
    request = signed(method, path, body, token)
    names = "content-type;host;x-amz-date" + (";x-amz-security-token" if token else "")
    assert request.headers["authorization"].encode().decode() == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/bedrock/aws4_request, "
        f"SignedHeaders={names}, Signature={expected}"
    )
    assert request.headers["x-amz-date"] == MOMENT


def test_the_signed_query_is_escaped_whether_that_of_the_request_is_or_not() -> None:
    paths = ("/m?b=c/d:e&a=1", "/m?b=c%2Fd%3Ae&a=1", "/m?a=1&b=c%2fd%3ae")
    signed = {canonical_request(HttpRequest(method="GET", path=path), {"host": "h"}) for path in paths}
    (only,) = signed
    assert only.split(b"\n")[2] == b"a=1&b=c%2Fd%3Ae"


def test_a_signed_request_shows_neither_key_nor_token() -> None:
    request = signed("POST", "/model/m/converse", b"{}", "SESSION/TOKEN+x==")
    told = f"{request!r} {request.headers} {dict(request.headers)!r}"
    for secret in ("AKIDEXAMPLE", "wJalrXUtnFEMI", "SESSION/TOKEN"):
        assert secret not in told


def test_the_region_of_the_keys_settings_counts() -> None:
    method, path, body, _, expected = BEDROCK[0]
    request = signed(method, path, body, None, settings=SimpleNamespace(region="eu-west-1"))
    assert request.headers["authorization"].encode().decode().endswith(expected)
    with pytest.raises(ConfigError, match="region"):
        SigV4Auth(service="bedrock").sign(
            HttpRequest(method="GET", path="/"), Secret(f"A:{SECRET}"), now=NOW, host="h", settings=None
        )


@table("value", ["AKIDEXAMPLE", "A:", ":B", "A:B:", "A:B:C:D", "A:B c"])
def test_a_value_of_another_form_is_refused_without_being_shown(value: str) -> None:
    request = HttpRequest(method="GET", path="/")
    with pytest.raises(InvalidKeyError, match="ACCESS_KEY_ID:SECRET_ACCESS_KEY") as caught:
        SigV4Auth(service="s", region="r").sign(request, Secret(value), now=NOW, host="h", settings=None)
    assert value not in str(caught.value)
    assert request.headers == {}


def test_without_a_credential_nothing_is_signed() -> None:
    request = HttpRequest(method="GET", path="/")
    SigV4Auth(service="s").sign(request, None, now=NOW, host="h", settings=None)
    assert request.headers == {}


def test_a_header_that_cannot_be_sent_is_named_without_its_value() -> None:
    request = HttpRequest(method="POST", path="/model/m/converse", headers={"x-amz-note": "hunter\u2603"})
    with pytest.raises(InvalidRequestError, match="'x-amz-note' has a character outside Latin-1") as caught:
        SigV4Auth(service="bedrock", region="us-east-1").sign(
            request, Secret("AKIA:secret"), now=0.0, host="h", settings=None
        )
    assert caught.value.__context__ is None
    assert "hunter" not in str(caught.value)
