"""Faults of `make chaos`, shorter: a whole edgewise trades on, and nothing is lost or there twice."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos import suffer
from tests.chaos_world import World, world

SPEED = 30.0
HOLD_S = 4.0  # two minutes of engine time
HEAL_S = 60.0  # the deadline only ends a test that would never end


@pytest.fixture(scope="module")
async def trading() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="ew-") as home:
        async with world(Path(home), SPEED) as running:
            yield running


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "name",
    ["postgres-stopped", "redis-flushed", "disk-full", "api-killed", "engine-killed", "simulator-killed"],
)
async def test_chaos_leaves_each_fill_order_and_cycle_exactly_once(trading: World, name: str) -> None:
    result = await suffer(trading, name, HOLD_S, HEAL_S)
    assert not result.wrong, result
