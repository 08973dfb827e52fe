"""All settings with their defaults. Durations are in seconds and sizes in bytes."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

import attrs
from attrs import validators

from bifrost.errors import ConfigError
from bifrost.frozen import Frozen
from bifrost.misplaced_keys import hides_keys_in_init, is_surely_key
from bifrost.wire.hosts import is_loopback, read_authority
from bifrost.wire.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OnFull: TypeAlias = Literal["wait", "drop"]
"""What a call does when the provider's queue is full: wait for a place (`"wait"`) or fail with `QueueFullError`
(`"drop"`).
"""
RetrySent: TypeAlias = Literal["until_first_token", "never"]
"""Whether a request that was already sent may be retried. See `RetryConfig.retry_sent`."""
OnInterrupt: TypeAlias = Literal["raise", "restart"]
"""What happens when a stream breaks after its first content. See `CallOptions.on_interrupt`."""

KeyChoice: TypeAlias = Literal["weighted", "least_busy", "round_robin", "two_choices"]
"""How a key is chosen when several are ready. See `KeyPoolConfig.choose`."""

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
        raise ConfigError(f"{_setting_name(instance, attribute)} must be greater than 0, not {value!r}")


def _not_negative(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    _check_number(instance, attribute, value)
    if not value >= 0:
        raise ConfigError(f"{_setting_name(instance, attribute)} must be 0 or more, not {value!r}")


def _check_number(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    is_count = str(attribute.type).startswith("int")
    if isinstance(value, bool) or not isinstance(value, int if is_count else int | float):
        expected = "a whole number" if is_count else "a number"
        raise ConfigError(f"{_setting_name(instance, attribute)} must be {expected}, not {value!r}")


def _one_of(*known: str) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in known:
            raise ConfigError(
                f"{_setting_name(instance, attribute)} must be {' or '.join(map(repr, known))}, not {value!r}"
            )

    return check


def _of(kind: type) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, kind):
            raise ConfigError(
                f"{_setting_name(instance, attribute)} takes {kind.__name__}(...), not {type(value).__name__}"
            )

    return check


def _at_most_one(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    _positive(instance, attribute, value)
    if value > 1:
        raise ConfigError(f"{_setting_name(instance, attribute)} is a share and must be at most 1, not {value!r}")


def _below_one(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    _positive(instance, attribute, value)
    if value >= 1:
        raise ConfigError(f"{_setting_name(instance, attribute)} must be below 1, not {value!r}")


def _setting_name(instance: object, attribute: attrs.Attribute[Any]) -> str:
    """Return a setting's name as users write it: `timeout` (an option of a call) or `Timeouts.connect`."""
    return attribute.name if isinstance(instance, CallOptions) else f"{type(instance).__name__}.{attribute.name}"


def _policy(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(getattr(value, "choose", None)):
        raise ConfigError(
            f"{_setting_name(instance, attribute)} must have a `choose` method (see `bifrost.routing.balance.Balance`)"
        )


def check_headers(headers: Mapping[str, str], *, where: str) -> None:
    """Check header fields that a user sets. `where` names the setting in the error.

    Raises `ConfigError`, which names the field, for a name that bifrost reserves for itself and for a value with a line
    break or a control character.
    """
    if not hasattr(headers, "items"):
        raise ConfigError(f"{where}: headers must be a dict of names and values, not {type(headers).__name__}")
    given: Any = headers
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigError(f"{where}: the name and value of header {name!r} must be text ({type(value).__name__})")
        if name.lower() in _RESERVED_HEADERS:
            raise ConfigError(
                f"{where}: header {name!r} is set by bifrost itself; remove it (keys belong in the account)"
            )
        if not name or not all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in name) or not name.isascii():
            raise ConfigError(f"{where}: {name!r} is not a header name")
        if any(ord(c) < 32 or ord(c) == 127 or ord(c) > 255 for c in value if c != "\t"):
            raise ConfigError(
                f"{where}: the value of header {name!r} contains a line break or a character outside Latin-1"
            )


