"""Pictures, videos, sound and documents of Converse: their formats and their sources.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.providers.bedrock.fields import CHAT, SPEAKER
from bifrost.providers.sources import spare_sources
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.operations.chat.content import AudioPart, FilePart, ImagePart, VideoPart
    from bifrost.providers.base import Target

_DATA_URL = re.compile(r"data:([^;,]+)(?:;[^,]{0,200})?;base64,(.*)", re.DOTALL)

_IMAGES: Mapping[str, str] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENTS: Mapping[str, str] = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_VIDEOS: Mapping[str, str] = {
    "video/mp4": "mp4",
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/mpg": "mpg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_VIDEO_ENDINGS: Mapping[str, str] = {**{form: form for form in _VIDEOS.values()}, "3gp": "three_gp"}
_IMAGE_ENDINGS: Mapping[str, str] = {**{form: form for form in _IMAGES.values()}, "jpg": "jpeg"}
_DOCUMENT_ENDINGS: Mapping[str, str] = {**{form: form for form in _DOCUMENTS.values()}, "htm": "html"}

_NAME_LIMIT = 200
_NOT_IN_A_NAME = re.compile(r"[^\w\-()\[\] ]|_", re.ASCII)


class Documents:
    """The names of the documents of a request, which must differ."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._count = 0

    def name(self, filename: str | None) -> str:
        """Return the name of the next document: that of its file as far as Bedrock accepts it, or a neutral one.

        https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html
        """
        self._count += 1
        readable = " ".join(_NOT_IN_A_NAME.sub(" ", filename or "").split())[:_NAME_LIMIT].strip()
        name = readable or f"Document {self._count}"
        number = 1
        while name in self._names:
            number += 1
            name = f"{readable[: _NAME_LIMIT - 10].strip() or 'Document'} ({number})"
        self._names.add(name)
        return name


def image_block(part: ImagePart, where: str, target: Target, warnings: list[str]) -> dict[str, Any]:
    """Return the block of a picture."""
    warnings += spare_sources(part, ("data", "url", "file_id"), where)
    media_type, source = _source(part, "image", where, target)
    form = _format(media_type, part.url, _IMAGES, _IMAGE_ENDINGS, what="image", where=where)
    return {"image": {"format": form, "source": source}}


def picture_format(media_type: str | None, where: str) -> str:
    """Return Bedrock's word for the media type of a picture."""
    return _format(media_type, None, _IMAGES, _IMAGE_ENDINGS, what="image", where=where)


def video_block(part: VideoPart, where: str, target: Target, warnings: list[str]) -> dict[str, Any]:
    """Return the block of a video."""
    warnings += spare_sources(part, ("data", "url", "file_id"), where)
    media_type, source = _source(part, "video", where, target)
    form = _format(media_type, part.url, _VIDEOS, _VIDEO_ENDINGS, what="video", where=where)
    return {"video": {"format": form, "source": source}}


def document_block(
    part: FilePart, where: str, target: Target, documents: Documents, warnings: list[str]
) -> dict[str, Any]:
    """Return the block of a document."""
    warnings += spare_sources(part, ("text", "data", "url", "file_id"), where)
    block: dict[str, Any] = {"name": documents.name(part.filename), **_document(part, where, target)}
    if part.context is not None:
        block["context"] = part.context
    if part.citations is not None:
        block["citations"] = {"enabled": part.citations}
    return {"document": block}


def audio_block(part: AudioPart, where: str) -> dict[str, Any]:
    """Return the block of sound, which has data."""
    if part.format is None:
        raise InvalidRequestError(f"{where}: the audio has data but no format (wav, say)")
    return {"audio": {"format": part.format, "source": {"bytes": json.long_text(part.data or "")}}}


def inline(media_type: str | None, data: str | None, url: str | None) -> tuple[str | None, str | None]:
    """Return media type and base64 data, which may be part of a `data:` URL. Bedrock does not accept such URLs."""
    found = _DATA_URL.fullmatch(url) if data is None and url is not None else None
    return (found[1], found[2]) if found is not None else (media_type, data)


def s3_source(url: str, what: str, where: str) -> dict[str, Any]:
    """Return the source of an object in S3. `?bucketOwner=` of its url names the account that owns the bucket."""
    if not url.startswith("s3://"):
        raise UnsupportedError(
            f"{SPEAKER} fetches no {what} from a web address ({where}); give its data, or a url that begins with s3://"
        )
    split = urlsplit(url)
    owner = parse_qs(split.query).get("bucketOwner")
    location = {"uri": url if owner is None else f"s3://{split.netloc}{split.path}"}
    return {"s3Location": location if owner is None else {**location, "bucketOwner": owner[0]}}


def _document(part: FilePart, where: str, target: Target) -> dict[str, Any]:
    if part.text is not None:
        return {"format": "txt", "source": {"text": part.text}}
    media_type, source = _source(part, "file", where, target)
    named = part.url if part.filename is None else part.filename
    form = _format(media_type, named, _DOCUMENTS, _DOCUMENT_ENDINGS, what="file", where=where)
    return {"format": form, "source": source}


def _source(
    part: ImagePart | VideoPart | FilePart, what: str, where: str, target: Target
) -> tuple[str | None, dict[str, Any]]:
    """Return the media type, if it is known, and the source."""
    media_type, data = inline(part.media_type, part.data, part.url)
    if data is not None:
        return media_type, {"bytes": json.long_text(data)}
    if part.url is not None:
        return media_type, s3_source(part.url, what, where)
    if part.file_id is not None:
        raise CHAT.refusal(f"messages.content.{what}.file_id", target, place=f"({where})")
    raise InvalidRequestError(f"{where}: the {what} has no source; give data with media_type, or an s3:// url")


def _format(
    media_type: str | None,
    named: str | None,
    known: Mapping[str, str],
    endings: Mapping[str, str],
    *,
    what: str,
    where: str,
) -> str:
    """Return Bedrock's word for a media type, or for the ending of a name."""
    if media_type is not None:
        found = known.get(media_type.partition(";")[0].strip().lower())
        if found is None:
            raise UnsupportedError(f"{SPEAKER} takes no {what} of type {media_type} ({where}); it takes {_all(known)}")
        return found
    ending = (named or "").partition("?")[0].rpartition(".")[2].lower()
    if ending not in endings:
        raise InvalidRequestError(f"{where}: the {what} has no media_type ({next(iter(known))}, say)")
    return endings[ending]


def _all(known: Mapping[str, str]) -> str:
    return ", ".join(dict.fromkeys(known.values()))
