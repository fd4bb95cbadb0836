"""How the scheduling of a trader is stored. A module of its own, for a compiled one defines no struct."""

from __future__ import annotations

import msgspec

from engine.manager.budget import Spend
from engine.manager.rhythm_state import RhythmState


class StoredSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one trader as it is stored, and up to when requests of all were paid for by then."""

    version: int
    rhythm: RhythmState
    spent: Spend
    paid_until_ns: int = 0