def check_base_url(url: str, *, where: str, allow_insecure_http: bool = False) -> str:
    """Return a base URL in normal form, without a trailing slash.

    Raises `ConfigError`, which says what is wrong, for user names, queries, fragments and malformed hosts. Plain `http`
    is accepted for loopback addresses only, unless `allow_insecure_http` is set.
    """
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may pass any type
        raise ConfigError(f"{where}: the base URL must be text, not {type(url).__name__}")
    if any(c.isspace() or not c.isprintable() or c == "\\" for c in url):
        raise ConfigError(f"{where}: the base URL contains a space, a control character or a backslash")
    parts = None
    with suppress(ValueError):
        parts = urlsplit(url)
    if parts is None:  # Raised outside the `except` block: the original error may contain the whole URL.
        raise ConfigError(f"{where}: the base URL cannot be read; write it as https://host/path")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(
            f"{where}: the base URL must be http(s)://host/path, not {parts.scheme or 'without a scheme'}"
        )
    if "@" in parts.netloc:
        raise ConfigError(f"{where}: the base URL contains a user name; pass credentials as a key instead")
    if is_surely_key(parts.netloc):
        raise ConfigError(f"{where}: the host of the base URL looks like a key; pass credentials as a key instead")
    if parts.query or parts.fragment:
        raise ConfigError(f"{where}: the base URL contains a query or fragment; use only scheme, host and path")
    try:
        host, port = read_authority(parts.netloc)
    except ValueError as error:
        raise ConfigError(f"{where}: the base URL cannot be used: {error}") from None
    _check_path(parts.path, where=where)
    if parts.scheme == "http" and not is_loopback(host) and not allow_insecure_http:
        raise ConfigError(
            f"{where}: plain http to {host} would send the key unencrypted; "
            "use https, or set allow_insecure_http=True if you control the network"
        )
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def _check_path(path: str, *, where: str) -> None:
    """Refuse a path that servers and proxies may interpret differently."""
    plain = unquote(unquote(path))
    if any(step in (".", "..") for step in plain.split("/")):
        raise ConfigError(f"{where}: the path of the base URL must not contain '.' or '..' segments")
    if not plain.isprintable() or "\\" in plain:
        raise ConfigError(f"{where}: the path of the base URL contains an escaped control character or backslash")


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Timeouts(Frozen):
    """Time limits within one attempt, in seconds. `CallOptions.timeout` limits the whole call."""

    connect: float = attrs.field(default=5.0, validator=_positive)
    """To open a connection, including the proxy, TCP and TLS. Default: 5."""

    write: float = attrs.field(default=30.0, validator=_positive)
    """For a single write to make progress while the request is being sent. Default: 30."""

    first_token: float = attrs.field(default=120.0, validator=_positive)
    """From sending the request to the head of a complete response, or to the first content of a stream. Default:
    120.
    """

    first_token_share: float = attrs.field(default=0.4, validator=_at_most_one)
    """The share of `first_token` that a stream may use while another candidate is ready. Default: 0.4."""
    idle_bytes: float = attrs.field(default=60.0, validator=_positive)
    """The longest time without any byte of a stream; heartbeats count as bytes. Default: 60."""
    idle_events: float = attrs.field(default=300.0, validator=_positive)
    """The longest time without an event of a stream; heartbeats do not count. Default: 300."""
    consumer_idle: float = attrs.field(default=300.0, validator=_positive)
    """How long an open stream may stay unread before it is closed. Default: 300."""
    error_body: float = attrs.field(default=5.0, validator=_positive)
    """How long to wait for the body of an error response, whose status is already known. Default: 5."""


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryConfig(Frozen):
    """How often a failed call is retried, and how long it waits before each retry."""

    max_retries: int = attrs.field(default=2, validator=_not_negative)
    """Retries per candidate, after its first attempt. Default: 2."""
    attempts_total: int = attrs.field(default=6, validator=_positive)
    """The most attempts of one call, over all its candidates. Default: 6."""
    backoff_base: float = attrs.field(default=0.5, validator=_positive)
    """The upper bound of the random wait before the first retry, in seconds. It doubles with each further retry.
    Default: 0.5.
    """

    backoff_cap: float = attrs.field(default=8.0, validator=_positive)
    """The largest upper bound of that wait, in seconds. Default: 8."""

    longest_wait: float = attrs.field(default=60.0, validator=_positive)
    """The longest wait that a provider's `Retry-After` may cause, in seconds. If the provider asks for more, the call
    uses another key or a fallback, or fails. Default: 60.
    """
    retry_sent: RetrySent = attrs.field(default="until_first_token", validator=_one_of("until_first_token", "never"))
    """Whether a request that was sent may be sent again when its outcome is unknown (a broken connection, a timeout, an
    unreadable response). The provider may then bill it twice. `"never"` retries only requests that were never sent and
    those that the provider refused. Default: `"until_first_token"`.
    """
    fallback_on_context_length: bool = True
    """Try the fallbacks when the request is too long for the model, since another model may have a longer context
    window. Default: `True`.
    """
    fallback_on_content_filter: bool = False
    """Try the fallbacks when the provider refuses the content with an error status. A response that contains a refusal,
    or that a filter cut short, is not an error. Default: `False`.
    """
    fallback_on_caller_error: bool = False
    """Try the fallbacks for other errors in the request itself, too (400, 413, 415, 422). Default: `False`."""


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryBudgetConfig(Frozen):
    """The retry budget of a provider, counted in tokens: a retry takes tokens out, and success puts tokens back.

    A retry that succeeds puts back what it took. Retries are therefore free while they help, and stop when they do not.
    """

    capacity: float = attrs.field(default=200.0, validator=_positive)
    """The most tokens that the budget can hold; it starts full. Default: 200."""
    retry: float = attrs.field(default=5.0, validator=_not_negative)
    """Tokens that a retry costs. 0 means that retries are not limited. Default: 5."""
    timeout: float = attrs.field(default=10.0, validator=_not_negative)
    """Tokens that a retry after a timeout costs. Default: 10."""
    hedge: float = attrs.field(default=10.0, validator=_not_negative)
    """Tokens that a hedge costs. They are never put back, because the first attempt was still running. Default: 10."""
    success: float = attrs.field(default=1.0, validator=_not_negative)
    """Tokens that are added when a call succeeds at its first attempt. Default: 1."""
    per_second: float = attrs.field(default=1.0, validator=_not_negative)
    """Tokens that are added per second. Default: 1."""


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class BreakerConfig(Frozen):
    """When a circuit breaker opens, and for how long it stays open.

    There are two kinds of breakers with these settings: one per address (refused connections, TLS failures, unknown
    hosts) and one per model (5xx, overload, timeouts, stalled or broken streams).
    """

    enabled: bool = True
    """Whether the breakers are used at all. Default: `True`."""

    per_model: bool = True
    """Keep a breaker for each of the provider's models. `False`: one breaker for all of them. Default: `True`."""
    window: float = attrs.field(default=30.0, validator=_positive)
    """How long an outcome counts, in seconds. Default: 30."""
    calls: int = attrs.field(default=20, validator=_positive)
    """The number of outcomes within the window from which on the failure rate counts. Default: 20."""
    failures: float = attrs.field(default=0.5, validator=_at_most_one)
    """The failure rate, between 0 and 1, that opens the breaker. Default: 0.5."""
    in_a_row: int = attrs.field(default=5, validator=_positive)
    """The number of consecutive failures that opens a model's breaker while there are fewer outcomes than `calls`.
    Default: 5.
    """
    unreachable: int = attrs.field(default=5, validator=_positive)
    """The number of consecutive attempts that could not connect that opens the breaker of an address. Default: 5."""
    open: float = attrs.field(default=5.0, validator=_positive)
    """How long the breaker stays open the first time, in seconds, plus or minus 20 %. The time doubles whenever a probe
    fails. Default: 5.
    """
    longest_open: float = attrs.field(default=60.0, validator=_positive)
    """The longest time that the breaker stays open, in seconds. A probe that takes longer no longer blocks the next
    one. Default: 60.
    """
    longest_open_with_fallback: float = attrs.field(default=8.0, validator=_positive)
    """The longest time that the breaker stays open for calls that have another candidate after this one, in seconds.
    Such a call loses little by trying. Default: 8.
    """
    successes: int = attrs.field(default=2, validator=_positive)
    """The number of successful probes that closes the breaker. Default: 2."""


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class HedgeConfig(Frozen):
    """When a slow call that does not stream is sent a second time while the first attempt continues.

    The provider bills both.

    A call is slow when it takes longer than most of the last 200 responses for the same operation and model. At least
    20 of them must be known.
    """

    percentile: float = attrs.field(default=0.95, validator=_at_most_one)
    """The percentile of the response times that counts as slow, between 0 and 1. Default: 0.95."""
    floor: float = attrs.field(default=1.0, validator=_positive)
    """A call that has taken less than this is never slow, in seconds. Default: 1."""
    share: float = attrs.field(default=0.05, validator=_at_most_one)
    """The most hedges, as a share of all other attempts. Default: 0.05."""
    same_key: bool = False
    """Use the same key for the hedge when no other key is ready. With `False` there is no hedge in that case. Default:
    `False`.
    """
    other_candidate: bool = False
    """Send the hedge to another candidate of the call that is ready: another member of its model group, or a fallback.
    With `False` it goes to the same provider and model, with another key. Default: `False`.
    """


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class AdaptiveConfig(Frozen):
    """An adaptive concurrency limit, which follows what the provider can handle.

    The limit is between 1 and `ProviderConfig.concurrency`. Rate limits, overload and timeouts of attempts lower it, at
    most once per round trip. A round trip of successful responses that used most of the limit raises it by one.
    """

    factor: float = attrs.field(default=0.9, validator=_below_one)
    """The factor that lowers the limit, between 0 and 1. Default: 0.9."""
    used: float = attrs.field(default=0.8, validator=_at_most_one)
    """The share of the limit that must have been in use at once before the limit rises. Default: 0.8."""
    start: int | None = attrs.field(default=None, validator=validators.optional(_positive))
    """The limit at the beginning. `None` means `concurrency`. Default: `None`."""


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class KeyPoolConfig(Frozen):
    """How a provider's keys are chosen, and what happens to a key that is rate-limited or refused."""

    choose: KeyChoice = attrs.field(
        default="weighted",
        validator=_one_of("weighted", "least_busy", "round_robin", "two_choices"),
    )
    """How one of the ready keys is chosen. `"weighted"` (default): at random, by weight. `"least_busy"`: the key with
    the fewest requests in flight relative to its weight. `"round_robin"`: in turn. `"two_choices"`: the less busy of
    two that are drawn by weight.
    """
    policy: Any = attrs.field(default=None, validator=_policy, metadata={"in_files": False})
    """A `Balance` of your own, in place of `choose`. Use one object per provider, because it may keep state. `None`:
    `choose` applies.
    """
    per_model: bool = False
    """Let a rate-limited key cool down for the affected model only, for providers that limit each model separately.
    Default: `False`.
    """
    park_base: float = attrs.field(default=1.0, validator=_positive)
    """How long a rate-limited key cools down at most, in seconds, when the provider does not say how long. The time
    doubles with each further rate limit. Default: 1.
    """
    park_cap: float = attrs.field(default=60.0, validator=_positive)
    """The longest such time, in seconds. Default: 60."""
    revive: float = attrs.field(default=600.0, validator=_positive)
    """How long a refused key is not used, in seconds. It is tried at once when the account returns a new value for it.
    Default: 600.
    """
    refresh_before: float = attrs.field(default=300.0, validator=_not_negative)
    """How long before its expiry a token of `Key.credentials` is fetched anew, in seconds, but not before half of its
    lifetime has passed. Default: 300.
    """
    longest_wait: float = attrs.field(default=30.0, validator=_not_negative)
    """The longest total time that a call without a fallback waits for a key while all of them are cooling down, in
    seconds. Default: 30.
    """


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class SizeLimits(Frozen):
    """The largest sizes that are accepted from a provider, in bytes after decompression.

    More raises `ResponseTooLargeError`.
    """

    body: int = attrs.field(default=64 * 1024 * 1024, validator=_positive)
    """A complete response. Default: 64 MiB."""

    error_body: int = attrs.field(default=64 * 1024, validator=_positive)
    """The body of an error response; the rest is cut off. Default: 64 KiB."""

    event: int = attrs.field(default=8 * 1024 * 1024, validator=_positive)
    """One event of a stream. Default: 8 MiB."""

    stream: int = attrs.field(default=256 * 1024 * 1024, validator=_positive)
    """A whole stream. Default: 256 MiB."""

    preamble: int = attrs.field(default=64 * 1024, validator=_positive)
    """The events that are buffered before the first content of a stream; comments do not count. Default: 64 KiB."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallOptions(Frozen):
    """Options of a call. They can be set on the client, with `with_options`, and on a single call."""

    timeout: float = attrs.field(default=600.0, validator=_positive)
    """The time limit of the whole call in seconds: queue, hooks, every attempt, waits, fallbacks and the stream.
    Default: 600.
    """
    max_retries: int | None = attrs.field(default=None, validator=validators.optional(_not_negative))
    """Retries per candidate, after its first attempt. `None` means `RetryConfig.max_retries` of the provider."""
    fallbacks: tuple[str, ...] = ()
    """The `provider/model` names to try, in order, when the first model fails. Default: none."""
    extra_headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Header fields that are added to every request of the call. Default: none."""

    key: str | None = None
    """The name or id of the only key that may be used. `None`: any key of the provider."""
    session: str | None = None
    """An identifier of the conversation. Calls of one session use the same key while it is ready, because providers
    keep their prompt caches per key. `None`: no session.
    """
    on_interrupt: OnInterrupt = "raise"
    """What happens when a stream breaks after its first content. `"raise"` (default) raises the error. `"restart"`
    sends the request again, within the limits of retries and fallbacks: the stream yields a `StreamReset` and then the
    new response from its beginning.
    """

    def __attrs_post_init__(self) -> None:
        # Checked here and not by a validator, since these options are made for nearly every call and each validator
        # costs a function call.
        if self.on_interrupt not in ("raise", "restart"):
            raise ConfigError(f"on_interrupt must be 'raise' or 'restart', not {self.on_interrupt!r}")
        check_headers(self.extra_headers, where="extra_headers")


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConnectionConfig(Frozen):
    """How long connections to a provider are reused."""

    idle: float = attrs.field(default=30.0, validator=_positive)
    """How long an unused connection stays open, in seconds. Default: 30."""

    age: float = attrs.field(default=300.0, validator=_positive)
    """The longest lifetime of a connection, in seconds, plus or minus 20 %. Default: 300."""
    requests: int = attrs.field(default=1000, validator=_positive)
    """The most requests that are sent on one connection. Default: 1000."""


