"""The meaning of Gemini's error messages: https://ai.google.dev/gemini-api/docs/troubleshooting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.providers.wording import SHARED, Meaning, Wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MESSAGES: Mapping[Meaning, Sequence[str]] = {
    "credential": (
        r"please pass a valid api key",
        r"api key was reported as leaked",
        r"request had invalid authentication credentials",
    ),
    "quota": (
        # A daily or monthly quota, and a prepaid account without credit.
        r"prepayment credits are depleted",
        r"exceeded its (?:monthly )?spending cap",
    ),
    "long_quota": (r"requests_?per_?day_?per_?(?:project|user)",),
    "access": (
        r"user location is not supported",
        r"has not been used in project .{1,80} before or it is disabled",
    ),
}

WORDING = Wording(SHARED, MESSAGES)
