"""What Bedrock's error messages mean if neither status nor exception says it.

https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.providers.wording import SHARED, Wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.providers.wording import Meaning

MESSAGES: Mapping[Meaning, Sequence[str]] = {
    # With status 403, of an API key
    "credential": (
        r"authentication failed",
        r"security token included in the request is (?:invalid|expired)",
        r"bearer token has expired",
    ),
    # With status 400
    "model": (
        r"model identifier is invalid",
        r"on-demand throughput isn't supported",
        r"model .{0,200} end of its life",
    ),
    "context_length": (
        r"too many total text tokens",
        r"input tokens? exceeds? ",
        r"maximum tokens you requested exceeds",
        r"input is too long",
    ),
}

WORDING = Wording(SHARED, MESSAGES)