PROXY_PORTS: Mapping[str, int] = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""The schemes that a proxy's address may have, and the default port of each."""


def check_proxy(address: str, *, where: str) -> None:
    """Check that a setting is `environment`, `none` or the address of a proxy.

    Raises `ConfigError`, which does not contain the address.
    """
    if address in ("environment", "none"):
        return
    expected = "write http://host:port, https://host:port or socks5://host:port; or environment, or none"
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if "@" in parts.netloc:
        raise ConfigError(f"{where}: the proxy's address contains a user name; set proxy_auth to user:password instead")
    problem = "" if parts.scheme in PROXY_PORTS else "this is not the address of a proxy"
    try:
        read_authority(parts.netloc)
    except ValueError:
        problem = "this is not the address of a proxy"
    if problem or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(f"{where}: this is not the address of a proxy; {expected}")


def _proxy(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    check_proxy(value if isinstance(value, str) else "", where=_setting_name(instance, attribute))


def _user_agent(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value.strip():
        raise ConfigError(f"{_setting_name(instance, attribute)}: write printable ASCII such as my-app/1.0")


def _text(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"{_setting_name(instance, attribute)} must be text, not {type(value).__name__}")


def _flag(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{_setting_name(instance, attribute)} must be True or False, not {value!r}")


def _check_context(context: ssl.SSLContext) -> None:
    """Check that a context verifies certificates and host names, and requires TLS 1.2 or newer."""
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ConfigError(
            "NetworkConfig.ssl_context: it does not verify certificates and host names, so others could read "
            "the keys; to trust your own certificate, set ca to its authority"
        )
    oldest = context.minimum_version
    if oldest is not ssl.TLSVersion.MAXIMUM_SUPPORTED and oldest < ssl.TLSVersion.TLSv1_2:
        raise ConfigError("NetworkConfig.ssl_context: it allows versions older than TLS 1.2; set its minimum_version")


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class NetworkConfig(Frozen):
    """The network between here and one provider: proxy, certificates, user agent and HTTP version."""

    proxy: str = attrs.field(default="environment", validator=_proxy)
    """`"environment"` (default) uses the proxy that the environment variables name, `"none"` uses no proxy. Otherwise
    the address of a proxy: `http://host:port`, `https://...` or `socks5://...`.
    """
    proxy_auth: Secret | None = attrs.field(default=None, repr=False, validator=validators.optional(_of(Secret)))
    """The user name and password for the proxy in `proxy`, as `user:password`. `None`: no authentication."""
    ca: str | None = attrs.field(default=None, repr=False, validator=validators.optional(_text))
    """The certificate authorities to trust instead of the usual ones: a file or folder of PEM certificates, or their
    text. `None`: the usual ones.
    """
    client_certificate: str | None = attrs.field(default=None, validator=validators.optional(_text))
    """A PEM file with the client certificate, and with its private key unless `client_key` names another file. `None`:
    no client certificate.
    """
    client_key: str | None = attrs.field(default=None, validator=validators.optional(_text))
    """A PEM file with the private key of `client_certificate`. `None`: the key is in the same file."""

    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, metadata={"in_files": False}, validator=validators.optional(_of(ssl.SSLContext))
    )
    """An SSL context to use instead of `ca`, `client_certificate` and `client_key`. It must verify certificates and
    host names.
    """
    user_agent: str | None = attrs.field(default=None, validator=validators.optional(_user_agent))
    """The name and version of your application, `my-app/1.0` for example. It precedes bifrost's own in the `User-Agent`
    field.
    """
    http2: bool = attrs.field(default=False, validator=_flag)
    """Use HTTP/2 with providers that offer it, over few connections that requests share (experimental, https only).
    Default: `False`.
    """
    streams_per_connection: int = attrs.field(default=100, validator=_positive)
    """The most concurrent requests on one HTTP/2 connection. Default: 100."""

    def __attrs_post_init__(self) -> None:
        if self.proxy_auth is not None and self.proxy in ("environment", "none"):
            raise ConfigError("NetworkConfig.proxy_auth: it needs the address of a proxy; set proxy, too")
        if self.client_key is not None and self.client_certificate is None:
            raise ConfigError("NetworkConfig.client_key: it needs a certificate; set client_certificate, too")
        if self.ssl_context is not None:
            if self.ca is not None or self.client_certificate is not None:
                raise ConfigError(
                    "NetworkConfig.ssl_context: it replaces ca and client_certificate; set only one of them"
                )
            _check_context(self.ssl_context)


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ProviderConfig(Frozen):
    """The settings of one provider: its address, concurrency and queue, retries, limits and network."""

    base_url: str | None = None
    """The URL to use instead of the provider's own. `None`: the provider's own."""
    allow_insecure_http: bool = False
    """Allow plain `http` to another machine, or through a proxy on another machine. Set it only for a network that you
    control. Default: `False`.
    """
    extra_headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Header fields that are added to every request to this provider. Default: none."""

    idempotency_header: str | None = None
    """The header by which a gateway of yours recognises a repeated request, `Idempotency-Key` for example. All attempts
    of a call at this provider send the same value, and no other call sends it. `None`: the header that the vendor
    documents, if there is one.
    """
    concurrency: int = attrs.field(default=256, validator=_positive)
    """The most concurrent requests. Default: 256."""
    adaptive: AdaptiveConfig | None = attrs.field(default=None, validator=validators.optional(_of(AdaptiveConfig)))
    """Adapts the number of concurrent requests to what the provider can handle, up to `concurrency`. `None` (default):
    the limit is `concurrency`.
    """
    queue: int = attrs.field(default=10_000, validator=_not_negative)
    """The most callers that wait for one of these places. Default: 10,000."""
    on_full: OnFull = attrs.field(default="wait", validator=_one_of("wait", "drop"))
    """What happens when the queue is full: `"wait"` (default) waits for a place, `"drop"` raises `QueueFullError`."""

    queue_timeout: float | None = attrs.field(default=None, validator=validators.optional(_positive))
    """The longest wait in the queue, in seconds. `None` (default): until the deadline of the call."""
    stream_share: float = attrs.field(default=0.75, validator=_at_most_one)
    """The share of `concurrency` (of the current limit with `adaptive`), and of `queue`, that streams may use. Default:
    0.75.
    """
    worker_idle: float = attrs.field(default=60.0, validator=_positive)
    """How long an idle worker is kept, in seconds. Default: 60."""
    timeouts: Timeouts = attrs.field(factory=Timeouts, validator=_of(Timeouts))
    """Time limits within an attempt."""

    retry: RetryConfig = attrs.field(factory=RetryConfig, validator=_of(RetryConfig))
    """How often a call is retried, and after which waits."""

    retry_budget: RetryBudgetConfig = attrs.field(factory=RetryBudgetConfig, validator=_of(RetryBudgetConfig))
    """How much retries may cost."""

    breaker: BreakerConfig = attrs.field(factory=BreakerConfig, validator=_of(BreakerConfig))
    """When the provider's circuit breakers open."""

    hedge: HedgeConfig | None = attrs.field(default=None, validator=validators.optional(_of(HedgeConfig)))
    """When a slow call is sent a second time. `None` (default): never."""
    key_pool: KeyPoolConfig = attrs.field(factory=KeyPoolConfig, validator=_of(KeyPoolConfig))
    """How a key is chosen, and how long it cools down."""

    size_limits: SizeLimits = attrs.field(factory=SizeLimits, validator=_of(SizeLimits))
    """The largest sizes that are accepted from the provider."""

    connections: ConnectionConfig = attrs.field(factory=ConnectionConfig, validator=_of(ConnectionConfig))
    """How long connections are reused."""

    cache_lifetime: float = attrs.field(default=300.0, validator=_not_negative)
    """How long the provider's prompt cache lasts, in seconds. For that time, calls of a session prefer the same
    provider and key. Default: 300.
    """
    network: NetworkConfig = attrs.field(factory=NetworkConfig, validator=_of(NetworkConfig))
    """Proxy, certificates and HTTP version."""

    def __attrs_post_init__(self) -> None:
        check_headers(self.extra_headers, where="ProviderConfig.extra_headers")
        if self.idempotency_header is not None:
            check_headers({self.idempotency_header: ""}, where="ProviderConfig.idempotency_header")
        if self.base_url is not None:
            check_base_url(self.base_url, where="ProviderConfig.base_url", allow_insecure_http=self.allow_insecure_http)
