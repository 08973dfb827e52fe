"""Every error bifrost raises. The first cut is whose fault it was.

    BifrostError
    ├── ConfigError            InvalidKeyError · MissingKeyError · UnknownProviderError
    ├── UsageError             ClientClosedError · WrongLoopError · ForkedClientError
    ├── InvalidRequestError    UnsupportedError
    ├── ProviderError          BadRequestError · ContextLengthError · ContentFilterError · AuthenticationError
    │                          PermissionDeniedError · NotFoundError · QuotaExceededError · RateLimitError
    │                          OverloadedError · ServerError · MalformedResponseError · ResponseTooLargeError
    │                          OutputValidationError
    ├── TransportError         ConnectError · ProtocolError
    ├── CallTimeoutError(phase)
    ├── StreamInterruptedError(partial)
    ├── LimitError             QueueFullError · CircuitOpenError · CredentialsExhaustedError · BudgetExceededError
    │                          ShuttingDownError
    ├── PluginError
    ├── CallCancelledError     (seen by hooks only, never raised to a caller)
    ├── ToolError · AgentInterruptedError(partial)
    └── InternalError

`category` names the row of the failure table that the error stands for (`bifrost.routing.retry`); `retryable` and
`fallback` say what may follow. All three have a default on the class and may be set on an instance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from bifrost.attempt_record import AttemptRecord, RateLimit, shown
from bifrost.misplaced_keys import looks_like_key, without_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Phase: TypeAlias = Literal[
    "queue",
    "connect",
    "write",
    "headers",
    "body",
    "first_token",
    "stream",
    "backoff",
    "hook",
]

MESSAGE_LIMIT = 2048
"""How much of a foreign message is shown, in characters."""

_FACT_LIMIT = 200


class BifrostError(Exception):
    """The root of all errors that bifrost raises. Its text is a sentence to act on; the evidence is in attributes.

    `str` cuts and escapes what may be a provider's words, so that a log keeps its lines; the attributes have them raw.
    `attempts` is the trail of the whole call, `errors` the last error of every other candidate that was tried.
    """

    category: str = "unknown"
    retryable: bool = False
    fallback: bool = True
    hides_keys: ClassVar[bool] = False
    """The text may quote an argument, and somebody may have put a key into it."""

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        key: str | None = None,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name in every provider's error object
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: bytes | None = None,
    ) -> None:
        if self.hides_keys:
            message = without_keys(message)
        super().__init__(message)
        self.provider = provider
        self.model = model
        self.key = key
        """The *name* of the key that was used."""
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        """How long the provider asked to wait, in seconds."""
        self.rate_limit: RateLimit | None = None
        """What the provider told of its allowances, if an answer came."""
        self.body = body
        """The beginning of the provider's answer, at most 64 KiB, with secrets taken out."""
        self.attempts: Sequence[AttemptRecord] = ()
        self.errors: Sequence[BifrostError] = ()

    @property
    def message(self) -> str:
        """The sentence without the evidence. Setting it (to take a secret out) changes the only place that holds it."""
        return str(self.args[0])

    @message.setter
    def message(self, message: str) -> None:
        self.args = (without_keys(message) if self.hides_keys else message,)

    def __setattr__(self, name: str, value: Any) -> None:
        if self.hides_keys and name in _NAMES and isinstance(value, str) and looks_like_key(value):
            value = "***"
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        where = "/".join(part for part in (self.provider, self.model) if part)
        facts = [
            where,
            f"status {self.status}" if self.status is not None else "",
            f"code {self.code}" if self.code else "",
            f"request {self.request_id}" if self.request_id else "",
            f"key {self.key}" if self.key else "",
            f"{len(self.attempts)} attempts" if len(self.attempts) > 1 else "",
        ]
        told = ", ".join(shown(fact, _FACT_LIMIT) for fact in facts if fact)
        message = shown(self.message, MESSAGE_LIMIT)
        return f"{message} ({told})" if told else message


_NAMES = frozenset({"provider", "model", "key", "param"})


def _rebuild(kind: type[BifrostError], args: tuple[Any, ...], state: dict[str, Any]) -> BifrostError:
    error = kind.__new__(kind, *args)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


# --- the set-up's fault


class ConfigError(BifrostError):
    """The set-up is wrong: a setting, an address, a certificate, a redirecting endpoint."""

    category = "config"
    hides_keys = True


class InvalidKeyError(ConfigError):
    """A key's value cannot be sent in a header. The error names the key and the problem, never the value."""


class MissingKeyError(ConfigError):
    """The provider has no usable key. The message names the variable or setting to fill."""


class UnknownProviderError(ConfigError):
    """No configured provider or model has this name. The message names near matches."""


# --- the caller's fault


class UsageError(BifrostError):
    """The library was used in a way that cannot work."""

    category = "local"
    fallback = False
    hides_keys = True


class ClientClosedError(UsageError):
    """The client was closed by its owner before this call."""


class WrongLoopError(UsageError):
    """The client belongs to another event loop or thread."""


class ForkedClientError(UsageError):
    """The client was opened before a fork and is used in the child."""


class InvalidRequestError(BifrostError):
    """The request is wrong in itself; nothing was sent."""

    category = "local"
    fallback = False
    hides_keys = True


class UnsupportedError(InvalidRequestError):
    """The provider has no way to say this, and leaving it out would change the meaning. A fallback may still serve."""

    fallback = True


# --- the provider's answer


class ProviderError(BifrostError):
    """The provider answered, and the answer is a failure."""


class BadRequestError(ProviderError):
    """The provider refuses the request (400, 413, 415, 422)."""

    category = "caller"
    fallback = False


class ContextLengthError(BadRequestError):
    """The request is too long for the model's context window."""


