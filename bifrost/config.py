"""Every knob, once, with its default. Durations are in seconds, sizes in bytes."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import attrs
from attrs import validators

from bifrost.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OnFull: TypeAlias = Literal["wait", "drop"]
RetrySent: TypeAlias = Literal["until_first_token", "never"]

_RESERVED_HEADERS = frozenset(
    [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "cookie",
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "accept-encoding",
    ]
)


def _positive(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    _check_number(instance, attribute, value)
    if not value > 0:
        raise ConfigError(f"{_named(instance, attribute)} must be greater than 0, not {value!r}")


def _not_negative(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    _check_number(instance, attribute, value)
    if not value >= 0:
        raise ConfigError(f"{_named(instance, attribute)} must be 0 or more, not {value!r}")


def _check_number(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    is_count = str(attribute.type).startswith("int")
    if isinstance(value, bool) or not isinstance(value, int if is_count else int | float):
        wanted = "a whole number" if is_count else "a number"
        raise ConfigError(f"{_named(instance, attribute)} must be {wanted}, not {value!r}")


def _one_of(*known: str) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in known:
            raise ConfigError(f"{_named(instance, attribute)} must be {' or '.join(map(repr, known))}, not {value!r}")

    return check


def _of(kind: type) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, kind):
            raise ConfigError(f"{_named(instance, attribute)} takes {kind.__name__}(...), not {type(value).__name__}")

    return check


def _share(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    _positive(instance, attribute, value)
    if value > 1:
        raise ConfigError(f"{_named(instance, attribute)} is a share, so at most 1, not {value!r}")


def _named(instance: object, attribute: attrs.Attribute[Any]) -> str:
    """Give a setting's name as its user writes it: options of a call are arguments, the others fields of a class."""
    return attribute.name if isinstance(instance, CallOptions) else f"{type(instance).__name__}.{attribute.name}"


def check_headers(headers: Mapping[str, str], *, where: str) -> None:
    """Refuse header fields that would break the framing or replace the credential.

    Raises `ConfigError` naming the field: names reserved to the library, values with line breaks or control
    characters. `where` says what was being set.
    """
    if not hasattr(headers, "items"):
        raise ConfigError(f"{where}: headers are a dict of names and values, not {type(headers).__name__}")
    given: Any = headers
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigError(f"{where}: header {name!r} is not text, or its value is not ({type(value).__name__})")
        if name.lower() in _RESERVED_HEADERS:
            raise ConfigError(
                f"{where}: header {name!r} is set by bifrost itself; take it out (keys belong to the account)"
            )
        if not name or not all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in name) or not name.isascii():
            raise ConfigError(f"{where}: {name!r} is not a header name")
        if any(ord(c) < 32 or ord(c) == 127 or ord(c) > 255 for c in value if c != "\t"):
            raise ConfigError(
                f"{where}: the value of header {name!r} holds a line break or a character outside Latin-1"
            )


