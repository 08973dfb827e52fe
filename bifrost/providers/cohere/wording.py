"""What Cohere's error messages mean if the status does not say it: https://docs.cohere.com/reference/errors.

Cohere sends no codes, only a message with the status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.providers.wording import SHARED, Wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.providers.wording import Meaning

MESSAGES: Mapping[Meaning, Sequence[str]] = {
    "credential": (r"invalid api token", r"no api key supplied"),
    # A trial key's month, with status 429: https://docs.cohere.com/docs/rate-limits
    "quota": (r"\d api calls / month", r"reached (?:your |its |the )?billing limit"),
    "content": (r"violates? (?:our |cohere's )?usage guidelines", r"request (?:was|is|has been) blocked"),
    "context_length": (r"total number of tokens .{0,80}(?:cannot exceed|exceeds)", r"too many tokens: size limit"),
    # With status 422 or 400, for tool calls and JSON that the model did not finish
    "failed_generation": (r"no valid response generated", r"invalid tool generation"),
}

WORDING = Wording(SHARED, MESSAGES)
