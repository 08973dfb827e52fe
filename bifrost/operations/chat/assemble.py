"""From the chunks of a chat to its response, and back."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, StreamReset, ToolCallDelta
from bifrost.operations.chat.content import (
    AudioPart,
    Citation,
    Issuer,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    new_call_id,
)
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason, Logprobs, TokenLogprob
from bifrost.operations.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator


class ChatAccumulator:
    """Combines chunks into the response that a call without streaming would have returned.

    It also accepts recorded chunks.

        accumulator = ChatAccumulator()
        for chunk in chunks:
            accumulator.add(chunk)
        response = accumulator.response()
    """

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
        """Add the next chunk. A `StreamReset` discards those before it."""
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
        """Set id, model and time from the first chunk that has each. The name of the requested model does not count."""
        head = self._head
        served = head.model if head.model != self._asked else chunk.model or head.model
        if (chunk.id and not head.id) or served != head.model or (chunk.created and not head.created):
            self._head = head = Chunk(
                id=head.id or chunk.id, model=served, created=head.created or chunk.created, choices=[]
            )
        self._headless = not (head.id and head.created and head.model != self._asked)

    @property
    def usage(self) -> Usage | None:
        """The usage reported so far; `None` if there was none."""
        return self._usage

    @property
    def finished(self) -> bool:
        """Whether all choices seen so far have a finish reason."""
        return bool(self._choices) and all(growing.finish_reason for growing in self._choices.values())

    def response(self, *, warnings: list[str] | None = None, **envelope: Any) -> ChatResponse:
        """Return the response so far. `envelope` sets further fields (`attempts`, `request_id`, ...)."""
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
    """Return chunks of a complete response, one per part. An accumulator makes an equal response of them."""
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
    """One choice as it grows: blocks in order of appearance, each a list of fragments."""

    def __init__(self) -> None:
        self.blocks: dict[tuple[str, int | None], _Block] = {}
        self.text: _Block | None = None
        """The latest text block, which most pieces belong to."""
        self.finish_reason: FinishReason | None = None
        self.native_finish_reason: str | None = None
        self.stop_sequence: str | None = None
        self.content_logprobs: list[TokenLogprob] = []
        self.refusal_logprobs: list[TokenLogprob] = []

    def add(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        content = delta.content
        if content is not None or delta.citations or delta.text_signature is not None:
            text = self.text
            if text is None or text.number != delta.block:
                text = self.text = self._block("text", delta.block)
            if content:
                text.fragments.append(content)
            if delta.citations or delta.text_signature is not None:
                text.support(delta)
        if delta.reasoning is not None or delta.signature is not None:
            thought = self._block("reasoning", delta.block)
            thought.take(delta.reasoning)
            thought.sign(delta.signature, delta)
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
            self._add_logprobs(choice.logprobs)

    def _add_logprobs(self, logprobs: Logprobs) -> None:
        self.content_logprobs += logprobs.content or ()
        self.refusal_logprobs += logprobs.refusal or ()

    def _part(self, number: int | None) -> _Block:
        """Return the block of a complete part. If blocks are not numbered, each part gets a new one."""
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
        """Return the blocks in order of appearance.

        If the provider does not number them, they are in the usual order of the parts.
        """
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
"""The order of the parts in a response that has fields instead of numbered blocks."""


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

    def take(self, text: str | None) -> None:
        if text:
            self.fragments.append(text)

    def support(self, delta: Delta) -> None:
        """Add citations of a text, and its signature."""
        self.citations += delta.citations or ()
        if delta.text_signature is not None:
            self.sign(delta.text_signature, delta)

    def sign(self, signature: str | None, delta: Delta) -> None:
        """Add a piece of a signature, and the origin of this part."""
        if signature:
            self.signature.append(signature)
        self.provider = delta.provider or self.provider
        self.issuer = delta.issuer or self.issuer

    def take_call(self, call: ToolCallDelta, delta: Delta) -> None:
        self.sign(call.signature, delta)
        self.id = self.id or call.id
        if call.name and call.name != self.name:
            self.name = (self.name or "") + call.name  # some servers send it in pieces
        self.call_kind = call.kind or self.call_kind
        self.take(call.arguments)

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
        """Return the part so far; `None` if it is empty."""
        text = "".join(self.fragments)
        signature = "".join(self.signature) or None
        match self.kind:
            case "part":
                return self.part
            case "text":
                return self._text(text, signature) if text or self.citations or signature else None
            case "reasoning":
                if not (text or signature):
                    return None
                return ReasoningPart(text=text, signature=signature, provider=self.provider, issuer=self.issuer)
            case "refusal":
                return RefusalPart(refusal=text) if text else None
            case "audio":
                return msgspec.structs.replace(self.audio, data=_join_base64(self.sound), transcript=text or None)
            case _:
                if self.id is None:
                    # Some OpenAI-compatible providers send none, but the tool's result must name the call.
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

    def _text(self, text: str, signature: str | None) -> TextPart:
        return TextPart(
            text=text,
            citations=self.citations or None,
            signature=signature,
            provider=self.provider,
            issuer=self.issuer,
        )


def _join_base64(pieces: list[str]) -> str | None:
    """Join pieces of base64. Pieces with their own padding are encoded again as one."""
    if any(piece.endswith("=") for piece in pieces[:-1]):
        try:
            return b64encode(b"".join([b64decode(piece, validate=True) for piece in pieces])).decode()
        except ValueError:
            pass  # it is not base64, so it is returned unchanged
    return "".join(pieces) or None


def _deltas_of(message: AssistantMessage) -> Iterator[Delta]:
    yield Delta(role=message.role)
    calls = 0
    for block, part in enumerate(message.parts):
        match part:
            case TextPart():
                yield Delta(
                    content=part.text,
                    citations=part.citations,
                    text_signature=part.signature,
                    provider=part.provider,
                    issuer=part.issuer,
                    block=block,
                )
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
