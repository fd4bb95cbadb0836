"""The reader's questions about traders on paper and the live ones beside them."""

from __future__ import annotations

from typing import Final

import msgspec

from engine.core.paper import PAPER
from engine.core.times import NS_PER_MIN
from engine.journal.postgres.pool import ReadPool
from engine.journal.twins import (
    Account,
    Cycle,
    Half,
    Judged,
    Point,
    Twins,
    Wakeups,
    half,
    other_decisions,
    same_decisions,
)

_MOST_POINTS: Final = 20_000  # of an equity curve
_MOST_CYCLES: Final = 20_000
_PAIRS: Final = f"""
select p.trader_id as paper, t.trader_id as live
from traders p join traders t on p.trader_id = t.trader_id || '{PAPER}' order by 1"""  # noqa: S608 - a constant
_NEWEST: Final = "select coalesce(max(ts), 0) as ts from trader_performance"
_JUDGED: Final = f"""
with paper as (select * from decision_validations where trader_id = $1 || '{PAPER}' and ts >= $2 and ts < $3),
     live as (select * from decision_validations where trader_id = $1 and ts >= $2 and ts < $3)
select l.reason as live, p.reason as paper, count(*)::bigint as count
from live l full join paper p using (cycle_id, symbol, act) group by 1, 2 order by 1, 2"""  # noqa: S608
_WAKEUPS: Final = """
with judged as (select cycle_id, bool_or(reason = 'on_paper') as on_paper,
                       bool_or(reason <> 'on_paper') as live
                from decision_validations where trader_id = $1 and ts >= $2 and act like '%_to_enter'
                group by cycle_id)
select count(*)::bigint as all, (count(*) filter (where on_paper))::bigint as on_paper,
       (count(*) filter (where live))::bigint as live
from decision_cycles left join judged using (cycle_id)
where trader_id = $1 and ts_created >= $2 and ts_created < $3"""
_CURVE: Final = """
select distinct on (ts / $4::bigint) ts, equity::float8 as equity from trader_performance
where trader_id = $1 and ts >= $2 and ts < $3 and equity is not null order by ts / $4::bigint, ts desc"""
_ACCOUNT: Final = """
with t as (select count(*)::bigint as trades, (count(*) filter (where net > 0))::bigint as wins
           from closed_trades where trader_id = $1 and ts_exit >= $2 and ts_exit < $3),
     f as (select coalesce(sum(fee), 0) as fees, count(distinct client_order_id)::bigint as filled_orders
           from trader_fills where trader_id = $1 and ts_event >= $2 and ts_event < $3),
     p as (select coalesce(sum(amount), 0) as funding from funding_payments
           where trader_id = $1 and ts_event >= $2 and ts_event < $3),
     c as (select coalesce(sum(amount), 0) as flows from cash_flows
           where trader_id = $1 and ts > $4 and ts < $3),
     s as (select (10000 * sum(x.contracts * x.contract_value * (x.price - i.decision_price)
                    * case x.side when 'buy' then 1 else -1 end)
                  / sum(x.contracts * x.contract_value * i.decision_price))::float8 as slippage_bps
           from trader_fills x join order_intents i using (client_order_id)
           where x.trader_id = $1 and x.ts_event >= $2 and x.ts_event < $3 and i.decision_price is not null)
select * from t, f, p, c, s"""
_ACTIONS: Final = """
select ts_created, decisions as actions from decision_cycles
where trader_id = $1 and ts_created >= $2 and ts_created < $3 order by seq desc limit $4"""


class _Pair(msgspec.Struct, frozen=True):
    paper: str
    live: str


class TwinReader(ReadPool):
    """Part of JournalReader; every method raises StoreUnavailable."""

    async def newest_ns(self) -> int:
        """Engine time of the newest measured account; 0 for an empty journal."""
        return int((await self.rows(_NEWEST))[0]["ts"])

    async def twins(self, ts_from: int, ts_to: int, trader: str = "", against: str = "") -> list[Twins]:
        """Every paper trader beside its live twin, over [ts_from, ts_to).

        trader: only this one, by its live id. against: beside this live trader instead.
        """
        pairs = await self.typed(_Pair, _PAIRS)
        return [
            await self._compare(pair.paper, against or pair.live, ts_from, ts_to)
            for pair in pairs
            if trader in {"", pair.live, pair.paper}
        ]

    async def _compare(self, paper: str, live: str, ts_from: int, ts_to: int) -> Twins:
        own = paper.removesuffix(PAPER)
        woken = (await self.typed(Wakeups, _WAKEUPS, own, ts_from, ts_to))[0]
        if live == own:
            decisions = same_decisions(await self.typed(Judged, _JUDGED, own, ts_from, ts_to))
            beside = woken
        else:
            decisions = other_decisions(
                await self._actions(own, ts_from, ts_to), await self._actions(live, ts_from, ts_to)
            )
            beside = (await self.typed(Wakeups, _WAKEUPS, live, ts_from, ts_to))[0]
        return Twins(
            paper=await self._half(paper, ts_from, ts_to, woken.on_paper, woken.all),
            live=await self._half(live, ts_from, ts_to, beside.live, beside.all),
            decisions=decisions,
            ts_from=ts_from,
            ts_to=ts_to,
        )

    async def _half(self, trader_id: str, ts_from: int, ts_to: int, wakeups: int, of: int) -> Half:
        span = max(NS_PER_MIN, (ts_to - ts_from) // _MOST_POINTS)
        curve = await self.typed(Point, _CURVE, trader_id, ts_from, ts_to, span)
        began = curve[0].ts if curve else ts_to
        account = (await self.typed(Account, _ACCOUNT, trader_id, ts_from, ts_to, began))[0]
        return half(trader_id, account, curve, wakeups, of)

    async def _actions(self, trader_id: str, ts_from: int, ts_to: int) -> list[Cycle]:
        return await self.typed(Cycle, _ACTIONS, trader_id, ts_from, ts_to, _MOST_CYCLES)
