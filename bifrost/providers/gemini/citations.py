"""Sources of a response: grounding (https://ai.google.dev/gemini-api/docs/google-search) and recitation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bifrost.operations.chat.content import Citation
from bifrost.providers.sizes import PARTS_LIMIT, check_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class _Source(msgspec.Struct, rename="camel"):
    uri: str | None = None
    title: str | None = None
    document_name: str | None = None
    file_search_store: str | None = None
    source_uri: str | None = None


class _Segment(msgspec.Struct, rename="camel"):
    start_index: int | None = None
    end_index: int | None = None
    text: str | None = None


class _Support(msgspec.Struct, rename="camel"):
    segment: _Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class _Grounding(msgspec.Struct, rename="camel"):
    grounding_chunks: list[dict[str, Any]] | None = None
    grounding_supports: list[_Support] | None = None


class _Recited(msgspec.Struct, rename="camel"):
    start_index: int | None = None
    end_index: int | None = None
    uri: str | None = None
    title: str | None = None


class _Recitation(msgspec.Struct, rename="camel"):
    citation_sources: list[_Recited] | None = None
    citations: list[_Recited] | None = None


_T = TypeVar("_T")

_GROUNDING = msgspec.json.Decoder(_Grounding, strict=False)
_RECITATION = msgspec.json.Decoder(_Recitation, strict=False)


def citations_of(grounding: msgspec.Raw, recitation: msgspec.Raw, text: str | None, provider: str) -> list[Citation]:
    """Return the citations of a candidate, with offsets in its text (none if it is `None`).

    What cannot be read is skipped.
    """
    found = [*_grounded(grounding, provider), *_recited(recitation, provider)]
    check_count(len(found), PARTS_LIMIT, what="citations")
    return _at_characters(found, text)


def _grounded(data: msgspec.Raw, provider: str) -> Iterator[Citation]:
    grounding = _read(data, _GROUNDING)
    if grounding is None:
        return
    chunks = grounding.grounding_chunks or []
    sources = [_source(chunk) for chunk in chunks]
    for support in grounding.grounding_supports or ():
        segment = support.segment or _Segment()
        for number in support.grounding_chunk_indices or ():
            if not 0 <= number < len(sources):
                continue
            source = sources[number]
            yield Citation(
                url=source.uri or source.source_uri,
                title=source.title or source.document_name,
                text=segment.text,
                start=segment.start_index or 0,
                end=segment.end_index,
                file_id=source.file_search_store,
                provider=provider,
                native=chunks[number],
            )


def _recited(data: msgspec.Raw, provider: str) -> Iterator[Citation]:
    recitation = _read(data, _RECITATION)
    if recitation is None:
        return
    for source in (*(recitation.citation_sources or ()), *(recitation.citations or ())):
        yield Citation(
            url=source.uri,
            title=source.title,
            start=source.start_index or 0,
            end=source.end_index,
            provider=provider,
        )


def _source(chunk: Mapping[str, Any]) -> _Source:
    """Return the source in a chunk: `web`, `retrievedContext`, `maps` or `image`."""
    for source in chunk.values():
        try:
            return msgspec.convert(source, _Source, strict=False)
        except msgspec.ValidationError:
            continue
    return _Source()


def _read(data: msgspec.Raw, decoder: msgspec.json.Decoder[_T]) -> _T | None:
    try:
        return decoder.decode(data) if data else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _at_characters(citations: Sequence[Citation], text: str | None) -> list[Citation]:
    """Return the citations with offsets in characters; Gemini's are offsets in bytes of UTF-8."""
    if text is not None and text.isascii():
        return list(citations)
    places: Mapping[int | None, int] = (
        {}
        if text is None
        else _characters(text, {place for each in citations for place in (each.start, each.end) if place is not None})
    )
    return [msgspec.structs.replace(each, start=places.get(each.start), end=places.get(each.end)) for each in citations]


def _characters(text: str, places: Iterable[int]) -> dict[int | None, int]:
    """Return the offsets in characters of offsets in bytes. An offset beyond the text is omitted."""
    data = text.encode("utf-8", "surrogatepass")
    found: dict[int | None, int] = {}
    done = count = 0
    for place in sorted(places):
        if 0 <= place <= len(data):
            count += len(data[done:place].decode("utf-8", "ignore"))
            done = place
            found[place] = count
    return found
