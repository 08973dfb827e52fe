"""The operation that counts the input tokens of a chat before it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Never

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.frozen import Value
from bifrost.html import block, note
from bifrost.operations.base import Operation
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.options import chat_request
from bifrost.operations.chat.request import ChatRequest, Reasoning, ResponseFormat, WebSearch
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice

if TYPE_CHECKING:
    from bifrost.operations.chat.openai_form import AnyPrompt
    from bifrost.operations.chat.options import ChatOptions

__all__ = ["COUNT_TOKENS", "TokenCountRequest", "TokenCountResponse", "token_count_request"]


class TokenCountRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to count the tokens of a chat: the fields of a `ChatRequest` that the model reads."""

    model: str
    """`provider/model`, or the name of a model group."""

    messages: list[Message]
    """The conversation so far."""

    tools: list[Tool | ProviderTool] | None = None
    """The tools that the model may call. `None`: no tools."""

    tool_choice: ToolChoice | None = None
    """Whether and which tools the model must call. `None`: the provider's default."""

    parallel_tool_calls: bool | None = None
    """Whether the model may call several tools at once. `None`: the provider's default."""

    response_format: ResponseFormat | None = None
    """The required form of the response. `None`: text."""

    reasoning: Reasoning | None = None
    """How much the model may reason. `None`: the provider's default."""

    web_search: WebSearch | None = None
    """Allows the provider to search the web. `None`: it may not."""

    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They are merged into the body of its requests."""

    @property
    def chat(self) -> ChatRequest:
        """The chat with these fields."""
        return ChatRequest(**{name: getattr(self, name) for name in self.__struct_fields__})


class TokenCountResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The number of input tokens of a chat."""

    input_tokens: int
    """The number of input tokens, those in the prompt cache included."""

    cached_tokens: int | None = None
    """The number of tokens in a prompt cache that the request names. `None`: the provider does not report it."""

    tokens_by_kind: dict[str, int] = {}
    """The number of tokens by kind of content (`text`, `image`, ...). Empty if the provider does not report it."""

    model: str = ""
    """The model that was asked."""

    provider: str = ""
    """The provider that responded."""

    request_id: str | None = None
    """The provider's identifier of the request, or `None`."""

    attempts: list[AttemptRecord] = []
    """All attempts of the call, in order."""

    warnings: list[str] = []
    """What was converted, omitted or noticed in the call."""

    rate_limit: RateLimit | None = None
    """The rate limits that the provider reported with the response; `None` if it reported none."""

    raw: bytes = b""
    """The provider's response as bytes."""

    def to_dict(self) -> dict[str, Any]:
        """Return the response in OpenAI's form."""
        return {"object": "response.input_tokens", "input_tokens": self.input_tokens}

    def __repr__(self) -> str:
        return f"TokenCountResponse({self.provider}/{self.model}: {self.input_tokens} input tokens)"

    def _repr_html_(self) -> str:
        kinds = ", ".join(f"{kind}: {count}" for kind, count in self.tokens_by_kind.items())
        return block(note(f"{self.provider}/{self.model}", f"{self.input_tokens} input tokens", kinds))


COUNT_TOKENS: Final = Operation[TokenCountRequest, TokenCountResponse, Never](
    name="count_tokens", request=TokenCountRequest, response=TokenCountResponse
)


def token_count_request(
    model: str, prompt: AnyPrompt, *, system: str | None, options: ChatOptions
) -> TokenCountRequest:
    """Return a request for the tokens of a chat, which is made from what a caller passes to `chat`.

    Options that no model reads (`temperature`, for example) are checked and ignored. Raises the errors of
    `chat_request`.
    """
    chat = chat_request(model, prompt, system=system, options=options)
    return TokenCountRequest(**{name: getattr(chat, name) for name in TokenCountRequest.__struct_fields__})
