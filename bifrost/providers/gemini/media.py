"""Images, sound, videos and documents of a request, as `inlineData` or `fileData`.

Reference: https://ai.google.dev/gemini-api/docs/file-input-methods. Addresses are fetched by Google; those of YouTube
videos, of uploaded files and of Cloud Storage (with Vertex AI) are of this form as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bifrost.errors import InvalidRequestError
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.operations.chat.content import AudioPart, FilePart, ImagePart, VideoPart

_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)
_ENDING = re.compile(r"\.([a-zA-Z0-9]{1,5})(?:[?#]|$)")
_FILES = "https://generativelanguage.googleapis.com/v1beta/"

_MEDIA_TYPES: Mapping[str, str] = {
    **{name: f"image/{name}" for name in ("png", "jpeg", "webp", "heic", "heif", "gif", "bmp", "avif")},
    **{name: f"video/{name}" for name in ("mp4", "mpeg", "webm", "avi", "wmv", "3gpp")},
    **{name: f"audio/{name}" for name in ("wav", "mp3", "aiff", "aac", "ogg", "flac")},
    **{name: f"text/{name}" for name in ("html", "css", "csv", "xml", "rtf")},
    "jpg": "image/jpeg",
    "mov": "video/quicktime",
    "mpg": "video/mpeg",
    "flv": "video/x-flv",
    "m4a": "audio/mp4",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "json": "application/json",
}
"""Media types by the ending of an address."""


def media(part: ImagePart | VideoPart | FilePart, where: str, what: str) -> dict[str, Any]:
    """Return the wire form of a part. Raises `InvalidRequestError` if it has no source."""
    if part.file_id is not None:
        return _file(part.file_id if ":" in part.file_id else _FILES + part.file_id, part.media_type)
    if part.data is not None:
        if part.media_type is None:
            raise InvalidRequestError(f"{where}: the {what} has data but no media_type ({_EXAMPLES[what]}, say)")
        return {"inlineData": {"mimeType": part.media_type, "data": json.long_text(part.data)}}
    if part.url is None:
        raise InvalidRequestError(f"{where}: the {what} has no source; give url, data with media_type, or file_id")
    inline = _DATA_URL.fullmatch(part.url)
    if inline is not None:
        return {"inlineData": {"mimeType": part.media_type or inline[1], "data": json.long_text(inline[2])}}
    return _file(part.url, part.media_type)


def sound(part: AudioPart, where: str) -> dict[str, Any]:
    """Return the wire form of sound. Raises `InvalidRequestError` if it has no format."""
    if part.data is None or part.format is None:
        raise InvalidRequestError(f"{where}: sound in a message needs data and format (wav or mp3)")
    return {"inlineData": {"mimeType": f"audio/{part.format}", "data": json.long_text(part.data)}}


_EXAMPLES: Mapping[str, str] = {"image": "image/png", "video": "video/mp4", "file": "application/pdf"}


def _file(url: str, media_type: str | None) -> dict[str, Any]:
    ending = None if media_type is not None else _ENDING.search(url)
    known = media_type or (_MEDIA_TYPES.get(ending[1].lower()) if ending is not None else None)
    return {"fileData": {"fileUri": url} if known is None else {"fileUri": url, "mimeType": known}}
