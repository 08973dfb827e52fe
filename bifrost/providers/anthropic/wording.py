"""What Anthropic's error messages mean if neither status nor type says it: https://platform.claude.com/docs/en/api/errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.providers.wording import SHARED, Wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.providers.wording import Meaning

MESSAGES: Mapping[Meaning, Sequence[str]] = {
    "allowance": (
        r"extra usage is required for long context",
        r"long context beta is not (?:yet )?available",
    ),
    # With status 400
    "credential": (r"organization has been disabled",),
    "quota": (r"reached your specified (?:api )?usage limit",),
    "access": (r"only authorized for use with",),
}

WORDING = Wording(SHARED, MESSAGES)
