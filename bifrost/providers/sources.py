"""What is left out of a picture, video or file that is given in several ways: a dialect sends one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.operations.chat.content import FilePart, ImagePart, VideoPart
    from bifrost.operations.ocr import OcrDocument


def spare_sources(part: ImagePart | VideoPart | FilePart | OcrDocument, order: Sequence[str], where: str) -> list[str]:
    """Return a warning for each source that is not sent. `order` names them, the one that is preferred first."""
    used, *spare = [name for name in order if getattr(part, name) is not None] or [""]
    return [f"{where}: {name} was left out, since {used} is sent in its place" for name in spare]
