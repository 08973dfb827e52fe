"""Refusals whose sentence says something else than their status, from the vendors that send them, as calls see them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, get_args

import httpx
import pytest

from bifrost import (
    AuthenticationError,
    BadRequestError,
    Bifrost,
    BifrostError,
    ContentFilterError,
    ContextLengthError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    StaticAccount,
    StreamInterruptedError,
)
from bifrost.providers.anthropic import wording as anthropic_wording
from bifrost.providers.gemini import wording as gemini_wording
from bifrost.providers.openai import wording as openai_wording
from bifrost.providers.wording import SHARED, Meaning
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

OK = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}
CLAUDE_OK = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def openai(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def anthropic(message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def client(answer: Callable[[httpx.Request], httpx.Response], *providers: str) -> Bifrost:
    return Bifrost(
        StaticAccount(keys={name: ["sk-first-000000000001", "sk-second-00000000002"] for name in providers}),
        transport=httpx.MockTransport(answer),
        max_retries=0,
    )


def first_key(request: httpx.Request) -> bool:
    return "first" in str(request.headers.get("authorization", "")) + str(request.headers.get("x-api-key", ""))


async def ask(bifrost: Bifrost, model: str, *, stream: bool) -> str | None:
    if not stream:
        return (await bifrost.chat(model, "hi")).text
    async with bifrost.stream_chat(model, "hi") as chunks:
        return (await chunks.final()).text


async def refusal(provider: str, status: int, body: Any, *, stream: bool = False) -> BifrostError:
    """Return the error of a call that meets this answer whatever the key."""
    async with client(lambda _: httpx.Response(status, json=body), provider) as bifrost:
        with pytest.raises(BifrostError) as raised:
            await ask(bifrost, f"{provider}/m", stream=stream)
    return raised.value


# --- the request is too long

TOO_LONG = [
    ("openai", 400, openai("Your input exceeds the context window of this model. Please adjust your input.")),
    ("openai", 400, openai("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 3.")),
    ("openai", 400, openai("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.")),
    (
        "deepseek",
        400,
        openai(
            "This model\N{RIGHT SINGLE QUOTATION MARK}s maximum context length is 65536 tokens.",
            code="invalid_request_error",
        ),
    ),
    ("openrouter", 400, openai("This endpoint's maximum context length is 131072 tokens. However, you", code=400)),
    (
        "openrouter",
        400,
        openai(
            "Provider returned error",
            code=400,
            metadata={
                "provider_name": "Nebius",
                "raw": '{"detail":"The input (9 tokens) is longer than the model\'s context length"}',
            },
        ),
    ),
    (
        "llamacpp",
        400,
        openai(
            "the request exceeds the available context size, try increasing it",
            code=400,
            type="exceed_context_size_error",
            n_prompt_tokens=5031,
            n_ctx=1024,
        ),
    ),
    ("llamacpp", 400, openai("it does not fit", code=400, type="exceed_context_size_error")),
    ("llamacpp", 500, openai("Context size has been exceeded.", code=500, type="server_error")),
    ("llamacpp", 500, openai("input (600 tokens) is too large to process. increase the physical batch size")),
    ("llamacpp", 400, openai("Requested tokens (3000) exceed context window of 2048")),
    (
        "sglang",
        400,
        {
            "object": "error",
            "message": "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    (
        "sglang",
        400,
        {
            "object": "error",
            "message": "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested",
            "type": "BadRequest",
            "code": 400,
        },
    ),
    ("sglang", 400, {"error": "Input length (5000 tokens) exceeds the maximum allowed length (4096 tokens)."}),
    (
        "lmstudio",
        200,
        {
            "error": "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded "
            "with context length of only 32768 tokens, which is not enough."
        },
    ),
    (
        "lmstudio",
        400,
        {
            "error": "The number of tokens to keep from the initial prompt is greater than the context length "
            "(n_keep: 13055>= n_ctx: 4096)."
        },
    ),
    ("lmstudio", 200, openai("Reached context length of 4096 tokens with model (arch: gpt-oss) that does not support")),
    ("ollama", 400, {"error": "the input length exceeds the context length"}),
    ("ollama", 500, {"error": "input length exceeds maximum context length"}),
    ("ollama-cloud", 400, {"error": "prompt too long; exceeded max context length by 4211 tokens"}),
    ("ollama-openai", 400, openai("the input length exceeds the context length", type="invalid_request_error")),
    ("ollama-openai", 500, openai("input length exceeds maximum context length", type="api_error")),
    ("ollama-cloud-openai", 400, openai("prompt too long; exceeded max context length by 4211 tokens")),
    (
        "xai",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        },
    ),
    (
        "huggingface",
        422,
        {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5"},
    ),
    ("huggingface", 413, {"error": "Input validation error: `inputs` must have less than 512 tokens. Given: 1000"}),
    ("together", 422, openai("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193.")),
    ("vllm", 400, openai("The decoder prompt (length 5000) is longer than the maximum model length of 4096.")),
    ("vllm", 400, openai("You passed 4097 input tokens. However, the model's context length is only 4096 tokens")),
    ("vllm", 400, openai("The prompt (total length 25938) is too long to fit into the model (context length 4096).")),
    (
        "mistral",
        400,
        {
            "object": "error",
            "message": "Prompt contains 65673 tokens, too large for model with 32768 maximum context length",
            "type": "invalid_request_error",
            "code": "3051",
        },
    ),
    ("groq", 400, openai("Please reduce the length of the messages or completion.", code="context_length_exceeded")),
    ("cerebras", 400, openai("Please reduce the length of the messages or completion. Current length is 9 while 8")),
    ("anthropic", 400, anthropic("prompt is too long: 211000 tokens > 200000 maximum")),
    (
        "anthropic",
        400,
        anthropic("input length and `max_tokens` exceed context limit: 198000 + 8000 > 200000, decrease input length"),
    ),
    ("openai", 400, openai("Invalid request: Your request exceeded model token limit: 131072 (requested: 140000)")),
    ("openai", 400, openai("Range of input length should be [1, 129024]", code="InvalidParameter")),
    (
        "openai",
        413,
        openai("Request body too large for gpt-4o model. Max size: 8000 tokens.", code="tokens_limit_reached"),
    ),
    ("openai", 400, openai("prompt token count of 150000 exceeds the limit of 128000")),
    ("openai", 400, openai("litellm.ContextWindowExceededError: litellm.BadRequestError: too much")),
]


@table("stream", [False, True])
@table(("provider", "status", "body"), TOO_LONG)
async def test_a_request_that_is_too_long(provider: str, status: int, body: Any, stream: bool) -> None:
    error = await refusal(provider, status, body, stream=stream)

    assert type(error) is ContextLengthError
    assert not error.retryable
    assert len(error.attempts) == 1
    assert "larger context window" in str(error)


MERELY_MENTIONED = [
    ("openai", 400, openai("Unknown parameter: 'context_length'.", code="unknown_parameter", param="context_length")),
    ("openai", 400, openai("max_tokens is too large: 50000. This model supports at most 16384 completion tokens.")),
    ("openai", 400, openai("The parameter context_window must be a number.")),
    ("openai", 400, openai("Invalid 'metadata.context': string too long. Expected a string with maximum length 512.")),
    ("vllm", 422, {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs", "input": "the prompt is too long"}]}),
    ("llamacpp", 400, openai("context shift is disabled; unknown option n_ctx", type="invalid_request_error")),
    ("lmstudio", 400, {"error": "'contextLength' in the load config must be at least 1"}),
    ("mistral", 400, {"object": "error", "message": "the context of a tool result must be text"}),
    ("anthropic", 400, anthropic("context_management: Extra inputs are not permitted")),
    ("anthropic", 400, anthropic("max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens")),
]


@table(("provider", "status", "body"), MERELY_MENTIONED)
async def test_a_refusal_that_merely_mentions_context(provider: str, status: int, body: Any) -> None:
    assert type(await refusal(provider, status, body)) is BadRequestError


@table(
    ("status", "body"),
    [
        (429, openai("Too many tokens, please wait before trying again.")),
        (400, openai("Too many tokens, please wait before trying again.", code="ThrottlingException")),
        (429, openai("Rate limit reached on tokens per min (TPM): Limit 10000, Used 8000, Requested 3000.")),
    ],
)
async def test_a_rate_limit_that_speaks_of_tokens_is_one(status: int, body: Any) -> None:
    error = await refusal("openai", status, body)

    assert type(error) is RateLimitError
    assert error.category == "throttled"


# --- the key or the credit, under another status

BAD_KEY = [
    ("xai", 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: na***ys."}),
    ("xai", 403, {"code": "permission-denied", "error": "Your API key is currently blocked."}),
    ("openai", 400, [openai("API key not valid. Please pass a valid API key.", code=400, status="INVALID_ARGUMENT")]),
    ("openai", 400, openai("API key expired. Please renew the API key.", code=400)),
    ("openai", 200, openai("Incorrect API key provided", type="invalid_request_error")),
    ("openai", 200, {"base_resp": {"status_code": 1004, "status_msg": "login fail: Please carry the API secret key"}}),
    ("cerebras", 403, openai("Wrong API Key", code="wrong_api_key")),
    ("anthropic", 400, anthropic("This organization has been disabled.")),
    ("anthropic", 403, anthropic("invalid x-api-key", "permission_error")),
]
NO_CREDIT = [
    (
        "xai",
        429,
        {
            "code": "Some resource has been exhausted",
            "error": "Your team x has either used all available credits or reached its monthly spending limit.",
        },
    ),
    ("xai", 403, {"code": "permission-denied", "error": "Your newly created team doesn't have any credits yet."}),
    ("xai", 403, {"code": "permission_denied_error", "error": "You have run out of credits or need a subscription."}),
    ("openrouter", 403, openai("Key limit exceeded (monthly limit). Manage it in the settings", code=403)),
    ("openrouter", 402, openai("Insufficient credits. Add more in the settings", code=402)),
    ("openai", 429, openai("Insufficient balance or no resource package. Please recharge.", code="1113")),
    ("openai", 429, openai("余额不足或无可用资源包,请充值。", code="1113")),
    ("openai", 400, openai("Access denied, please make sure your account is in good standing.", code="Arrearage")),
    ("openai", 403, openai("Sorry, your account balance is insufficient", code=30001)),
    ("openai", 400, openai("Budget has been exceeded! Current cost: 11, Max budget: 10", type="budget_exceeded")),
    ("openai", 200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}),
    ("anthropic", 400, anthropic("Your credit balance is too low to access the Anthropic API.")),
    (
        "anthropic",
        400,
        anthropic("You have reached your specified API usage limits. You will regain access on 1 July."),
    ),
]


@table("stream", [False, True])
@table(
    ("kind", "provider", "status", "body"),
    [(AuthenticationError, *case) for case in BAD_KEY] + [(QuotaExceededError, *case) for case in NO_CREDIT],
)
async def test_another_key_is_tried(
    kind: type[BifrostError], provider: str, status: int, body: Any, stream: bool
) -> None:
    good = CLAUDE_OK if provider == "anthropic" else OK
    refused: list[bool] = []

    def answer(request: httpx.Request) -> httpx.Response:
        refused.append(first_key(request))
        return httpx.Response(status, json=body) if refused[-1] else httpx.Response(200, json=good)

    async with client(answer, provider) as bifrost:
        for _ in range(6):
            assert await ask(bifrost, f"{provider}/m", stream=stream) == "hi"

    assert refused.count(True) <= 1, "a key that is refused is out of use"
    assert type(await refusal(provider, status, body, stream=stream)) is kind


# --- this request alone

SMALLER = [
    (
        "openrouter",
        402,
        openai(
            "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only "
            "afford 30104.",
            code=402,
        ),
        QuotaExceededError,
    ),
    (
        "openrouter",
        402,
        openai("Prompt tokens limit exceeded: 30000 > 20000. To increase, ...", code=402),
        QuotaExceededError,
    ),
    (
        "groq",
        413,
        openai(
            "Request too large for model `m` in organization `o` on tokens per minute (TPM): Limit 6000, "
            "Requested 7000",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        RateLimitError,
    ),
    (
        "openai",
        429,
        openai(
            "Request too large for gpt-4o in organization o on tokens per min (TPM): Limit 30000, Requested 40000.",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        RateLimitError,
    ),
    (
        "anthropic",
        429,
        anthropic("Extra usage is required for long context requests.", "rate_limit_error"),
        RateLimitError,
    ),
]
NOT_THIS = [
    (
        "openai",
        401,
        openai("You have insufficient permissions for this operation. Missing scopes: api.model.read. Check that"),
        PermissionDeniedError,
    ),
    (
        "openai",
        403,
        openai("You have insufficient permissions for this operation. Missing scopes: model.request"),
        PermissionDeniedError,
    ),
    (
        "openai",
        401,
        openai("The `models` permission is required to access this endpoint", code="unauthorized"),
        PermissionDeniedError,
    ),
    (
        "openai",
        401,
        openai("The principal lacks the required data action X to perform POST", code="PermissionDenied"),
        PermissionDeniedError,
    ),
    (
        "openai",
        401,
        openai(
            "key not allowed to access model. This key can access models=['a']",
            type="key_model_access_denied",
            code="401",
        ),
        PermissionDeniedError,
    ),
    (
        "anthropic",
        401,
        anthropic("OAuth token does not meet scope requirement user:inference", "authentication_error"),
        PermissionDeniedError,
    ),
    (
        "openrouter",
        403,
        openai('openai/gpt-4o requires moderation on OpenRouter. Your input was flagged for "sexual".', code=403),
        ContentFilterError,
    ),
    (
        "xai",
        403,
        {"code": "permission-denied", "error": "Content violates usage guidelines. Failed check: X"},
        ContentFilterError,
    ),
    ("deepseek", 400, openai("Content Exists Risk", type="invalid_request_error"), ContentFilterError),
    ("anthropic", 400, anthropic("Output blocked by content filtering policy"), ContentFilterError),
    ("deepseek", 400, openai("Model Not Exist", type="invalid_request_error"), NotFoundError),
    ("lmstudio", 200, {"error": "Unexpected endpoint or method. (POST /v1/chat). Returning 200 anyway"}, NotFoundError),
]


@table(("provider", "status", "body", "kind"), SMALLER + NOT_THIS)
async def test_a_refusal_of_this_request_takes_no_key_out(
    provider: str, status: int, body: Any, kind: type[BifrostError]
) -> None:
    good = CLAUDE_OK if provider == "anthropic" else OK

    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        return httpx.Response(200, json=good) if asked["model"] == "small" else httpx.Response(status, json=body)

    async with client(answer, provider) as bifrost:
        with pytest.raises(BifrostError) as raised:
            await bifrost.chat(f"{provider}/large", "hi")
        assert isinstance(raised.value, kind)
        assert raised.value.retryable is False
        for pin in (f"{provider}-1", f"{provider}-2"):
            assert (await bifrost.chat(f"{provider}/small", "hi", key=pin)).text == "hi"
        assert all(key.state == "ready" for each in bifrost.stats().providers.values() for key in each.keys or ())


async def test_a_restricted_key_chats_after_it_could_not_list_the_models() -> None:
    scope = openai("You have insufficient permissions for this operation. Missing scopes: api.model.read.")

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json=scope) if request.method == "GET" else httpx.Response(200, json=OK)

    async with client(answer, "openai") as bifrost:
        with pytest.raises(PermissionDeniedError, match="the key is valid"):
            await bifrost.list_models("openai")
        assert (await bifrost.chat("openai/m", "hi")).text == "hi"


async def test_what_is_larger_than_the_allowance_is_not_sent_again() -> None:
    status, body = SMALLER[2][1:3]
    error = await refusal("groq", status, body)

    assert len(error.attempts) == 2, "each key once, as each may belong to another organisation"
    assert "smaller request may pass" in str(error)


async def test_moderation_tells_its_reasons_and_repeats_nothing() -> None:
    body = openai(
        "Your input was flagged",
        code=403,
        metadata={"reasons": ["violence", "self-harm"], "flagged_input": "my secret diary", "provider_name": "OpenAI"},
    )
    error = await refusal("openrouter", 403, body)

    assert isinstance(error, ContentFilterError)
    assert "moderation" in str(error)
    assert "violence, self-harm" in str(error)
    assert "secret diary" not in str(error)
    assert len(error.attempts) == 1


# --- in streams


def events(*pieces: tuple[str, Any]) -> bytes:
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in pieces).encode()


BEGINNING = {"id": "c", "choices": [{"index": 0, "delta": {"content": "he"}, "finish_reason": None}]}
CLAUDE_BEGINNING = [
    ("message_start", {"type": "message_start", "message": {**CLAUDE_OK, "content": [], "stop_reason": None}}),
    ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    (
        "content_block_delta",
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "he"}},
    ),
]
STREAMED = [
    ("lmstudio", [], ("error", {"error": {"message": "Context size has been exceeded."}}), ContextLengthError),
    (
        "lmstudio",
        [("message", BEGINNING)],
        ("error", {"error": "Reached context length of 4096 tokens"}),
        ContextLengthError,
    ),
    (
        "sglang",
        [],
        (
            "message",
            {
                "error": {
                    "object": "error",
                    "message": "The input (5 tokens) is longer than the model's context length (4 tokens).",
                    "code": 400,
                }
            },
        ),
        ContextLengthError,
    ),
    (
        "llamacpp",
        [("message", BEGINNING)],
        ("message", openai("Context size has been exceeded.", code=500, type="server_error")),
        ContextLengthError,
    ),
    (
        "xai",
        [],
        ("message", {"error": "Incorrect API key provided: na***ys.", "code": "invalid argument"}),
        AuthenticationError,
    ),
    ("anthropic", [], ("error", anthropic("prompt is too long: 3 tokens > 2 maximum")), ContextLengthError),
    (
        "anthropic",
        CLAUDE_BEGINNING,
        ("error", anthropic("Output blocked by content filtering policy")),
        BadRequestError,
    ),
    ("anthropic", [], ("error", anthropic("Your credit balance is too low")), QuotaExceededError),
]


@table(("provider", "before", "last", "kind"), STREAMED)
async def test_a_refusal_in_a_stream(
    provider: str, before: list[tuple[str, Any]], last: tuple[str, Any], kind: type[BifrostError]
) -> None:
    body = events(*before, last)
    head = {"content-type": "text/event-stream"}
    async with client(lambda _: httpx.Response(200, headers=head, content=body), provider) as bifrost:
        with pytest.raises(BifrostError) as raised:
            await ask(bifrost, f"{provider}/m", stream=True)

    error: BifrostError | None = raised.value
    if isinstance(error, StreamInterruptedError):
        assert before
        error = error.provider_error
    assert isinstance(error, kind)


# --- the patterns themselves


TABLES = (SHARED, anthropic_wording.MESSAGES, gemini_wording.MESSAGES, *openai_wording.VENDORS)


def test_no_pattern_has_an_open_end() -> None:
    for wording in TABLES:
        for sentence in (each for sentences in wording.values() for each in sentences):
            assert not re.search(r"(?<!\\)[*+](?!\?)|\{\d+,\}", sentence.replace(r"\+", "")), sentence


def test_every_meaning_has_sentences() -> None:
    assert {meaning for table in TABLES for meaning in table} == set(get_args(Meaning))


def test_no_sentence_stands_in_two_tables() -> None:
    sentences = [each for table in TABLES for found in table.values() for each in found]
    assert len(sentences) == len(set(sentences))


@table("text", ["", "hi", "a" * 2048, "context length except " * 90, "too long " * 200])
def test_what_says_nothing_means_nothing(text: str) -> None:
    assert openai_wording.WORDING.meaning_of(text) is None
    assert anthropic_wording.WORDING.meaning_of(text) is None
