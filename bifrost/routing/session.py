"""Which key the calls of a session share. Pure, and without a memory of sessions.

This is rendezvous hashing: every key gets a number from its name and the session's, and the largest wins. It was chosen
over a table of sessions because there is nothing to bound, to expire or to lose: the same session meets the same key
in every process, a key that goes moves its own sessions and no others, and they come back when it does.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bifrost.routing.balance import NamedT, Snapshot, Weighted


def choose_for_session(candidates: Weighted[NamedT], snapshot: Snapshot, session: str) -> NamedT | None:
    """Choose the session's candidate among those that the snapshot does not exclude; `None` if there is none.

    Sessions are spread in proportion to the weights; one of weight 0 is chosen only when no other is left.
    """
    left = [pair for pair in candidates.pairs if pair[0].name not in snapshot.excluded]
    if not left:
        return None
    return max(left, key=lambda pair: _score(session, pair[0].name, pair[1]))[0]


def _score(session: str, name: str, weight: float) -> tuple[float, float]:
    seed = f"{len(session)}:{session}{name}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(blake2b(seed, digest_size=7).digest(), "big")
    chance = (number + 0.5) / 2.0**56
    # The logarithm makes the chance of being the largest proportional to the weight.
    return (weight / -math.log(chance), chance)
