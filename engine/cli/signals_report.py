"""What `edgewise signals` found, as one value for machines."""

from __future__ import annotations

import hashlib

import msgspec

from engine.manager.rehearsal import Rehearsal
from engine.market.review import Replayed, Tally


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `digest` is over every signal and every wakeup with its reasons."""

    symbol: str
    trader: str
    events: int
    closed: int
    days: float
    signals: int
    edges: dict[str, int]
    wakeups: int
    wakeup_kinds: dict[str, int]
    merges: int  # reasons that joined a wakeup that was pending
    merged_while_thinking: int
    refusals: dict[str, int]  # signals that woke nobody, by reason code
    signals_digest: str
    digest: str
    tallies: tuple[Tally, ...]


def report(trader: str, replayed: Replayed, rehearsal: Rehearsal) -> Report:
    """Both halves in one: what the market said and what came of it."""
    review = replayed.review
    wakes = msgspec.json.encode(rehearsal.wakes)
    return Report(
        symbol=review.symbol,
        trader=trader,
        events=review.events,
        closed=review.closed,
        days=review.days,
        signals=review.signals,
        edges=review.edges,
        wakeups=len(rehearsal.wakes),
        wakeup_kinds=rehearsal.kinds,
        merges=rehearsal.merged,
        merged_while_thinking=rehearsal.thinking_merged,
        refusals=rehearsal.refusals,
        signals_digest=review.digest,
        digest=hashlib.sha256(review.digest.encode() + wakes).hexdigest(),
        tallies=review.tallies,
    )