class ContentFilterError(BadRequestError):
    """The provider refuses the content of the request, with an error status."""


class AuthenticationError(ProviderError):
    """The key is not valid (401)."""

    category = "credential"


class PermissionDeniedError(ProviderError):
    """The key may not use this model, region or feature (403)."""

    category = "access"


class NotFoundError(ProviderError):
    """The model or endpoint does not exist (404, 410)."""

    category = "access"


class QuotaExceededError(ProviderError):
    """The account's quota or credit is used up; waiting does not help."""

    category = "quota"


class RateLimitError(ProviderError):
    """Too many requests or tokens in the provider's window (429). `retry_after` has the provider's hint."""

    category = "throttled"
    retryable = True


class OverloadedError(ProviderError):
    """The provider has no capacity at the moment (529 and its kin)."""

    category = "overloaded"
    retryable = True


class ServerError(ProviderError):
    """The provider failed (5xx)."""

    category = "transient"
    retryable = True


class MalformedResponseError(ProviderError):
    """The answer is empty, cut, not JSON, or has no shape that the dialect knows.

    Also (category `failed_generation`) the provider's own word that its model wrote a tool call or JSON that it cannot
    read. `output` is then what the model wrote, as far as the provider tells it.
    """

    category = "malformed"
    retryable = True
    output: str = ""


class ResponseTooLargeError(ProviderError):
    """The answer passed a size limit (decoded bytes, one stream event, header)."""

    category = "malformed"


class OutputValidationError(ProviderError):
    """The model's answer does not fit the type that was asked for with `output=`.

    The message says what is wrong and where (`$.items[2].price: expected float, got str`). `output` is the model's
    text, `response` the whole answer (a `ChatResponse`), whose usage counts every answer that was asked for.
    """

    category = "unfit"

    def __init__(self, message: str, *, output: str = "", response: Any = None, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.output = output
        self.response = response

    @property
    def usage(self) -> Any:
        """Give the tokens that were spent, or `None`."""
        return getattr(self.response, "usage", None)


# --- the road between


class TransportError(BifrostError):
    """The exchange broke between here and the provider."""

    category = "transient"
    retryable = True
    after_silence: bool = False
    """It broke when nothing had come for long: the provider was silent, and only the end of that came from outside."""


class ConnectError(TransportError):
    """No connection could be made: refused, no such host, TLS, proxy. Nothing was sent."""


class ProtocolError(TransportError):
    """The peer does not speak HTTP as it should."""


class CallTimeoutError(BifrostError):
    """Time ran out. `phase` says where: queue, connect, write, headers, body, first_token, stream, backoff or hook."""

    category = "transient"
    retryable = True

    def __init__(self, message: str, *, phase: Phase, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.phase: Phase = phase


class StreamInterruptedError(BifrostError):
    """A stream broke after its first content. Nothing is retried silently; `partial` holds what came.

    `partial` is the response accumulated so far (a `ChatResponse` for a chat), `received_events` the number of
    events that had come, and `usage` the tokens the provider had reported by then. `__cause__` has the reason, and
    `provider_error` too if it is one that the provider gave.
    """

    category = "interrupted"
    fallback = False

    def __init__(
        self,
        message: str,
        *,
        partial: Any = None,
        received_events: int = 0,
        **evidence: Any,
    ) -> None:
        super().__init__(message, **evidence)
        self.partial = partial
        self.received_events = received_events

    @property
    def usage(self) -> Any:
        """Return the usage that came before the interruption: false where none was told; `None` without a `partial`."""
        return getattr(self.partial, "usage", None)

    @property
    def provider_error(self) -> ProviderError | None:
        """Give the provider's own error, if that ended the stream; `None` for a cut, a timer or a limit of ours."""
        return self.__cause__ if isinstance(self.__cause__, ProviderError) else None


# --- our own limits


class LimitError(BifrostError):
    """A limit of this library or its set-up was reached; the provider was not asked."""

    category = "limit"


class QueueFullError(LimitError):
    """The provider's queue has no free place."""


class CircuitOpenError(LimitError):
    """The provider failed so often that it is left alone for `retry_after` seconds."""


class CredentialsExhaustedError(LimitError):
    """Every key of the provider is out of use. The message lists the keys' names."""


class BudgetExceededError(LimitError):
    """A spending limit was reached."""

    fallback = False


class ShuttingDownError(LimitError):
    """The client or the provider's pool is being closed."""

    retryable = True


# --- the rest


class PluginError(BifrostError):
    """A plugin's hook failed and the plugin is set to fail the call (`on_error="fail"`)."""

    category = "local"
    fallback = False


class CallCancelledError(BifrostError):
    """What hooks and records see when the caller left. It is never raised to a caller."""

    category = "cancelled"
    fallback = False


class ToolError(BifrostError):
    """A tool could not be run."""

    category = "local"
    fallback = False


class AgentInterruptedError(BifrostError):
    """An agent loop ended early; `partial` holds the work done so far."""

    category = "local"
    fallback = False

    def __init__(self, message: str, *, partial: Any = None, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.partial = partial


class InternalError(BifrostError):
    """A defect of bifrost itself. Please report it with the text of this error."""

    category = "unknown"
    fallback = False


def without_errors(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give what of a group is no error, which is a cancellation nearly always: that goes on its way.

    Trio makes such a group where foreign code fails in one of several tasks just as they are cancelled.
    """
    return group.split(Exception)[1] or group


def near_matches(word: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Give the words that look like one that nobody knows, the likest first, for an error's sentence."""
    # Where all goes well nobody needs it.
    from difflib import get_close_matches

    return get_close_matches(word, list(known), n=most, cutoff=cutoff)
