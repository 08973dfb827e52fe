"""The counters of one provider. They only add, because they are on the path of every call."""

from __future__ import annotations


class Counters:
    """Counts calls and attempts at a provider since it was first used. The counts survive changes of its settings."""

    __slots__ = (
        "asked",
        "cancelled",
        "failed",
        "failures",
        "fallbacks",
        "hedge_wins",
        "hedges",
        "ok",
        "opened",
        "reasks",
        "restarts",
        "retries",
        "reused",
    )

    def __init__(self) -> None:
        self.asked = 0
        """The number of series of attempts: one per call, and one per further request for structured output."""
        self.ok = 0
        self.failed = 0
        self.cancelled = 0
        self.failures: dict[str, int] = {}
        self.retries = 0
        self.hedges = 0
        self.hedge_wins = 0
        self.reasks = 0
        self.fallbacks = 0
        # The counts of pools that no longer exist:
        self.opened = 0
        self.reused = 0
        self.restarts = 0

    def fail(self, category: str) -> None:
        """Count an attempt without a response."""
        if category == "cancelled":
            self.cancelled += 1
        else:
            self.failed += 1
            self.failures[category] = self.failures.get(category, 0) + 1
