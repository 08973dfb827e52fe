"""Every knob, once, with its default. Durations are in seconds, sizes in bytes."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

import attrs
from attrs import validators

from bifrost.errors import ConfigError
from bifrost.frozen import Frozen
from bifrost.misplaced_keys import hides_keys_given_to, is_surely_key
from bifrost.wire.auth import Secret
from bifrost.wire.hosts import is_loopback, read_authority

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OnFull: TypeAlias = Literal["wait", "drop"]
RetrySent: TypeAlias = Literal["until_first_token", "never"]
OnInterrupt: TypeAlias = Literal["raise", "restart"]

KeyChoice: TypeAlias = Literal["weighted", "least_busy", "round_robin", "two_choices"]
"""How one of several ready keys is chosen."""

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


def _below_one(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    _positive(instance, attribute, value)
    if value >= 1:
        raise ConfigError(f"{_named(instance, attribute)} must be below 1, not {value!r}")


def _named(instance: object, attribute: attrs.Attribute[Any]) -> str:
    """Give a setting's name as its user writes it: options of a call are arguments, the others fields of a class."""
    return attribute.name if isinstance(instance, CallOptions) else f"{type(instance).__name__}.{attribute.name}"


def _policy(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(getattr(value, "choose", None)):
        raise ConfigError(
            f"{_named(instance, attribute)} must have a `choose`, as `bifrost.routing.balance.Balance` says"
        )


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
    """Return a base address in one form, without trailing slash. Raises `ConfigError` saying what is wrong with it.

    Plain http is for loopback only, unless `allow_insecure_http`; user names, queries, fragments and odd hosts are
    refused.
    """
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers give anything
        raise ConfigError(f"{where}: the base URL is text, not {type(url).__name__}")
    if any(c.isspace() or not c.isprintable() or c == "\\" for c in url):
        raise ConfigError(f"{where}: the base URL holds a blank, a control character or a backslash")
    parts = None
    with suppress(ValueError):
        parts = urlsplit(url)
    if parts is None:  # Outside of the block: the other error may hold the whole address.
        raise ConfigError(f"{where}: the base URL cannot be read; write it as https://host/path")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(
            f"{where}: the base URL must be http(s)://host/path, not {parts.scheme or 'without a scheme'}"
        )
    if "@" in parts.netloc:
        raise ConfigError(f"{where}: the base URL holds a user name; give credentials as a key instead")
    if is_surely_key(parts.netloc):
        raise ConfigError(f"{where}: the host of the base URL looks like a key; give credentials as a key instead")
    if parts.query or parts.fragment:
        raise ConfigError(f"{where}: the base URL holds a query or fragment; give only scheme, host and path")
    try:
        host, port = read_authority(parts.netloc)
    except ValueError as error:
        raise ConfigError(f"{where}: the base URL cannot be used: {error}") from None
    _check_path(parts.path, where=where)
    if parts.scheme == "http" and not is_loopback(host) and not allow_insecure_http:
        raise ConfigError(
            f"{where}: plain http to {host} would send the key readable to everyone on the way; "
            "use https, or set allow_insecure_http=True if the network is yours"
        )
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def _check_path(path: str, *, where: str) -> None:
    """Refuse a path that servers and proxies read in different ways."""
    plain = unquote(unquote(path))
    if any(step in (".", "..") for step in plain.split("/")):
        raise ConfigError(f"{where}: the path of the base URL must not climb with '..'")
    if not plain.isprintable() or "\\" in plain:
        raise ConfigError(f"{where}: the path of the base URL holds an escaped control character or backslash")


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Timeouts(Frozen):
    """Limits of waiting inside an attempt. The call as a whole has `CallOptions.timeout`."""

    connect: float = attrs.field(default=5.0, validator=_positive)
    write: float = attrs.field(default=30.0, validator=_positive)
    first_token: float = attrs.field(default=120.0, validator=_positive)
    first_token_share: float = attrs.field(default=0.4, validator=_share)
    """The share of `first_token` that a stream has while another candidate is ready to be asked instead."""
    idle_bytes: float = attrs.field(default=60.0, validator=_positive)
    """The longest silence of a stream, heartbeats counted as life."""
    idle_events: float = attrs.field(default=300.0, validator=_positive)
    """The longest time of a stream without an event."""
    consumer_idle: float = attrs.field(default=300.0, validator=_positive)
    """How long an open stream may be left unread before it is ended."""
    error_body: float = attrs.field(default=5.0, validator=_positive)
    """How long the body of a failure is waited for; its status has said what matters."""


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryConfig(Frozen):
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
    fallback_on_context_length: bool = True
    """Try the fallbacks when the request is too long for the model: another model may have a longer context."""
    fallback_on_content_filter: bool = False
    """Try the fallbacks when the provider refuses the content with an error status. An answer that is a refusal, or was
    cut by a filter, is an answer."""
    fallback_on_caller_error: bool = False
    """Try the fallbacks also when the provider calls the request itself wrong in another way (400, 413, 415, 422)."""


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryBudgetConfig(Frozen):
    """What a provider's retries may cost: tokens, of which retries that fail use up more than come back.

    A retry that succeeds gets back what it cost. So retries are free as long as they help, and end when they do not.
    """

    capacity: float = attrs.field(default=200.0, validator=_positive)
    """The most tokens, and those at the beginning."""
    retry: float = attrs.field(default=5.0, validator=_not_negative)
    """What a retry costs. 0: retries are not limited."""
    timeout: float = attrs.field(default=10.0, validator=_not_negative)
    """What a retry after a timeout costs."""
    hedge: float = attrs.field(default=10.0, validator=_not_negative)
    """What a hedge costs. This never comes back: an answer was on its way."""
    success: float = attrs.field(default=1.0, validator=_not_negative)
    """What a call that succeeds at its first attempt brings."""
    per_second: float = attrs.field(default=1.0, validator=_not_negative)
    """What comes with time."""


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class BreakerConfig(Frozen):
    """When what keeps failing is left alone, and for how long.

    There are two kinds of breakers with these settings: one for each address (refused connections, TLS, unknown hosts),
    and one for each model (5xx, overload, silence, streams that stall or break).
    """

    enabled: bool = True
    per_model: bool = True
    """Judge each of the provider's models by itself. `False`: all of them together, where they fail together."""
    window: float = attrs.field(default=30.0, validator=_positive)
    """How far back failures count."""
    calls: int = attrs.field(default=20, validator=_positive)
    """So many answers must be in the window before their share of failures says anything."""
    failures: float = attrs.field(default=0.5, validator=_share)
    """The share of failures that opens the breaker."""
    in_a_row: int = attrs.field(default=5, validator=_positive)
    """While there are fewer answers than `calls`, so many failures in a row open a model's breaker."""
    unreachable: int = attrs.field(default=5, validator=_positive)
    """The same for the address: so many attempts in a row that could not even be sent."""
    open: float = attrs.field(default=5.0, validator=_positive)
    """How long it stays open the first time; twice as long each time that a probe fails. Give or take 20 %."""
    longest_open: float = attrs.field(default=60.0, validator=_positive)
    """The longest it stays open. A probe that takes longer than this makes room for another."""
    longest_open_with_fallback: float = attrs.field(default=8.0, validator=_positive)
    """The longest it stays open for calls that have another candidate behind this one: they lose little by trying."""
    successes: int = attrs.field(default=2, validator=_positive)
    """So many probes must succeed to close it."""


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class HedgeConfig(Frozen):
    """When a plain call that takes long is sent a second time while the first goes on. The provider bills both.

    Slow is what takes longer than most of the last 200 answers for the same operation and model, of which at least 20
    must be known.
    """

    percentile: float = attrs.field(default=0.95, validator=_share)
    """So many of them took less."""
    floor: float = attrs.field(default=1.0, validator=_positive)
    """What takes less than this is never slow."""
    share: float = attrs.field(default=0.05, validator=_share)
    """The most hedges for each attempt without."""
    same_key: bool = False
    """Send it with the same key again if no other is ready. Otherwise there is no hedge then."""
    other_candidate: bool = False
    """Send it to another candidate of the call, if one is ready: a sibling in its model group, or a fallback. Otherwise
    it goes to the same provider and model, with another key."""


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class AdaptiveConfig(Frozen):
    """How many exchanges at once a provider gets, where that follows what it takes: between 1 and `concurrency`.

    Rate limits, overload and time limits of attempts lower the limit, at most once in a round trip; a round of answers
    that made use of it raises it by one.
    """

    factor: float = attrs.field(default=0.9, validator=_below_one)
    """What the limit is multiplied by when the provider says that it was asked too much."""
    used: float = attrs.field(default=0.8, validator=_share)
    """The share of the limit that must have been under way at once for it to rise."""
    start: int | None = attrs.field(default=None, validator=validators.optional(_positive))
    """The limit at the beginning; `None`: `concurrency`."""


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class KeyPoolConfig(Frozen):
    """How a provider's keys are chosen, and what becomes of one that is refused."""

    choose: KeyChoice = attrs.field(
        default="weighted",
        validator=_one_of("weighted", "least_busy", "round_robin", "two_choices"),
    )
    """Which of the ready keys a call gets: by weight and chance, the one with the fewest exchanges under way for its
    weight, by turns, or the less busy one of two drawn by weight."""
    policy: Any = attrs.field(default=None, validator=_policy, metadata={"in_files": False})
    """A `Balance` of your own, in place of `choose`; one object for each provider, since it may remember."""
    per_model: bool = False
    """Let a rate limit rest the key for that model alone, where a provider limits each model by itself."""
    park_base: float = attrs.field(default=1.0, validator=_positive)
    """A key that is rate-limited without a word on how long rests for up to this, and twice as long each time after."""
    park_cap: float = attrs.field(default=60.0, validator=_positive)
    """The longest such rest."""
    revive: float = attrs.field(default=600.0, validator=_positive)
    """After this long a refused key is tried once more; at once when the account gives it a new value."""
    longest_wait: float = attrs.field(default=30.0, validator=_not_negative)
    """When every key rests and there is no fallback, a call waits for the first of them, in all for so long at most."""


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class SizeLimits(Frozen):
    """Sizes of what a provider may send."""

    body: int = attrs.field(default=64 * 1024 * 1024, validator=_positive)
    error_body: int = attrs.field(default=64 * 1024, validator=_positive)
    event: int = attrs.field(default=8 * 1024 * 1024, validator=_positive)
    stream: int = attrs.field(default=256 * 1024 * 1024, validator=_positive)
    preamble: int = attrs.field(default=64 * 1024, validator=_positive)
    """The bytes of events that are held back of a stream before its first content. Comments are not counted."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallOptions(Frozen):
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
    session: str | None = None
    """Calls of the same session use the same key as long as it is ready: what providers cache is kept by key."""
    on_interrupt: OnInterrupt = "raise"
    """What follows when a stream breaks after its first content: the error, or as far as retries and fallbacks go a
    `StreamReset` and the answer from its beginning."""

    def __attrs_post_init__(self) -> None:
        # Made for nearly every call: a validator of its own would be another function.
        if self.on_interrupt not in ("raise", "restart"):
            raise ConfigError(f"on_interrupt must be 'raise' or 'restart', not {self.on_interrupt!r}")
        check_headers(self.extra_headers, where="extra_headers")


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConnectionConfig(Frozen):
    """How connections to a provider are kept."""

    idle: float = attrs.field(default=30.0, validator=_positive)
    age: float = attrs.field(default=300.0, validator=_positive)
    """The longest life of a connection, give or take 20 %."""
    requests: int = attrs.field(default=1000, validator=_positive)
    """The most requests on one connection."""


PROXY_PORTS: Mapping[str, int] = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""What a proxy may speak, and where it is found if its address names no port."""


def check_proxy(address: str, *, where: str) -> None:
    """Refuse what is neither `environment`, `none` nor a proxy's address. Raises `ConfigError`, without the address."""
    if address in ("environment", "none"):
        return
    wanted = "write http://host:port, https://host:port or socks5://host:port; or environment, or none"
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if "@" in parts.netloc:
        raise ConfigError(f"{where}: the proxy's address holds a user name; give proxy_auth, as user:password")
    problem = "" if parts.scheme in PROXY_PORTS else "this is no proxy"
    try:
        read_authority(parts.netloc)
    except ValueError:
        problem = "this is no proxy"
    if problem or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(f"{where}: this is no proxy; {wanted}")


def _proxy(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    check_proxy(value if isinstance(value, str) else "", where=_named(instance, attribute))


def _user_agent(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value.strip():
        raise ConfigError(f"{_named(instance, attribute)}: write printable ASCII such as my-app/1.0")


def _text(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"{_named(instance, attribute)} must be text, not {type(value).__name__}")


def _flag(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{_named(instance, attribute)} must be True or False, not {value!r}")


def _check_context(context: ssl.SSLContext) -> None:
    """See that a context checks whom it talks to, and speaks nothing older than TLS 1.2."""
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ConfigError(
            "NetworkConfig.ssl_context: it does not check certificates and host names, so anyone on the way could read "
            "the keys; to trust a certificate of your own, name its authority in ca"
        )
    oldest = context.minimum_version
    if oldest is not ssl.TLSVersion.MAXIMUM_SUPPORTED and oldest < ssl.TLSVersion.TLSv1_2:
        raise ConfigError("NetworkConfig.ssl_context: it takes versions older than TLS 1.2; set its minimum_version")


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class NetworkConfig(Frozen):
    """The road to one provider: proxy, certificates, and what is said on the way."""

    proxy: str = attrs.field(default="environment", validator=_proxy)
    """`environment`: the one that its variables name; `none`; or an address, of http, https or socks5."""
    proxy_auth: Secret | None = attrs.field(default=None, repr=False, validator=validators.optional(_of(Secret)))
    """What that proxy wants to know, as `user:password`."""
    ca: str | None = attrs.field(default=None, repr=False, validator=validators.optional(_text))
    """Whom to trust instead of the usual authorities: a file or folder of PEM certificates, or their text."""
    client_certificate: str | None = attrs.field(default=None, validator=validators.optional(_text))
    """A PEM file with the certificate to show, and with its key unless `client_key` has that."""
    client_key: str | None = attrs.field(default=None, validator=validators.optional(_text))
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, metadata={"in_files": False}, validator=validators.optional(_of(ssl.SSLContext))
    )
    """Takes the place of all three. It must check certificates and host names."""
    user_agent: str | None = attrs.field(default=None, validator=validators.optional(_user_agent))
    """Your application, as `name/version`; stands before ours in the `User-Agent` field."""
    http2: bool = attrs.field(default=False, validator=_flag)
    """Speak HTTP/2 where the provider does, over few connections that exchanges share (experimental, https only)."""
    streams_per_connection: int = attrs.field(default=100, validator=_positive)
    """The most exchanges at once on one connection of HTTP/2."""

    def __attrs_post_init__(self) -> None:
        if self.proxy_auth is not None and self.proxy in ("environment", "none"):
            raise ConfigError("NetworkConfig.proxy_auth: it is for the proxy that proxy names; give that too")
        if self.client_key is not None and self.client_certificate is None:
            raise ConfigError("NetworkConfig.client_key: it belongs to a client_certificate; give that too")
        if self.ssl_context is not None:
            if self.ca is not None or self.client_certificate is not None:
                raise ConfigError("NetworkConfig.ssl_context: it takes the place of ca and client_certificate")
            _check_context(self.ssl_context)


@hides_keys_given_to
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ProviderConfig(Frozen):
    """How one provider is used: where it is, how much at once, what happens when that is not enough."""

    base_url: str | None = None
    """Another address than the provider's own."""
    allow_insecure_http: bool = False
    """Allow plain http to another machine, or through a proxy on another machine: the network is yours."""
    extra_headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    idempotency_header: str | None = None
    """The header by which a gateway of yours recognises a request that comes again, `Idempotency-Key` say. All attempts
    of a call at this provider have the same text in it, and no others. Not given: what the vendor documents, if it
    does."""
    concurrency: int = attrs.field(default=256, validator=_positive)
    """The most exchanges at once."""
    adaptive: AdaptiveConfig | None = attrs.field(default=None, validator=validators.optional(_of(AdaptiveConfig)))
    """Given, `AdaptiveConfig()` say, the most exchanges at once follow what the provider takes, up to `concurrency`."""
    queue: int = attrs.field(default=10_000, validator=_not_negative)
    """The most callers waiting for one of them."""
    on_full: OnFull = attrs.field(default="wait", validator=_one_of("wait", "drop"))
    queue_timeout: float | None = attrs.field(default=None, validator=validators.optional(_positive))
    """The longest wait for a free exchange; `None`: until the call's deadline."""
    stream_share: float = attrs.field(default=0.75, validator=_share)
    """The share of `concurrency` (of the limit, where that is `adaptive`), and of `queue`, that streams may hold."""
    worker_idle: float = attrs.field(default=60.0, validator=_positive)
    """How long a worker without a job is kept."""
    timeouts: Timeouts = attrs.field(factory=Timeouts, validator=_of(Timeouts))
    retry: RetryConfig = attrs.field(factory=RetryConfig, validator=_of(RetryConfig))
    retry_budget: RetryBudgetConfig = attrs.field(factory=RetryBudgetConfig, validator=_of(RetryBudgetConfig))
    breaker: BreakerConfig = attrs.field(factory=BreakerConfig, validator=_of(BreakerConfig))
    hedge: HedgeConfig | None = attrs.field(default=None, validator=validators.optional(_of(HedgeConfig)))
    """When a slow call is sent a second time; `None`: never."""
    key_pool: KeyPoolConfig = attrs.field(factory=KeyPoolConfig, validator=_of(KeyPoolConfig))
    size_limits: SizeLimits = attrs.field(factory=SizeLimits, validator=_of(SizeLimits))
    connections: ConnectionConfig = attrs.field(factory=ConnectionConfig, validator=_of(ConnectionConfig))
    cache_lifetime: float = attrs.field(default=300.0, validator=_not_negative)
    """How long the provider keeps what it has cached of a prompt: for so long a session is worth bringing back."""
    network: NetworkConfig = attrs.field(factory=NetworkConfig, validator=_of(NetworkConfig))

    def __attrs_post_init__(self) -> None:
        check_headers(self.extra_headers, where="ProviderConfig.extra_headers")
        if self.idempotency_header is not None:
            check_headers({self.idempotency_header: ""}, where="ProviderConfig.idempotency_header")
        if self.base_url is not None:
            check_base_url(self.base_url, where="ProviderConfig.base_url", allow_insecure_http=self.allow_insecure_http)
