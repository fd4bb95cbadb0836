"""Names of what is traded on paper, beside the live account whose twin it is."""

from __future__ import annotations

from typing import Final

PAPER: Final = ".paper"  # ends the ids of paper traders and of their account


def live_cycle(cycle_id: str) -> str:
    """The live cycle that a paper trader's decision belongs to."""
    trader_id, dash, ts = cycle_id.rpartition("-")
    return f"{trader_id.removesuffix(PAPER)}{dash}{ts}"


def paper_cycle(cycle_id: str) -> str:
    """The name of a live cycle on paper, from which the ids of its orders follow."""
    trader_id, dash, ts = cycle_id.rpartition("-")
    return f"{trader_id}{PAPER}{dash}{ts}"
