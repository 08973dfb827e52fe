"""How a server departs from OpenAI's dialect, as a value."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Quirks:
    """Departures from OpenAI's dialect. Each is named for the departure and defaults to what OpenAI does."""

    max_tokens_field: str = "max_completion_tokens"
    """What the limit of output tokens is called; many servers know the older `max_tokens` only."""
