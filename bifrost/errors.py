"""All errors that bifrost raises. The first level of the tree says whose fault the error is.

    BifrostError
    ├── ConfigError            InvalidKeyError · MissingKeyError · UnknownProviderError
    ├── UsageError             ClientClosedError · WrongLoopError · ForkedClientError
    ├── InvalidRequestError    UnsupportedError
    ├── ProviderError          BadRequestError · ContextLengthError · ContentFilterError · AuthenticationError
    │                          PermissionDeniedError · NotFoundError · QuotaExceededError · RateLimitError
    │                          OverloadedError · ServerError · MalformedResponseError · ResponseTooLargeError
    │                          OutputValidationError
    ├── TransportError         ConnectError · ProtocolError
    ├── TokenError
    ├── CallTimeoutError(phase)
    ├── StreamInterruptedError(partial)
    ├── LimitError             QueueFullError · CircuitOpenError · CredentialsExhaustedError · BudgetExceededError
    │                          ShuttingDownError
    ├── PluginError
    ├── CallCancelledError     (seen by hooks only, never raised to a caller)
    ├── ToolError · AgentInterruptedError(partial)
    └── InternalError

`category` names the error's row in the failure table (`bifrost.routing.retry`). `retryable` and `fallback` say what may
follow. All three have a default on the class and may be set on an instance.
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
    "token",
    "backoff",
    "hook",
]
"""Where a call was when its time ran out."""

MESSAGE_LIMIT = 2048
"""The most characters of a provider's message that are shown."""

_FACT_LIMIT = 200


class BifrostError(Exception):
    """The base class of all errors that bifrost raises.

    The message says what failed and what to do; the details are attributes.

    `str(error)` shortens and escapes text that may come from a provider, so that it fits in a log line. The attributes
    hold it unchanged.
    """

    category: str = "unknown"
    """The category of the failure, the row of the failure table: `throttled`, `transient`, `credential`, ..."""

    retryable: bool = False
    """Whether the same request may succeed if it is sent again."""

    fallback: bool = True
    """Whether the call's fallbacks may be tried after this error."""

    hides_keys: ClassVar[bool] = False
    """Whether keys in the message are masked, because it may quote an argument that contains one."""

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
        """The provider that failed, or `None` if none was involved."""
        self.model = model
        """The model that was requested, or `None`."""
        self.key = key
        """The *name* of the key that was used, or `None`."""
        self.status = status
        """The HTTP status of the response, or `None` if there was none."""
        self.code = code
        """The provider's own code of the error, or `None`."""
        self.type = type
        """The provider's own type of the error, or `None`."""
        self.param = param
        """The field of the request that the provider objects to, or `None`."""
        self.request_id = request_id
        """The provider's identifier of the request, or `None`."""
        self.retry_after = retry_after
        """How long to wait before the next request, in seconds, or `None` if unknown."""
        self.rate_limit: RateLimit | None = None
        """The rate limits that the response reported, or `None`."""
        self.body = body
        """The beginning of the response, at most 64 KiB, with secrets removed, or `None`."""
        self.attempts: Sequence[AttemptRecord] = ()
        """All attempts of the call, in order."""
        self.errors: Sequence[BifrostError] = ()
        """The last error of every other candidate that was tried."""

    @property
    def message(self) -> str:
        """The message without the details.

        Setting it (to remove a secret) changes the only place where it is stored.
        """
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
        details = ", ".join(shown(fact, _FACT_LIMIT) for fact in facts if fact)
        message = shown(self.message, MESSAGE_LIMIT)
        return f"{message} ({details})" if details else message


_NAMES = frozenset({"provider", "model", "key", "param"})


def _rebuild(kind: type[BifrostError], args: tuple[Any, ...], state: dict[str, Any]) -> BifrostError:
    error = kind.__new__(kind, *args)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


# --- the set-up's fault


class ConfigError(BifrostError):
    """The configuration is wrong: a setting, an address, a certificate or an endpoint that redirects."""

    category = "config"
    hides_keys = True


class InvalidKeyError(ConfigError):
    """A key cannot be sent in a header. The error names the key and the problem, never the value."""


class MissingKeyError(ConfigError):
    """The provider has no usable key. The message names the variable or setting to set."""


class UnknownProviderError(ConfigError):
    """No configured provider or model has this name. The message lists similar names."""


# --- the caller's fault


class UsageError(BifrostError):
    """The library was used in a way that cannot work."""

    category = "local"
    fallback = False
    hides_keys = True


class ClientClosedError(UsageError):
    """The client was closed before this call."""


class WrongLoopError(UsageError):
    """The client belongs to another event loop or thread."""


class ForkedClientError(UsageError):
    """The client was opened before a fork and is used in the child process."""


class InvalidRequestError(BifrostError):
    """The request itself is invalid; nothing was sent."""

    category = "local"
    fallback = False
    hides_keys = True


class UnsupportedError(InvalidRequestError):
    """The provider does not support a part of the request, and omitting it would change the meaning.

    A fallback may still succeed.
    """

    fallback = True


# --- the provider's answer


class ProviderError(BifrostError):
    """The provider responded with a failure."""


