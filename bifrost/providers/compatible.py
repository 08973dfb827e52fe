"""The providers with OpenAI's dialect. Where one departs from the dialect, the vendor's page is named."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from bifrost.errors import ConfigError
from bifrost.misplaced_keys import hides_keys, looks_like_key
from bifrost.operations.chat.operation import CHAT
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.chat.structured.strict_schema import OPENAI_RULES
from bifrost.operations.embeddings import EMBEDDINGS, EmbeddingRequest, EmbeddingResponse
from bifrost.operations.models import MODELS, ModelsRequest, ModelsResponse
from bifrost.providers.base import Codec, Provider
from bifrost.providers.call_ids import CallIdRule
from bifrost.providers.mistral import ocr as mistral_ocr
from bifrost.providers.openai import (
    OPENAI_ALONE,
    OPENAI_CALL_IDS,
    OPENAI_FAMILIES,
    ChatDecoder,
    Quirks,
    batches,
    build_chat,
    build_embeddings,
    build_models,
    check_embeddings,
    completions,
    files,
    images,
    is_whole,
    moderations,
    parse_chat,
    parse_embeddings,
    parse_error,
    parse_models,
    speech,
    token_count,
    transcription,
)
from bifrost.providers.openai.fields import MODELS as MODEL_FIELDS
from bifrost.providers.responses import (
    COMPACTIONS,
    RESPONSES,
    STORED,
    native,
    native_compactions,
    native_stored,
    with_others,
    with_responses,
)
from bifrost.wire.auth import BEARER, Auth, NoAuth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.base import OperationName, StructuredMode

__all__ = ["COMPATIBLE", "OPENAI", "Quirks", "openai_codecs", "speaks_openai"]


@hides_keys
def speaks_openai(
    name: str,
    base_url: str,
    key_variable: str | None,
    quirks: Quirks | None = None,
    *,
    other_key_variables: Sequence[str] = (),
    other_base_url_variables: Sequence[str] = (),
    docs: str = "",
    endpoints: Sequence[OperationName] = ("chat", "embeddings", "models"),
    auth: Auth = BEARER,
    request_id_headers: Sequence[str] = ("x-request-id", "request-id"),
    structured: Sequence[StructuredMode] = ("native", "tool", "prompt"),
) -> Provider:
    """Return a provider with OpenAI's dialect.

        speaks_openai("somehost", "https://api.somehost.example/v1", "SOMEHOST_API_KEY", Quirks(...))

    Args:
        name: The name in calls, before the slash.
        base_url: Its address, up to the version. `EnvAccount` prefers the variable `<NAME>_BASE_URL`, if it is set.
        key_variable: The environment variable with the key, for `EnvAccount`; `None`: there is none.
        quirks: The departures from the dialect.
        other_key_variables: Further variables, of other tools; tried in order if that one is not set.
        other_base_url_variables: Like `<NAME>_BASE_URL`; tried in order if that one is not set.
        docs: The address of the vendor's reference.
        endpoints: The operations that it supports. Without `responses`, that operation uses the chat.
        auth: How the key is sent; `NoAuth()` for a server without keys.
        request_id_headers: The header fields that may contain the vendor's identifier of the request.
        structured: The modes of structured output, the best first.

    Raises `ConfigError` for a name that calls cannot use, and for an endpoint that the dialect does not have.
    """
    for what, given in (("name", name), ("base_url", base_url), ("key_variable", key_variable)):
        if given is not None and looks_like_key(given):
            raise ConfigError(f"{what}: this looks like a key or holds a password; keys belong into the account")
    quirks = quirks or Quirks()
    codecs = openai_codecs(quirks)
    known = [*codecs, RESPONSES, STORED, COMPACTIONS]
    for endpoint in endpoints:
        if endpoint not in known:
            raise ConfigError(f"{name}: OpenAI's dialect has no endpoint {endpoint!r}; it has: {', '.join(known)}")
    mine = {endpoint: codecs[endpoint] for endpoint in endpoints if endpoint in codecs}
    return Provider(
        name=name,
        base_url=base_url,
        codecs=with_responses(
            mine,
            partial(native, quirks.responses_lack) if RESPONSES in endpoints else None,
            native_stored if STORED in endpoints else None,
            native_compactions if COMPACTIONS in endpoints else None,
        ),
        parse_error=parse_error,
        auth=auth,
        key_variables=() if key_variable is None else (key_variable,),
        other_key_variables=tuple(other_key_variables),
        base_url_variable=f"{name.upper().replace('-', '_')}_BASE_URL",
        other_base_url_variables=tuple(other_base_url_variables),
        request_id_headers=tuple(request_id_headers),
        structured=tuple(structured),
        schema_rules=quirks.schema_rules,
        docs=docs,
    )


def openai_codecs(quirks: Quirks) -> Mapping[OperationName, Codec[Any, Any]]:
    """Return the codecs of OpenAI's dialect, adapted to the quirks of a server."""
    chat = Codec[ChatRequest, ChatResponse](
        operation=CHAT,
        build=partial(build_chat, quirks=quirks),
        parse=partial(parse_chat, quirks=quirks),
        decoder=partial(ChatDecoder, quirks=quirks),
        is_whole=is_whole,
        fields=quirks.chat,
    )
    return {
        "chat": chat,
        "embeddings": Codec[EmbeddingRequest, EmbeddingResponse](
            operation=EMBEDDINGS,
            build=partial(build_embeddings, quirks=quirks),
            parse=parse_embeddings,
            check=check_embeddings,
            fields=quirks.embeddings,
        ),
        "models": Codec[ModelsRequest, ModelsResponse](
            operation=MODELS, build=build_models, parse=parse_models, fields=MODEL_FIELDS
        ),
        "moderations": moderations.CODEC,
        "count_tokens": token_count.CODEC,
        "completions": completions.codec_of(quirks),
        "images": images.codec_of(quirks.images_lack),
        "speech": speech.codec_of(quirks.speech_lack),
        "files": files.FILES_CODEC,
        "file_content": files.CONTENT_CODEC,
        **batches.batch_codecs(chat),
        "transcriptions": transcription.codec_of(quirks.transcriptions_lack),
    }


