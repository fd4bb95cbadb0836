"""Tells a memory outside the journal how trades ended: each in its order, at least once, never in the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from engine.clock import Clock
from engine.core.errors import StoreUnavailable
from engine.executor.letta import LettaAway, LettaClient
from engine.journal.ports import Journal, KeepState

log = structlog.get_logger()

_EVERY_S: Final = 10.0
_BATCH: Final = 20


class WriteBack:
    """Follows the episodes of some traders. What was told last is kept in the journal across a restart."""

    def __init__(
        self, trader_ids: Sequence[str], client: LettaClient, journal: Journal, clock: Clock
    ) -> None:
        self._trader_ids = tuple(trader_ids)
        self._client = client
        self._journal = journal
        self._clock = clock
        self._told: dict[str, str] | None = None  # trader id → trade id

    async def run(self) -> None:
        """Tell what is new every few real seconds, until cancelled; returns at once without a trader."""
        while self._trader_ids:
            await self.step()
            await self._clock.sleep_real(_EVERY_S)

    async def step(self) -> None:
        """Tell what is new; what cannot be told or read now is told later."""
        try:
            if self._told is None:
                states = await self._journal.load_states(KeepState.MEMORY)
                self._told = {trader_id: state.decode() for trader_id, state in states.items()}
            for trader_id in self._trader_ids:
                await self._tell(trader_id, self._told)
        except (LettaAway, StoreUnavailable) as error:
            log.warning("results not told to the memory server yet", error=str(error))

    async def _tell(self, trader_id: str, told: dict[str, str]) -> None:
        for episode in await self._journal.episodes_after(trader_id, told.get(trader_id, ""), _BATCH):
            await self._client.remember(episode)
            told[trader_id] = episode.trade_id
            state = episode.trade_id.encode()
            await self._journal.save_state(KeepState.MEMORY, trader_id, state, self._clock.now_ns())
            log.info("result told to the memory server", trader=trader_id, trade=episode.trade_id)