class BadRequestError(ProviderError):
    """The provider refused the request (400, 413, 415, 422)."""

    category = "caller"
    fallback = False


class ContextLengthError(BadRequestError):
    """The request is too long for the model's context window."""


class ContentFilterError(BadRequestError):
    """The provider refused the content of the request with an error status."""


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
    """The account's quota or credit is exhausted; waiting does not help."""

    category = "quota"


class RateLimitError(ProviderError):
    """Too many requests or tokens (429). `retry_after` holds the provider's hint, in seconds."""

    category = "throttled"
    retryable = True


class OverloadedError(ProviderError):
    """The provider has no capacity at the moment (529 and similar)."""

    category = "overloaded"
    retryable = True


class ServerError(ProviderError):
    """The provider failed (5xx)."""

    category = "transient"
    retryable = True


class MalformedResponseError(ProviderError):
    """The response is empty, truncated, not JSON, or not of the dialect's shape.

    With the category `failed_generation`, the provider itself reports that its model wrote a tool call or JSON that it
    cannot parse.
    """

    category = "malformed"
    retryable = True
    output: str = ""
    """What the model wrote, as far as the provider reports it."""


class ResponseTooLargeError(ProviderError):
    """The response exceeded a size limit (decoded bytes, one event of a stream, headers)."""

    category = "malformed"


class OutputValidationError(ProviderError):
    """The model's response does not match the type passed as `output=`.

    The message says what is wrong and where (`$.items[2].price: expected float, got str`). `output` is the model's
    text. `response` is the last response (a `ChatResponse`), whose usage includes all responses of the call.
    """

    category = "unfit"

    def __init__(self, message: str, *, output: str = "", response: Any = None, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.output = output
        self.response = response

    @property
    def usage(self) -> Any:
        """The tokens that were used, or `None` if there is no `response`."""
        return getattr(self.response, "usage", None)


# --- the connection


class TransportError(BifrostError):
    """The connection failed while the request or response was transferred."""

    category = "transient"
    retryable = True
    after_silence: bool = False
    """Whether the connection broke after the provider had been silent for long, so that the break was only the end of a
    timeout.
    """


class ConnectError(TransportError):
    """No connection could be made: it was refused, the host is unknown, or TLS or the proxy failed.

    Nothing was sent.
    """


class ProtocolError(TransportError):
    """The peer violated the HTTP protocol."""


class TokenError(BifrostError):
    """No token could be fetched for a key with `credentials`; nothing was sent to the provider.

    The message names the source.
    """

    category = "token"
    retryable = True


class CallTimeoutError(BifrostError):
    """A time limit was reached.

    `phase` says where: queue, connect, write, headers, body, first_token, stream, token, backoff or hook.
    """

    category = "transient"
    retryable = True

    def __init__(self, message: str, *, phase: Phase, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.phase: Phase = phase


class StreamInterruptedError(BifrostError):
    """A stream broke after its first content. The call is not retried silently.

    `partial` is the response received so far (a `ChatResponse` for a chat), `received_events` the number of events
    received. `__cause__` is the reason.
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
        """The usage reported before the interruption.

        It is falsy if none was reported, and `None` without a `partial`.
        """
        return getattr(self.partial, "usage", None)

    @property
    def provider_error(self) -> ProviderError | None:
        """The provider's own error if it ended the stream.

        `None` for a broken connection, a timeout or a limit of bifrost.
        """
        return self.__cause__ if isinstance(self.__cause__, ProviderError) else None


# --- our own limits


class LimitError(BifrostError):
    """A limit of bifrost or of the configuration was reached; nothing was sent to the provider."""

    category = "limit"


class QueueFullError(LimitError):
    """The provider's queue is full."""


class CircuitOpenError(LimitError):
    """The provider's circuit breaker is open, because of its failures. `retry_after` says for how long, in seconds."""


class CredentialsExhaustedError(LimitError):
    """No key of the provider is usable at present. The message lists the keys' names."""


class BudgetExceededError(LimitError):
    """A spending limit was reached."""

    fallback = False


class ShuttingDownError(LimitError):
    """The client or the provider's pool is closing."""

    retryable = True


# --- the rest


class PluginError(BifrostError):
    """A plugin's hook failed, and the plugin is configured to fail the call (`on_error="fail"`)."""

    category = "local"
    fallback = False


class CallCancelledError(BifrostError):
    """What hooks and records see when the caller was cancelled. It is never raised to a caller."""

    category = "cancelled"
    fallback = False


class ToolError(BifrostError):
    """A tool could not be executed."""

    category = "local"
    fallback = False


class AgentInterruptedError(BifrostError):
    """An agent loop ended early. `partial` holds the work done so far."""

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
    """Return the part of a group that is not an `Exception`, usually a cancellation, or else the group itself.

    Trio raises such a group when foreign code fails in one of several tasks while they are being cancelled.
    """
    return group.split(Exception)[1] or group


def near_matches(word: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the known words most similar to an unknown one, most similar first, for use in an error's message."""
    # Imported here because it is needed only when something is wrong.
    from difflib import get_close_matches

    return get_close_matches(word, list(known), n=most, cutoff=cutoff)