_STATELESS = frozenset(["previous_response_id", "conversation", "prompt", "background", "store"]) | {
    "moderation",
    "context_management",
    "prompt_cache_options",
}
"""What a Responses API lacks that stores nothing."""

OPENAI = speaks_openai(
    "openai",
    "https://api.openai.com/v1",
    "OPENAI_API_KEY",
    Quirks(call_ids=OPENAI_CALL_IDS, raw_arguments=True, schema_rules=OPENAI_RULES, families=OPENAI_FAMILIES),
    other_base_url_variables=("OPENAI_API_BASE",),
    endpoints=(
        "chat",
        "embeddings",
        "models",
        "moderations",
        "count_tokens",
        "completions",
        "images",
        "speech",
        "transcriptions",
        "responses",
        "stored_responses",
        "compactions",
        "files",
        "file_content",
        "batches",
        "batch_input",
        "batch_results",
    ),
    docs="https://platform.openai.com/docs/api-reference/chat",
)

_GROQ = speaks_openai(
    "groq",
    "https://api.groq.com/openai/v1",
    "GROQ_API_KEY",
    Quirks(
        # Unsupported options are refused: https://console.groq.com/docs/openai
        lacks=(OPENAI_ALONE - {"service_tier"})
        | {"names", "n", "logprobs", "top_logprobs", "logit_bias", "sounds", "files"},
        # The last event has the usage, and x_groq too.
        usage_comes_unasked=True,
        web_search="settings",
        developer_role="system",
        cache_marks=None,
        # https://console.groq.com/docs/responses-api
        responses_lack=_STATELESS
        | {"truncation", "include", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"},
        # https://console.groq.com/docs/text-to-speech
        speech_lack=frozenset(["instructions"]),
        # https://console.groq.com/docs/api-reference#audio-transcription
        transcriptions_lack=frozenset(["chunking_strategy", "known_speaker_names", "known_speaker_references"]),
    ),
    endpoints=("chat", "models", "responses", "speech", "transcriptions"),
    # A schema only with some models: https://console.groq.com/docs/structured-outputs
    structured=("tool", "native", "json_object", "prompt"),
    docs="https://console.groq.com/docs/api-reference#chat-create",
)

_DEEPSEEK = speaks_openai(
    "deepseek",
    "https://api.deepseek.com",
    "DEEPSEEK_API_KEY",
    Quirks(
        # https://api-docs.deepseek.com/api/create-chat-completion
        max_tokens_field="max_tokens",
        lacks=OPENAI_ALONE
        | {"n", "seed", "user", "logit_bias", "parallel_tool_calls", "json_schema"}
        | {"images", "sounds", "files", "web_search"},
        # A message with tool calls is refused without its reasoning: https://api-docs.deepseek.com/guides/thinking_mode
        reasoning="thinking",
        reasoning_field="reasoning_content",
        calls_need_reasoning=True,
        calls_need_content=True,
        developer_role="system",
        cache_marks=None,
        # https://api-docs.deepseek.com/api/create-completion
        completions_lack=frozenset(["n", "best_of", "logit_bias", "seed", "user"]),
        completions_path="/beta/completions",
    ),
    endpoints=("chat", "models", "completions"),
    # While it thinks, which is the default, it cannot be forced to call a tool.
    structured=("json_object", "tool", "prompt"),
    docs="https://api-docs.deepseek.com/api/create-chat-completion",
)

_XAI = speaks_openai(
    "xai",
    "https://api.x.ai/v1",
    "XAI_API_KEY",
    Quirks(
        # https://docs.x.ai/docs/api-reference#chat-completions; its search is gone from this endpoint (status 410):
        # https://docs.x.ai/docs/guides/tools/overview
        lacks=OPENAI_ALONE | {"logit_bias", "sounds", "files", "web_search"},
        # https://docs.x.ai/docs/guides/reasoning
        reasoning_tokens_apart=True,
        developer_role="system",
        cache_marks=None,
        # https://docs.x.ai/docs/api-reference#create-new-response
        responses_lack=frozenset(["background", "conversation", "prompt", "moderation", "context_management"])
        | {"metadata", "service_tier", "truncation", "max_tool_calls", "safety_identifier"}
        | {"prompt_cache_retention", "prompt_cache_options", "stream_options"},
        # https://docs.x.ai/docs/guides/image-generations
        images_lack=images.OPENAI_ALONE,
    ),
    endpoints=("chat", "models", "responses", "images"),
    docs="https://docs.x.ai/docs/api-reference#chat-completions",
)

_OPENROUTER = speaks_openai(
    "openrouter",
    "https://openrouter.ai/api/v1",
    "OPENROUTER_API_KEY",
    Quirks(
        # https://openrouter.ai/docs/api-reference/parameters
        lacks=frozenset(["n", "store", "safety_identifier", "prompt_cache_retention", "include_obfuscation"])
        | {"refusals", "custom_tools", "allowed_tools"},
        top_k=True,
        # https://openrouter.ai/docs/use-cases/reasoning-tokens
        reasoning="object",
        reasoning_field="reasoning_details",
        # Pictures stand in `images` of an answer: https://openrouter.ai/docs/features/multimodal/image-generation
        images_in_results=True,
        answers_have_images=True,
        # https://openrouter.ai/docs/features/multimodal/videos
        videos=True,
        # https://openrouter.ai/docs/features/prompt-caching
        cache_marks="cache_control",
        # https://openrouter.ai/docs/features/multimodal/pdfs
        files_by_url=True,
        web_search="tool",
        developer_role="system",
        # https://openrouter.ai/docs/api-reference/responses-api/overview
        responses_lack=_STATELESS | {"prompt_cache_retention", "stream_options"},
    ),
    endpoints=("chat", "embeddings", "models", "responses"),
    # A schema only with some models: https://openrouter.ai/docs/features/structured-outputs
    structured=("tool", "native", "prompt"),
    docs="https://openrouter.ai/docs/api-reference/chat-completion",
)

_PERPLEXITY = speaks_openai(
    "perplexity",
    "https://api.perplexity.ai",
    "PERPLEXITY_API_KEY",
    Quirks(
        # https://docs.perplexity.ai/api-reference/chat-completions-post
        max_tokens_field="max_tokens",
        lacks=OPENAI_ALONE
        | {"tools", "tool_choice", "parallel_tool_calls", "json_object", "n", "seed", "user", "names"}
        | {"logprobs", "top_logprobs", "logit_bias", "sounds"},
        top_k=True,
        # Every event has the usage so far.
        usage_comes_unasked=True,
        web_search="filters",
        # https://docs.perplexity.ai/guides/file-attachments
        files="file_url",
        developer_role="system",
        cache_marks=None,
    ),
    endpoints=("chat",),
    structured=("native", "prompt"),
    other_key_variables=("PERPLEXITYAI_API_KEY",),
    docs="https://docs.perplexity.ai/api-reference/chat-completions-post",
)

_CEREBRAS = speaks_openai(
    "cerebras",
    "https://api.cerebras.ai/v1",
    "CEREBRAS_API_KEY",
    Quirks(
        # Unsupported options are refused: https://inference-docs.cerebras.ai/resources/openai
        lacks=(OPENAI_ALONE - {"service_tier", "prediction"})
        | {"frequency_penalty", "presence_penalty", "logit_bias"}
        | {"images", "sounds", "files", "web_search"},
        # https://inference-docs.cerebras.ai/capabilities/reasoning
        reasoning_field="reasoning",
        developer_role="system",
        cache_marks=None,
    ),
    endpoints=("chat", "models"),
    docs="https://inference-docs.cerebras.ai/api-reference/chat-completions",
)

_TOGETHER = speaks_openai(
    "together",
    "https://api.together.xyz/v1",
    "TOGETHER_API_KEY",
    Quirks(
        # https://docs.together.ai/reference/chat-completions-1
        max_tokens_field="max_tokens",
        lacks=OPENAI_ALONE | {"user", "parallel_tool_calls", "sounds", "files", "web_search"},
        top_k=True,
        logprobs_are_counted=True,
        # https://docs.together.ai/docs/inference/chat/reasoning
        reasoning="switch",
        # https://docs.together.ai/reference/embeddings-2
        vectors_are_numbers=True,
        developer_role="system",
        cache_marks=None,
        # https://docs.together.ai/reference/completions-1
        completions_lack=frozenset(["suffix", "best_of", "user"]),
    ),
    endpoints=("chat", "embeddings", "models", "completions"),
    other_key_variables=("TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
    docs="https://docs.together.ai/reference/chat-completions-1",
)

_MISTRAL_CHAT = speaks_openai(
    "mistral",
    "https://api.mistral.ai/v1",
    "MISTRAL_API_KEY",
    Quirks(
        # Options that are not in its specification are refused: https://docs.mistral.ai/api/endpoint/chat
        max_tokens_field="max_tokens",
        renames={"seed": "random_seed", "dimensions": "output_dimension"},
        lacks=(OPENAI_ALONE - {"metadata", "prompt_cache_key", "prediction"})
        | {"user", "names", "logit_bias", "logprobs", "top_logprobs", "web_search"},
        prediction_is_text=True,
        usage_comes_unasked=True,
        parameters_are_needed=True,
        # "Tool call id was ... but must be a-z, A-Z, 0-9, with a length of 9."
        call_ids=CallIdRule(pattern=re.compile("[a-zA-Z0-9]{9}"), length=9),
        calls_need_content=True,
        # https://docs.mistral.ai/capabilities/completion/prefix
        prefix=True,
        images_in_results=True,
        # https://docs.mistral.ai/capabilities/reasoning
        reasoning_field="thinking",
        # https://docs.mistral.ai/capabilities/document_ai/document_qna
        files="document_url",
        sound_is_bare=True,
        vectors_are_numbers=True,
        output_dtype=True,
        developer_role="system",
        cache_marks=None,
    ),
    request_id_headers=("mistral-correlation-id", "x-request-id"),
    structured=("native", "tool", "json_object", "prompt"),
    docs="https://docs.mistral.ai/api/endpoint/chat",
)
_MISTRAL = _MISTRAL_CHAT.replace(
    codecs=with_others(_MISTRAL_CHAT.codecs, {"moderations": moderations.TEXT_CODEC, "ocr": mistral_ocr.CODEC})
)

_HUGGINGFACE = speaks_openai(
    "huggingface",
    "https://router.huggingface.co/v1",
    "HF_TOKEN",
    Quirks(
        # https://huggingface.co/docs/inference-providers/tasks/chat-completion
        max_tokens_field="max_tokens",
        lacks=OPENAI_ALONE | {"n", "user", "logit_bias", "parallel_tool_calls", "sounds", "files", "web_search"},
        developer_role="system",
        cache_marks=None,
    ),
    endpoints=("chat", "models"),
    # Support for schemas depends on the host behind the router.
    structured=("tool", "native", "prompt"),
    other_key_variables=("HUGGINGFACE_API_KEY", "HUGGINGFACEHUB_API_TOKEN"),
    docs="https://huggingface.co/docs/inference-providers/tasks/chat-completion",
)

# --- servers on the user's own machine; they need no key by default

_LOCAL = OPENAI_ALONE | {"files", "web_search"}

_VLLM = speaks_openai(
    "vllm",
    "http://localhost:8000/v1",
    None,
    Quirks(
        # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
        lacks=_LOCAL,
        top_k=True,
        # https://docs.vllm.ai/en/latest/features/multimodal_inputs.html#video-inputs_1
        videos=True,
        # https://docs.vllm.ai/en/latest/features/reasoning_outputs.html
        reasoning_field="reasoning",
        calls_need_content=True,
        developer_role="system",
        cache_marks=None,
        # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#completions-api
        completions_lack=frozenset(["suffix", "user"]),
    ),
    endpoints=("chat", "embeddings", "models", "completions"),
    auth=NoAuth(),
    docs="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
)

_SGLANG = speaks_openai(
    "sglang",
    "http://localhost:30000/v1",
    None,
    Quirks(
        # https://docs.sglang.ai/basic_usage/openai_api_completions.html
        lacks=_LOCAL | {"sounds"},
        top_k=True,
        reasoning_field="reasoning_content",
        vectors_are_numbers=True,
        calls_need_content=True,
        developer_role="system",
        cache_marks=None,
        # https://docs.sglang.ai/basic_usage/openai_api_completions.html
        completions_lack=frozenset(["suffix", "user", "best_of"]),
    ),
    endpoints=("chat", "embeddings", "models", "completions"),
    auth=NoAuth(),
    docs="https://docs.sglang.ai/basic_usage/openai_api_completions.html",
)

_LMSTUDIO = speaks_openai(
    "lmstudio",
    "http://localhost:1234/v1",
    None,
    Quirks(
        # https://lmstudio.ai/docs/developer/openai-compat/chat-completions
        max_tokens_field="max_tokens",
        lacks=_LOCAL
        | {"n", "user", "logprobs", "top_logprobs", "parallel_tool_calls", "named_tool", "sounds"}
        # https://lmstudio.ai/docs/developer/openai-compat/structured-output
        | {"json_object"},
        top_k=True,
        vectors_are_numbers=True,
        calls_need_content=True,
        developer_role="system",
        cache_marks=None,
        # https://lmstudio.ai/docs/developer/openai-compat/completions
        completions_lack=frozenset(["suffix", "best_of", "echo", "n", "logprobs", "user"]),
    ),
    endpoints=("chat", "embeddings", "models", "completions"),
    auth=NoAuth(),
    docs="https://lmstudio.ai/docs/developer/openai-compat",
)

_LLAMACPP = speaks_openai(
    "llamacpp",
    "http://localhost:8080/v1",
    None,
    Quirks(
        # https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
        max_tokens_field="max_tokens",
        lacks=_LOCAL | {"user", "named_tool"},
        top_k=True,
        reasoning_field="reasoning_content",
        calls_need_content=True,
        developer_role="system",
        cache_marks=None,
        # https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
        completions_lack=frozenset(["suffix", "best_of", "echo", "n", "user"]),
    ),
    endpoints=("chat", "embeddings", "models", "completions"),
    auth=NoAuth(),
    docs="https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
)

_OLLAMAS = Quirks(
    # https://docs.ollama.com/api/openai-compatibility
    max_tokens_field="max_tokens",
    lacks=_LOCAL
    | {"n", "user", "logit_bias", "logprobs", "top_logprobs", "tool_choice", "parallel_tool_calls", "sounds"},
    reasoning_field="reasoning",
    calls_need_content=True,
    developer_role="system",
    cache_marks=None,
)

# Ollama's own format is in `bifrost.providers.ollama`; these are its endpoints in OpenAI's.

_OLLAMA = speaks_openai(
    "ollama-openai",
    "http://localhost:11434/v1",
    None,
    _OLLAMAS,
    auth=NoAuth(),
    structured=("native", "json_object", "prompt"),
    docs="https://docs.ollama.com/api/openai-compatibility",
)

_OLLAMA_CLOUD = speaks_openai(
    "ollama-cloud-openai",
    "https://ollama.com/v1",
    # OLLAMA_API_KEY sets up the provider with Ollama's own format.
    "OLLAMA_CLOUD_OPENAI_API_KEY",
    _OLLAMAS,
    endpoints=("chat", "models"),
    # Its models accept a schema but ignore it: https://docs.ollama.com/capabilities/structured-outputs
    structured=("json_object", "prompt"),
    docs="https://docs.ollama.com/cloud",
)

COMPATIBLE: Sequence[Provider] = (
    OPENAI,
    _GROQ,
    _DEEPSEEK,
    _XAI,
    _OPENROUTER,
    _PERPLEXITY,
    _CEREBRAS,
    _TOGETHER,
    _MISTRAL,
    _HUGGINGFACE,
    _VLLM,
    _SGLANG,
    _LMSTUDIO,
    _LLAMACPP,
    _OLLAMA,
    _OLLAMA_CLOUD,
)
"""The providers, in the order in which they are listed."""
