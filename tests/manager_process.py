"""A manager in a process of its own, to be killed: `python -m tests.manager_process DSN REDIS_URL`.

Its decider holds at once, whatever it is woken for.
"""

from __future__ import annotations

import asyncio
import sys

from engine.bus import DECISIONS, WAKEUPS, Message
from engine.core.decisions import CycleRecord, CycleStatus, Decision, Wakeup
from engine.journal.ports import TraderRecord
from engine.journal.postgres.journal import PostgresJournal
from engine.redis_bus import RedisBus
from tests.test_manager_service import CLOCK, TRADERS, world


async def main(dsn: str, redis_url: str) -> None:
    bus = RedisBus(redis_url, "test", CLOCK)
    async with PostgresJournal(dsn, CLOCK) as journal:
        await journal.record_traders(
            [
                TraderRecord(
                    trader_id=name,
                    name=name,
                    kind="strategy",
                    model="x",
                    account_id="sim",
                    config=b"{}",
                    ts=1,
                )
                for name in TRADERS
            ]
        )

        async def hold(message: Message[Wakeup]) -> None:
            wakeup = message.body
            decision = Decision(
                cycle_id=wakeup.cycle_id,
                trader_id=wakeup.trader_id,
                decider="x",
                actions=(),
                prices={},
                ts_decided=CLOCK.now_ns(),
            )
            if await journal.record_cycle(CycleRecord(decision=decision, status=CycleStatus.DECIDED)):
                await bus.publish(DECISIONS, decision)

        async with world(journal, cooldown_s=0, grace_s=0.05, bus=bus):
            sys.stdout.write("running\n")
            sys.stdout.flush()
            await bus.consume(WAKEUPS, "executor", hold)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
