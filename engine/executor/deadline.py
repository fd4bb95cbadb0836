"""Deadlines are engine time, patience is real time."""

from __future__ import annotations

from engine.clock import Clock


def real_seconds_left(deadline_ns: int, clock: Clock) -> float:
    """Real seconds until engine time reaches `deadline_ns`; 0 or less when it has."""
    return (deadline_ns - clock.now_ns()) / clock.engine_ns(1.0)
