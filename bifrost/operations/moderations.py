"""The moderation operation: whether texts and pictures are harmful, and in which ways."""

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
    """Texts and pictures to classify."""

    model: str
    input: list[str] = []
    """The texts. Without pictures each of them has a result of its own."""
    images: list[str] | None = None
    """The addresses of pictures (`https:` or `data:` URLs). With them, everything together has one result."""
    extra: dict[str, dict[str, Any]] | None = None
    """Options of one provider, by its name; merged into the body that it is sent."""


class ModerationResult(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found in one text, or in texts and pictures together."""

    flagged: bool
    """Whether any category applies."""
    categories: dict[str, bool] = {}
    """Whether each category applies (`violence`, `self-harm/intent`, ...), by the provider's names."""
    category_scores: dict[str, float] = {}
    """How sure the model is of each category, from 0 to 1."""
    category_applied_input_types: dict[str, list[str]] = {}
    """The kinds of input that each score is about: `text`, `image`. Empty where the provider does not report them."""

    @property
    def flagged_categories(self) -> list[str]:
        """The categories that apply."""
        return [name for name, applies in self.categories.items() if applies]


class ModerationResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The results, in the order of the texts."""

    results: list[ModerationResult]
    id: str = ""
    model: str = ""
    """The model that answered; the one that was asked for if the provider does not report it."""
    provider: str = ""
    """The provider that answered."""
    request_id: str | None = None
    """The provider's name of the request, for its support."""
    attempts: list[AttemptRecord] = []
    """Everything that was tried for this response, in order."""
    warnings: list[str] = []
    """What was left out or noticed on the way."""
    rate_limit: RateLimit | None = None
    """What the provider reported of its allowances."""
    raw: bytes = b""
    """The provider's body."""

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


def moderation_request(model: str, given: object, **options: Any) -> ModerationRequest:
    """Make a request of a text, of texts, or of parts in OpenAI's form.

    Raises `InvalidRequestError` if there is nothing to classify, or something else.
    """
    if not isinstance(given, Sequence) or isinstance(given, bytes | bytearray):
        raise InvalidRequestError(f"input: expected a text or a list of texts, got {type(given).__name__}")
    inputs: list[Any] = [given] if isinstance(given, str) else [*given]
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
