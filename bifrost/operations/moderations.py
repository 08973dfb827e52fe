"""The moderation operation: whether texts and images are harmful, and in which ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Never, cast

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.operations.base import Operation
from bifrost.operations.typed import read_as

__all__ = ["MODERATIONS", "ModerationRequest", "ModerationResponse", "ModerationResult", "moderation_request"]


class ModerationRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Texts and images to classify."""

    model: str
    """`provider/model`, or the name of a model group."""

    input: list[str] = []
    """The texts. Without images, each of them has its own result."""
    images: list[str] | None = None
    """The addresses of images (`https:` or `data:` URLs). With them, there is a single result. `None`: no images."""
    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They are merged into the body of its requests."""


class ModerationResult(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result for one text, or for texts and images together."""

    flagged: bool
    """Whether any category applies."""
    categories: dict[str, bool] = {}
    """Whether each category applies (`violence`, `self-harm/intent`, ...), by the provider's names."""
    category_scores: dict[str, float] = {}
    """The model's confidence in each category, from 0 to 1."""
    category_applied_input_types: dict[str, list[str]] = {}
    """The kinds of input that each score is about: `text`, `image`. Empty if the provider does not report them."""

    @property
    def flagged_categories(self) -> list[str]:
        """The categories that apply."""
        return [name for name, applies in self.categories.items() if applies]


class ModerationResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The results, in the order of the texts."""

    results: list[ModerationResult]
    """The results."""

    id: str = ""
    """The provider's id of the response."""

    model: str = ""
    """The model that the provider reports, or else the requested one."""
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

    @property
    def flagged(self) -> bool:
        """Whether any of the results is flagged."""
        return any(result.flagged for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        """Return the response in OpenAI's form."""
        results = [{name: getattr(each, name) for name in each.__struct_fields__} for each in self.results]
        return {"id": self.id, "model": self.model, "results": results}

    def __repr__(self) -> str:
        flagged = sum(result.flagged for result in self.results)
        return f"ModerationResponse({self.provider}/{self.model}: {len(self.results)} results, {flagged} flagged)"

    def _repr_html_(self) -> str:
        rows = [(place, each.flagged, ", ".join(each.flagged_categories)) for place, each in enumerate(self.results)]
        return block(table(("index", "flagged", "categories"), rows), note(f"{self.provider}/{self.model}"))


MODERATIONS: Final = Operation[ModerationRequest, ModerationResponse, Never](
    name="moderations", request=ModerationRequest, response=ModerationResponse
)


def moderation_request(model: str, value: object, **options: Any) -> ModerationRequest:
    """Return a request for a text, several texts, or parts in OpenAI's form.

    Raises `InvalidRequestError` if there is nothing to classify, or an input has another type.
    """
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        raise InvalidRequestError(f"input: expected a text or a list of texts, got {type(value).__name__}")
    inputs: list[Any] = [value] if isinstance(value, str) else [*value]
    form: dict[str, Any] = {"model": model, **options}
    if any(isinstance(each, Mapping) for each in inputs):
        parts = [_part(each, place) for place, each in enumerate(inputs)]
        inputs = [text for kind, text in parts if kind == "text"]
        form["images"] = [*(form.get("images") or ()), *(url for kind, url in parts if kind == "image_url")]
    if not (inputs or form.get("images")) or "" in inputs:
        raise InvalidRequestError("input: there is nothing to classify; give a text, or a list of texts, none empty")
    return read_as({**form, "input": inputs}, ModerationRequest, "")


def _part(part: object, place: int) -> tuple[str, object]:
    """Return the kind of a part in OpenAI's form, and its text or URL."""
    if isinstance(part, Mapping):
        match cast("Mapping[str, Any]", part):
            case {"type": "text", "text": text}:
                return "text", text
            case {"type": "image_url", "image_url": {"url": url}}:
                return "image_url", url
            case _:
                pass
    raise InvalidRequestError(
        f'input[{place}]: expected {{"type": "text", "text": ...}}, or {{"type": "image_url", "image_url": {{...}}}}'
    )