def check_base_url(url: str, *, where: str, allow_insecure_http: bool = False) -> str:
    """Give a base address without trailing slash, or raise `ConfigError` saying what is wrong with it.

    Plain http is for loopback only, unless `allow_insecure_http`; user names, queries and fragments are refused.
    """
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers give anything
        raise ConfigError(f"{where}: the base URL is text, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        name = "" if host is None or host.isascii() else host.encode("idna").decode()
    except ValueError:
        raise ConfigError(f"{where}: the base URL cannot be read; write it as https://host/path") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(
            f"{where}: the base URL must be http(s)://host/path, not {parts.scheme or 'without a scheme'}"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{where}: the base URL holds a user name; give credentials as a key instead")
    if parts.query or parts.fragment:
        raise ConfigError(f"{where}: the base URL holds a query or fragment; give only scheme, host and path")
    if any(step in (".", "..") for step in parts.path.split("/")):
        raise ConfigError(f"{where}: the path of the base URL must not climb with '..'")
    if any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise ConfigError(f"{where}: the base URL holds a blank or control character")
    if parts.scheme == "http" and not _is_loopback(host) and not allow_insecure_http:
        raise ConfigError(
            f"{where}: plain http to {host} would send the key readable to everyone on the way; "
            "use https, or set allow_insecure_http=True if the network is yours"
        )
    name = name or host
    place = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{place}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _is_loopback(host: str) -> bool:
    """Say whether a host is this machine. A name that only looks like such an address (127.example.com) is not."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@attrs.frozen(kw_only=True)
class Timeouts:
    """Limits of waiting inside an attempt. The call as a whole has `CallOptions.timeout`."""

    connect: float = attrs.field(default=5.0, validator=_positive)
    write: float = attrs.field(default=30.0, validator=_positive)
    first_token: float = attrs.field(default=120.0, validator=_positive)
    idle_bytes: float = attrs.field(default=60.0, validator=_positive)
    """The longest silence of a stream, heartbeats counted as life."""
    idle_events: float = attrs.field(default=300.0, validator=_positive)
    """The longest time of a stream without an event."""
    consumer_idle: float = attrs.field(default=300.0, validator=_positive)
    """How long an open stream may be left unread before it is ended."""


@attrs.frozen(kw_only=True)
class RetryConfig:
    """How often and after what waits a call is tried again."""

    max_retries: int = attrs.field(default=2, validator=_not_negative)
    """Further attempts per provider after the first."""
    attempts_total: int = attrs.field(default=6, validator=_positive)
    """Attempts of one call over all its candidates."""
    backoff_base: float = attrs.field(default=0.5, validator=_positive)
    backoff_cap: float = attrs.field(default=8.0, validator=_positive)
    longest_wait: float = attrs.field(default=60.0, validator=_positive)
    """A provider's hint above this is not slept through: another key, a fallback, or the error."""
    retry_sent: RetrySent = attrs.field(default="until_first_token", validator=_one_of("until_first_token", "never"))
    """Whether a request that went out may be sent again when nothing tells what became of it (a cut, a time limit, an
    answer that cannot be read): the provider may bill it twice. `"never"` leaves retries to those that were never sent
    and those that the provider refused."""
    fallback_on_caller_error: bool = False
    """Try the fallbacks also when the provider calls the request itself wrong (400, 413, 422, context length)."""


@attrs.frozen(kw_only=True)
class Limits:
    """Sizes of what a provider may send."""

    body: int = attrs.field(default=64 * 1024 * 1024, validator=_positive)
    error_body: int = attrs.field(default=64 * 1024, validator=_positive)
    event: int = attrs.field(default=8 * 1024 * 1024, validator=_positive)
    stream: int = attrs.field(default=256 * 1024 * 1024, validator=_positive)
    preamble: int = attrs.field(default=64 * 1024, validator=_positive)
    """What is held back of a stream before its first content."""


@attrs.frozen(kw_only=True)
class CallOptions:
    """What a call may set for itself: given to the client, to `with_options`, or to one call."""

    timeout: float = attrs.field(default=600.0, validator=_positive)
    """The whole call: queue, hooks, every attempt, waits, fallbacks and the stream."""
    max_retries: int | None = attrs.field(default=None, validator=validators.optional(_not_negative))
    """Further attempts per provider; `None`: what the provider's config says."""
    fallbacks: tuple[str, ...] = ()
    """`provider/model` names to try, in order, when the first cannot serve."""
    extra_headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    key: str | None = None
    """Use the key with this name or id and no other."""

    def __attrs_post_init__(self) -> None:
        check_headers(self.extra_headers, where="extra_headers")


@attrs.frozen(kw_only=True)
class ConnectionConfig:
    """How connections to a provider are kept."""

    idle: float = attrs.field(default=30.0, validator=_positive)
    age: float = attrs.field(default=300.0, validator=_positive)
    """The longest life of a connection, give or take 20 %."""
    requests: int = attrs.field(default=1000, validator=_positive)
    """The most requests on one connection."""


@attrs.frozen(kw_only=True)
class ProviderConfig:
    """How one provider is used: where it is, how much at once, what happens when that is not enough."""

    base_url: str | None = None
    """Another address than the provider's own."""
    allow_insecure_http: bool = False
    extra_headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    concurrency: int = attrs.field(default=256, validator=_positive)
    """The most exchanges at once."""
    queue: int = attrs.field(default=10_000, validator=_not_negative)
    """The most callers waiting for one of them."""
    on_full: OnFull = attrs.field(default="wait", validator=_one_of("wait", "drop"))
    queue_timeout: float | None = attrs.field(default=None, validator=validators.optional(_positive))
    """The longest wait for a free exchange; `None`: until the call's deadline."""
    stream_share: float = attrs.field(default=0.75, validator=_share)
    """The share of `concurrency` that open streams may hold."""
    worker_idle: float = attrs.field(default=60.0, validator=_positive)
    """How long a worker without a job is kept."""
    timeouts: Timeouts = attrs.field(factory=Timeouts, validator=_of(Timeouts))
    retry: RetryConfig = attrs.field(factory=RetryConfig, validator=_of(RetryConfig))
    limits: Limits = attrs.field(factory=Limits, validator=_of(Limits))
    connections: ConnectionConfig = attrs.field(factory=ConnectionConfig, validator=_of(ConnectionConfig))

    def __attrs_post_init__(self) -> None:
        check_headers(self.extra_headers, where="ProviderConfig.extra_headers")
        if self.base_url is not None:
            check_base_url(self.base_url, where="ProviderConfig.base_url", allow_insecure_http=self.allow_insecure_http)
