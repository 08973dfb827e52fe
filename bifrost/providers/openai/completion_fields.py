"""How each field of a completion is sent in OpenAI's dialect, and what becomes of those that a server lacks.

Format: https://platform.openai.com/docs/api-reference/completions/create
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.operations.completions import CompletionRequest
from bifrost.providers.fields import REQUIRED, Field, FieldTable, left_out, mapped, refused, sent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PLAIN = (
    "suffix",
    "max_tokens",
    "temperature",
    "top_p",
    "n",
    "best_of",
    "echo",
    "logprobs",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "user",
)
"""Options with the same name and type in both."""

COMPLETIONS_LACK: Mapping[str, Field] = {
    "suffix": refused("fills no gaps in a text; leave out suffix"),
    "best_of": left_out(neutral=(1,)),
    "echo": refused("does not repeat the prompt; leave out echo", neutral=(False,)),
    "n": refused("gives one answer per request, so n must be 1; send the request several times", neutral=(1,)),
    "logprobs": refused("gives no log probabilities; leave out logprobs"),
    "logit_bias": left_out(),
    "seed": left_out(),
    "user": left_out(),
    "top_k": left_out(),
}
"""What a server may lack (`Quirks.completions_lack`), and how the fields are sent then."""


def completion_fields(lacks: Iterable[str], *, top_k: bool) -> FieldTable:
    """Return how a server receives the fields of a completion."""
    fields: dict[str, Field] = {
        "model": REQUIRED,
        "prompt": mapped(),
        "extra": sent(),
        **{name: sent(name) for name in _PLAIN},
        "logit_bias": sent(),
        "top_k": sent("top_k") if top_k else COMPLETIONS_LACK["top_k"],
    }
    return FieldTable(CompletionRequest, {**fields, **{name: COMPLETIONS_LACK[name] for name in lacks}})
