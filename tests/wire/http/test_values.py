from __future__ import annotations

from bifrost.wire.http import Headers, HttpRequest, HttpResponse


def test_headers_are_looked_up_without_regard_to_case() -> None:
    headers = Headers([(b"Content-Type", b"text/plain"), (b"X-Id", b"1"), (b"x-ID", b"2")])
    assert headers.get("content-TYPE") == "text/plain"
    assert headers.get("x-id") == "1"
    assert headers.all("X-Id") == ["1", "2"]


def test_a_header_that_is_not_there_is_none() -> None:
    headers = Headers()
    assert headers.get("x-id") is None
    assert headers.all("x-id") == []
    assert len(headers) == 0


def test_what_all_gives_can_be_changed_without_changing_the_headers() -> None:
    headers = Headers.of(("a", "1"))
    headers.all("a").append("2")
    assert headers.all("a") == ["1"]


def test_headers_are_listed_in_order_with_lower_case_names() -> None:
    headers = Headers.of(("B", "1"), ("A", "2"), ("b", "3"))
    assert list(headers) == [("b", "1"), ("a", "2"), ("b", "3")]
    assert len(headers) == 3


def test_any_bytes_of_a_header_are_read() -> None:
    assert Headers([(b"X-\xe9", b"\xff\x00")]).get("x-\xe9") == "\xff\x00"


def test_no_repr_shows_a_header_value_or_a_body() -> None:
    headers = Headers.of(("set-cookie", "canary"))
    request = HttpRequest(
        method="POST", path="/v1\r\n", headers={"x-api-key": "canary"}, body=b"canary", source="canary"
    )
    response = HttpResponse(status=200, headers=headers, body=b"canary")
    assert repr(headers) == "Headers(1 fields)"
    assert repr(request) == r"HttpRequest(POST '/v1\r\n', headers=['x-api-key'], 6 bytes)"
    assert repr(response) == "HttpResponse(200, Headers(1 fields), 6 bytes)"


def test_two_requests_do_not_share_their_headers() -> None:
    first = HttpRequest(method="GET", path="/")
    first.headers["a"] = "1"
    assert HttpRequest(method="GET", path="/").headers == {}
