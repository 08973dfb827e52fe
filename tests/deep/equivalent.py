"""Mutants that no test can notice, each with the reason.

One that is gone, or that a test notices after all, is told of. They count as survivors all the same; the figure
without them stands beside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBERED = "generations are only told apart, so any first number and any step will do"
_CAPPED = "2 to that power times any open time or rest is beyond the longest one already"
_NO_EARLIER = "the first look at a clock drops all pieces of the window, and they are empty"
_ALONE = "an only one is chosen whatever its weight"
_KEPT = "what is sorted already is sorted again, with the same outcome"
_AFTER_DATA = "a blank line comes after the `data: ` of the piece's beginning, or there is none"
_NOTHING_KEPT = "where nothing is left, nothing is kept"

EQUIVALENT: Mapping[str, Mapping[tuple[str, str], str]] = {
    "routing/breaker": {
        ("Breaker.__init__", "1 for 0 in `self.generation = 0`"): _NUMBERED,
        ("Breaker.__init__", "-1 for 0 in `self.generation = 0`"): _NUMBERED,
        ("Breaker._begin", "Add as Sub in `self.generation += 1`"): _NUMBERED,
        ("Breaker._begin", "2 for 1 in `self.generation += 1`"): _NUMBERED,
        ("Breaker.__init__", "1 for 0 in `self._period = 0`"): _NO_EARLIER,
        ("Breaker.__init__", "-1 for 0 in `self._period = 0`"): _NO_EARLIER,
        (
            "Breaker.succeeded",
            "Div as Mult in `now / self._piece`",
        ): "it only asks whether `_turn` has something to do, which looks again",
        (
            "Breaker._open",
            "65 for 64 in `seconds = min(config.longest_open, config.open * 2.0 ** min(`",
        ): _CAPPED,
        (
            "Breaker._open",
            "63 for 64 in `seconds = min(config.longest_open, config.open * 2.0 ** min(`",
        ): _CAPPED,
    },
    "routing/key_health": {
        ("KeyHealth.__init__", "-1 for 0 in `self._since = 0`"): "the first use has the number 1",
        ("KeyHealth.throttled", "65 for 64 in `steps = min(max(self._strikes - 1, 0), 64)`"): _CAPPED,
        ("KeyHealth.throttled", "63 for 64 in `steps = min(max(self._strikes - 1, 0), 64)`"): _CAPPED,
        ("KeyHealth.throttled", "-1.0 for 0.0 in `proven = 0.0`"): "both are long past on any clock",
    },
    "routing/keys": {
        (
            "KeyPool.choose",
            "without `self._by_model.get(model)` in `self._by_model.get(model) or self._sort(model)`",
        ): _KEPT,
        (
            "KeyPool.outlook",
            "without `self._by_model.get(model)` in `self._by_model.get(model) or self._sort(model)`",
        ): _KEPT,
        (
            "KeyPool.has_other",
            "without `self._by_model.get(model)` in `self._by_model.get(model) or self._sort(model)`",
        ): _KEPT,
        (
            "KeyPool.ready_in",
            "without `self._by_model.get(model)` in `self._by_model.get(model) or self._sort(model)`",
        ): _KEPT,
        ("KeyPool.choose", "2.0 for 1.0 in `choices = Weighted([(self._pinned(choices, pin, model), 1.0)`"): _ALONE,
        ("KeyPool.choose", "0.0 for 1.0 in `choices = Weighted([(self._pinned(choices, pin, model), 1.0)`"): _ALONE,
        ("KeyPool._sort", "2.0 for 1.0 in `serving = [(KeySelection(None, model), 1.0)]`"): _ALONE,
        ("KeyPool._sort", "0.0 for 1.0 in `serving = [(KeySelection(None, model), 1.0)]`"): _ALONE,
        (
            "KeyPool.outlook",
            "False for True in `shares = dict(zip((choice.name for choice in choices.items),`",
        ): "names and shares are of the same list, so there are as many",
        (
            "KeyPool._first_ready",
            "without `choice.health` in `choice.health and choice.health.state == 'cooling_down'`",
        ): "a choice without a key is always ready; the type does not say so",
    },
    "engine/attempt": {
        (
            "Attempt.locate",
            "without `''` in `getattr(error, said) or ''`",
        ): "`redact` gives back whatever is empty, `None` too; the type does not say so",
        (
            "Attempt.locate",
            "without `''` in `self.request_id or ''`",
        ): "`redact` gives back whatever is empty, `None` too; the type does not say so",
    },
    "wire/framing/sse": {
        (
            "SseEvent",
            "True for False in `class SseEvent(msgspec.Struct, frozen=True, gc=False):`",
        ): "it spares the garbage collector work; text and bytes make no ring",
        (
            "SseParser.__init__",
            "True for False in `self._after_cr = False`",
        ): "a stream that begins with a blank line loses it, which ends no event",
        (
            "SseParser._skip_bom",
            "Lt as LtE in `len(head) < len(_BOM)`",
        ): "three bytes end no event either, so they may as well wait for the next",
        ("SseParser._split", "Gt as GtE in `end > 0`"): _AFTER_DATA,
        ("SseParser._split", "1 for 0 in `if end > 0 and data.startswith(b'data: ') and (len(data) <= `"): _AFTER_DATA,
        ("SseParser._split", "-1 for 0 in `if end > 0 and data.startswith(b'data: ') and (len(data) <= `"): _AFTER_DATA,
        (
            "SseParser._split",
            "LtE as Lt in `len(data) <= self._event_limit`",
        ): "the longer way reads a piece of just that size alike",
        (
            "SseParser._split",
            "1 for 0 in `if data.count(b'\\n', 0, end) == 2 * (len(lines) - 1):`",
        ): "the first byte is a letter",
        ("SseParser._split", "Gt as GtE in `len(data) > end + 2`"): _NOTHING_KEPT,
        ("SseParser._split", "1 for 2 in `if len(data) > end + 2:`"): _NOTHING_KEPT,
        ("SseParser._split", "Add as Sub in `end + 2`"): _NOTHING_KEPT,
        (
            "SseParser._split_others",
            "Gt as GtE in `len(data) > self._event_limit`",
        ): "a piece that is no larger than the limit holds no event that is",
    },
    "wire/secrets": {
        (
            "redact",
            "without `not text` in `not secret or not text`",
        ): "an empty text comes out empty anyway, after all forms of the secret were made for it",
    },
}
"""Module, function and defect as they are told, and why the module does the same with it."""
