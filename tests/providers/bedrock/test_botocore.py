"""Our requests are those that botocore makes of the same arguments, which it checks against the service's model."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    VideoPart,
)
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, Reasoning, ResponseFormat
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.providers.base import Built, Target
from bifrost.providers.bedrock import BEDROCK
from tests.providers.golden_cases import Case, cases

if TYPE_CHECKING:
    from collections.abc import Mapping

CASES = [case for case in cases(request=True) if case.provider.name == "bedrock" and case.operation == "chat"]
CLAUDE, NOVA = "anthropic.claude-sonnet-4-5-20250929-v1:0", "us.amazon.nova-2-lite-v1:0"
DATA = "YWJj"
NATIVE = {"title": "t", "source": "s", "location": {"documentChar": {"documentIndex": 0, "start": 0, "end": 1}}}


@cache
def client() -> Any:
    """A client of botocore that knows no files and sends nothing."""
    session = botocore.session.Session()
    return session.create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}),
    )


class _Body(io.BytesIO):
    def stream(self, **_: object) -> Any:
        yield self.read()


def sent_by_botocore(built: Built, target: Target) -> tuple[str, Any]:
    """Return path and body of the request that botocore makes of the members of our body."""
    operation = "ConverseStream" if target.stream else "Converse"
    shape = client().meta.service_model.operation_model(operation).input_shape
    arguments = {
        name: as_argument(value, shape.members[name]) for name, value in json.loads(built.request.body).items()
    }
    found: list[tuple[str, Any]] = []

    def capture(request: Any, **_: object) -> AWSResponse:
        found.append((urlsplit(request.url).path, json.loads(request.body)))
        return AWSResponse(request.url, 400, {}, _Body(b'{"message": "enough"}'))

    events = client().meta.events
    events.register("before-send.bedrock-runtime", capture)
    method = client().converse_stream if target.stream else client().converse
    try:
        with pytest.raises(client().exceptions.ClientError):
            method(modelId=target.model, **arguments)
    finally:
        events.unregister("before-send.bedrock-runtime", capture)
    return found[0]


def as_argument(value: Any, shape: Any) -> Any:
    """Return a value of a body as botocore takes it: base64 is bytes there. Unknown members fail."""
    match shape.type_name:
        case "structure" if not getattr(shape, "is_document_type", False):
            return {name: as_argument(each, shape.members[name]) for name, each in value.items()}
        case "list":
            return [as_argument(each, shape.member) for each in value]
        case "map":
            return {name: as_argument(each, shape.value) for name, each in value.items()}
        case "blob":
            return b64decode(value)
        case _:
            return value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_recorded_request_is_botocores(case: Case) -> None:
    built = case.build()
    path, body = sent_by_botocore(built, case.target)
    assert path == built.request.path
    assert body == json.loads(built.request.body)


def user(*parts: Part, **fields: Any) -> Message:
    return Message(role="user", content=list(parts) or "hi", **fields)


CALL = ToolCall(id="t1", name="f", arguments='{"a": 1}')
MEANINGS: Mapping[str, Mapping[str, Any]] = {
    "options": {"temperature": 0.5, "top_p": 0.5, "max_tokens": 5, "stop": ["x"], "metadata": {"a": "b"}},
    "a tier": {"service_tier": "flex"},
    "a format": {
        "response_format": ResponseFormat(
            type="json_schema", name="n", description="d", schema={"type": "object", "properties": {"é": {}}}
        )
    },
    "tools": {
        "tools": [
            Tool(name="f", description="d", parameters={"type": "object"}, cache=CacheMark(ttl="1h")),
            Tool(name="g", parameters={"type": "object", "properties": {}, "additionalProperties": False}, strict=True),
            ProviderTool(definition={"systemTool": {"name": "nova_grounding"}}),
        ],
        "tool_choice": ToolChoice(mode="tool", name="f"),
    },
    "any tool": {"tools": [Tool(name="f")], "tool_choice": ToolChoice(mode="required")},
    "auto": {"tools": [Tool(name="f")], "tool_choice": ToolChoice()},
    "no tools": {"tools": [Tool(name="f")], "tool_choice": ToolChoice(mode="none")},
    "system": {
        "messages": [
            Message(role="system", content="be nice", cache=CacheMark()),
            Message(role="developer", content=[TextPart(text="a"), TextPart(text="b", cache=CacheMark(ttl="5m"))]),
            user(),
        ]
    },
    "media": {
        "messages": [
            user(
                TextPart(text="see", cache=CacheMark()),
                ImagePart(data=DATA, media_type="image/jpeg"),
                ImagePart(url=f"data:image/png;base64,{DATA}"),
                ImagePart(url="s3://bucket-1/a.webp?bucketOwner=123456789012"),
                VideoPart(data=DATA, media_type="video/mp4"),
                VideoPart(url="s3://bucket-1/a.3gp"),
                AudioPart(data=DATA, format="wav"),
                FilePart(data=DATA, media_type="application/pdf", filename="a b_c.pdf"),
                FilePart(text="abc", context="c", citations=True),
                FilePart(url="s3://bucket-1/a.docx", filename="x.docx"),
                FilePart(data=DATA, filename="a.md"),
            )
        ]
    },
    "calls and results": {
        "messages": [
            user(),
            Message(role="assistant", content=[TextPart(text="so"), CALL, ToolCall(id="t2", name="g")]),
            Message(role="tool", tool_call_id="t2", content="no", is_error=True),
            Message(
                role="tool",
                tool_call_id="t1",
                content=[
                    TextPart(text="a"),
                    ImagePart(data=DATA, media_type="image/gif"),
                    FilePart(data=DATA, media_type="text/csv"),
                    OpaquePart(provider="bedrock", kind="json", data={"json": {"b": [1]}}),
                ],
                cache=CacheMark(),
            ),
            user(TextPart(text="go on")),
        ],
        "tools": [Tool(name="f"), Tool(name="g")],
    },
    "what a model said": {
        "messages": [
            user(),
            Message(
                role="assistant",
                content=[
                    ReasoningPart(text="hm", signature="s", provider="bedrock"),
                    ReasoningPart(redacted=DATA, provider="bedrock"),
                    TextPart(text="so", citations=[Citation(provider="bedrock", native=NATIVE)]),
                ],
            ),
            user(OpaquePart(provider="bedrock", kind="guardContent", data={"guardContent": {"text": {"text": "x"}}})),
        ]
    },
    "extra": {
        "extra": {
            "bedrock": {
                "guardrailConfig": {"guardrailIdentifier": "a", "guardrailVersion": "1", "trace": "enabled"},
                "performanceConfig": {"latency": "optimized"},
                "promptVariables": {"a": {"text": "b"}},
                "additionalModelResponseFieldPaths": ["/stop_sequence"],
                "additionalModelRequestFields": {"a": {"b": 1}},
            }
        }
    },
    "reasoning": {"reasoning": Reasoning(effort="low"), "top_k": 5},
    "a budget": {"reasoning": Reasoning(max_tokens=2000)},
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_each_meaning_is_botocores_request(model: str, stream: bool) -> None:
    target = Target(provider="bedrock", model=model, stream=stream)
    for name, fields in MEANINGS.items():
        request = ChatRequest(model="m", **{"messages": [user()], **fields})
        built = BEDROCK.codecs["chat"].build(request, target)
        path, body = sent_by_botocore(built, target)
        assert path == built.request.path, name
        assert body == json.loads(built.request.body), name
