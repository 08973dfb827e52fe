"""Pieces of a streamed chat, and the accumulator that makes the plain answer of them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bifrost.frozen import Value
from bifrost.operations.chat.content import (
    AudioPart,
    Citation,
    Function,
    Issuer,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    new_call_id,
)
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.request import (
    ChatResponse,
    Choice,
    FinishReason,
    Logprobs,
    TokenLogprob,
)
from bifrost.operations.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator


class ToolCallDelta(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A piece of a tool call. `index` tells the calls of one answer apart; id and name come with the first piece."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    kind: Literal["function", "custom"] | None = None
    signature: str | None = None

    @property
    def type(self) -> str:
        """OpenAI's `type` of the call."""
        return self.kind or "function"

    @property
    def function(self) -> Function:
        """OpenAI's path to name and arguments."""
        return Function(name=self.name or "", arguments=self.arguments)


class Delta(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a chunk adds to one answer.

    `block` numbers the answer's parts where the provider does so; pieces with the same number belong together.
    `part` is a part that came whole.
    """

    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    signature: str | None = None
    """Vouches for the reasoning of this block; opaque."""
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    citations: list[Citation] | None = None
    audio: AudioPart | None = None
    part: Part | None = None
    block: int | None = None
    provider: str | None = None
    """The provider that reasoning and signatures belong to."""
    issuer: Issuer | None = None
    """Who made reasoning, signatures and the ids of tool calls, as far as it is known."""

    @property
    def reasoning_content(self) -> str | None:
        """`reasoning` under the name that OpenAI-compatible providers give it."""
        return self.reasoning

    @property
    def empty(self) -> bool:
        """Say whether the delta adds nothing that a user would see (a role alone adds nothing)."""
        return not (
            self.content
            or self.reasoning
            or self.signature
            or self.refusal
            or self.tool_calls
            or self.citations
            or self.audio is not None
            or self.part is not None
        )


class ChunkChoice(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A chunk's share in one of the `n` answers."""

    delta: Delta = Delta()
    index: int = 0
    finish_reason: FinishReason | None = None
    native_finish_reason: str | None = None
    stop_sequence: str | None = None
    logprobs: Logprobs | None = None


class Chunk(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A piece of a stream, by OpenAI's paths (`choices[0].delta.content`), with `text` as a shortcut."""

    choices: list[ChunkChoice] = []
    id: str = ""
    model: str = ""
    created: int = 0
    usage: Usage | None = None
    """Tokens of the whole answer so far; the last one counts."""
    service_tier: str | None = None
    system_fingerprint: str | None = None

    @property
    def object(self) -> str:
        """OpenAI's name of the kind of object."""
        return "chat.completion.chunk"

    @property
    def text(self) -> str:
        """The text that this chunk adds to the first answer."""
        for choice in self.choices:
            if choice.index == 0:
                return choice.delta.content or ""
        return ""

    @property
    def has_content(self) -> bool:
        """Say whether the chunk carries content, a tool call, usage or an ending: the stream is then committed."""
        if self.usage is not None:
            return True
        return any(choice.finish_reason is not None or not choice.delta.empty for choice in self.choices)


class StreamReset(Chunk, frozen=True, kw_only=True, omit_defaults=True, gc=True):
    """Takes back everything that a stream has given so far: it broke, and from here on the answer begins anew.

    Only a stream that was asked for with `on_interrupt="restart"` has such chunks. They add nothing themselves:

        async for chunk in stream:
            if isinstance(chunk, StreamReset):
                page.clear()
            page.write(chunk.text)
    """

    reason: str = ""
    """What broke the stream."""
    attempt: int = 0
    """Which attempt answers from here on, counted from 1: its place in the answer's `attempts`."""
    provider: str = ""
    """Who answers from here on; the model is in `model`."""
    partial: ChatResponse
    """The answer that was taken back, as far as it had come."""


class ChatAccumulator:
    """Add chunks, get the answer that a plain call would have given. Usable on its own, for recorded chunks too."""

    def __init__(self, *, provider: str = "", model: str = "") -> None:
        self._begin(provider, model)

    def _begin(self, provider: str, model: str) -> None:
        self._provider = provider
        self._asked = model
        self._head = Chunk(model=model)
        self._headless = True
        self._choices: dict[int, _Growing] = {}
        self._usage: Usage | None = None
        self._service_tier: str | None = None
        self._fingerprint: str | None = None

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk. A `StreamReset` takes back those before it."""
        if isinstance(chunk, StreamReset):
            self._begin(chunk.provider, chunk.model)
            return
        if self._headless:
            self._take_head(chunk)
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.service_tier is not None:
            self._service_tier = chunk.service_tier
        if chunk.system_fingerprint is not None:
            self._fingerprint = chunk.system_fingerprint
        for choice in chunk.choices:
            growing = self._choices.get(choice.index)
            if growing is None:
                growing = self._choices[choice.index] = _Growing()
            growing.add(choice)

    def _take_head(self, chunk: Chunk) -> None:
        """Take id, model and time from the first chunk that has each; the model that was asked for says nothing."""
        head = self._head
        served = head.model if head.model != self._asked else chunk.model or head.model
        if (chunk.id and not head.id) or served != head.model or (chunk.created and not head.created):
            self._head = head = Chunk(
                id=head.id or chunk.id, model=served, created=head.created or chunk.created, choices=[]
            )
        self._headless = not (head.id and head.created and head.model != self._asked)

    @property
    def usage(self) -> Usage | None:
        """The tokens reported so far."""
        return self._usage

    @property
    def finished(self) -> bool:
        """Say whether every answer seen so far has a finish reason."""
        return bool(self._choices) and all(growing.finish_reason for growing in self._choices.values())

    def response(self, *, warnings: list[str] | None = None, **envelope: Any) -> ChatResponse:
        """Give the answer as far as it has come. `envelope` sets further fields (`attempts`, `request_id`, ...)."""
        choices = [growing.choice(index) for index, growing in sorted(self._choices.items())]
        return ChatResponse(
            id=self._head.id,
            model=self._head.model,
            created=self._head.created,
            provider=self._provider,
            choices=choices or [Choice(message=AssistantMessage())],
            usage=self._usage or NO_USAGE,
            service_tier=self._service_tier,
            system_fingerprint=self._fingerprint,
            warnings=warnings or [],
            **envelope,
        )


def chunks_of(response: ChatResponse) -> list[Chunk]:
    """Make chunks of a complete answer, one for each part. An accumulator makes the same answer of them."""
    head = Chunk(id=response.id, model=response.model, created=response.created)
    chunks = [
        msgspec.structs.replace(head, choices=[ChunkChoice(index=choice.index, delta=delta)])
        for choice in response.choices
        for delta in _deltas_of(choice.message)
    ]
    endings = [
        ChunkChoice(
            index=choice.index,
            finish_reason=choice.finish_reason,
            native_finish_reason=choice.native_finish_reason,
            stop_sequence=choice.stop_sequence,
            logprobs=choice.logprobs,
        )
        for choice in response.choices
    ]
    last = msgspec.structs.replace(
        head,
        choices=endings,
        usage=response.usage or None,
        service_tier=response.service_tier,
        system_fingerprint=response.system_fingerprint,
    )
    return [*chunks, last]


class _Growing:
    """One answer as it grows: blocks in order of appearance, each a list of fragments."""

    def __init__(self) -> None:
        self.blocks: dict[tuple[str, int | None], _Block] = {}
        self.text: _Block | None = None
        """The latest block of text: most pieces go on with it."""
        self.finish_reason: FinishReason | None = None
        self.native_finish_reason: str | None = None
        self.stop_sequence: str | None = None
        self.content_logprobs: list[TokenLogprob] = []
        self.refusal_logprobs: list[TokenLogprob] = []

    def add(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        content = delta.content
        if content is not None or delta.citations:
            text = self.text
            if text is None or text.number != delta.block:
                text = self.text = self._block("text", delta.block)
            if content:
                text.fragments.append(content)
            if delta.citations:
                text.citations += delta.citations
        if delta.reasoning is not None or delta.signature is not None:
            thought = self._block("reasoning", delta.block)
            thought.take(delta.reasoning, signature=delta.signature)
            thought.provider = delta.provider or thought.provider
            thought.issuer = delta.issuer or thought.issuer
        if delta.refusal is not None:
            self._block("refusal", delta.block).take(delta.refusal)
        for call in delta.tool_calls or ():
            self._block("tool_call", call.index).take_call(call, delta)
        if delta.audio is not None:
            self._block("audio", delta.block).take_audio(delta.audio)
        if delta.part is not None:
            self._part(delta.block).part = delta.part
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
            self.native_finish_reason = choice.native_finish_reason
            self.stop_sequence = choice.stop_sequence
        if choice.logprobs is not None:
            self.content_logprobs += choice.logprobs.content or ()
            self.refusal_logprobs += choice.logprobs.refusal or ()

    def _part(self, number: int | None) -> _Block:
        """Make the block of a part that came whole. Where blocks are not numbered, each is another one."""
        if number is not None:
            return self._block("part", number)
        block = self.blocks["part", -1 - len(self.blocks)] = _Block("part", None)
        return block

    def _block(self, kind: str, number: int | None) -> _Block:
        block = self.blocks.get((kind, number))
        if block is None:
            block = self.blocks[kind, number] = _Block(kind, number)
        return block

    def ordered(self) -> list[_Block]:
        """Give the blocks as they came or, where the provider does not number them, in the order of a plain answer."""
        blocks = list(self.blocks.values())
        if all(block.number is None or block.kind == "tool_call" for block in blocks):
            blocks.sort(key=lambda block: (_ORDER.index(block.kind), block.number or 0))
        return blocks

    def choice(self, index: int) -> Choice:
        logprobs = None
        if self.content_logprobs or self.refusal_logprobs:
            logprobs = Logprobs(
                content=self.content_logprobs or None,
                refusal=self.refusal_logprobs or None,
            )
        parts = [part for block in self.ordered() if (part := block.finished()) is not None]
        return Choice(
            index=index,
            message=AssistantMessage(parts=parts),
            finish_reason=self.finish_reason,
            native_finish_reason=self.native_finish_reason,
            stop_sequence=self.stop_sequence,
            logprobs=logprobs,
        )


_ORDER = ("reasoning", "text", "refusal", "tool_call", "audio", "part")
"""The parts of an answer that comes in fields and not in numbered blocks."""


class _Block:
    """One part as it grows."""

    def __init__(self, kind: str, number: int | None) -> None:
        self.kind = kind
        self.number = number
        self.fragments: list[str] = []
        self.citations: list[Citation] = []
        self.signature: list[str] = []
        self.part: Part | None = None
        self.provider: str | None = None
        self.issuer: Issuer | None = None
        self.id: str | None = None
        self.name: str | None = None
        self.call_kind: Literal["function", "custom"] = "function"
        self.audio = AudioPart()
        self.sound: list[str] = []

    def take(
        self,
        text: str | None,
        *,
        citations: list[Citation] | None = None,
        signature: str | None = None,
    ) -> None:
        if text:
            self.fragments.append(text)
        if citations:
            self.citations += citations
        if signature:
            self.signature.append(signature)

    def take_call(self, call: ToolCallDelta, delta: Delta) -> None:
        self.provider = delta.provider or self.provider
        self.issuer = delta.issuer or self.issuer
        self.id = self.id or call.id
        if call.name and call.name != self.name:
            self.name = (self.name or "") + call.name  # some servers cut it into pieces
        self.call_kind = call.kind or self.call_kind
        self.take(call.arguments, signature=call.signature)

    def take_audio(self, audio: AudioPart) -> None:
        self.take(audio.transcript)
        if audio.data:
            self.sound.append(audio.data)
        self.audio = AudioPart(
            id=audio.id or self.audio.id,
            format=audio.format or self.audio.format,
            expires_at=audio.expires_at or self.audio.expires_at,
        )

    def finished(self) -> Part | None:
        """Give the part as far as it has come."""
        text = "".join(self.fragments)
        signature = "".join(self.signature) or None
        match self.kind:
            case "part":
                return self.part
            case "text":
                return TextPart(text=text, citations=self.citations or None) if text or self.citations else None
            case "reasoning":
                if not (text or signature):
                    return None
                return ReasoningPart(text=text, signature=signature, provider=self.provider, issuer=self.issuer)
            case "refusal":
                return RefusalPart(refusal=text) if text else None
            case "audio":
                return msgspec.structs.replace(self.audio, data=_joined(self.sound), transcript=text or None)
            case _:
                if self.id is None:
                    # Some OpenAI-compatible providers give none, and the tool's result must name the call.
                    self.id = new_call_id()
                return ToolCall(
                    id=self.id,
                    name=self.name or "",
                    arguments=text,
                    kind=self.call_kind,
                    signature=signature,
                    provider=self.provider,
                    issuer=self.issuer,
                )


def _joined(pieces: list[str]) -> str | None:
    """Join base64 that came in pieces; those with padding of their own are written anew as one."""
    if any(piece.endswith("=") for piece in pieces[:-1]):
        try:
            return b64encode(b"".join([b64decode(piece, validate=True) for piece in pieces])).decode()
        except ValueError:
            pass  # it is no base64; what came is shown as it came
    return "".join(pieces) or None


def _deltas_of(message: AssistantMessage) -> Iterator[Delta]:
    yield Delta(role=message.role)
    calls = 0
    for block, part in enumerate(message.parts):
        match part:
            case TextPart():
                yield Delta(content=part.text, citations=part.citations, block=block)
            case ReasoningPart(redacted=None):
                yield Delta(
                    reasoning=part.text,
                    signature=part.signature,
                    provider=part.provider,
                    issuer=part.issuer,
                    block=block,
                )
            case RefusalPart():
                yield Delta(refusal=part.refusal, block=block)
            case AudioPart():
                yield Delta(audio=part, block=block)
            case ToolCall():
                piece = ToolCallDelta(
                    index=calls,
                    id=part.id,
                    name=part.name,
                    arguments=part.arguments,
                    kind=part.kind,
                    signature=part.signature,
                )
                calls += 1
                yield Delta(tool_calls=[piece], provider=part.provider, issuer=part.issuer, block=block)
            case _:
                yield Delta(part=part, block=block)
