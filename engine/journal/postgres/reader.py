"""The journal's questions and their SQL: one query each, bounded, with parameters only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, get_args

import asyncpg
import msgspec

from engine.config.market import Timeframe
from engine.core.decisions import AccountView, PositionView
from engine.core.ledger import ClosedTrade
from engine.core.times import NS_PER_MIN, timeframe_ns
from engine.journal.postgres import reader_sql as sql
from engine.journal.postgres.owner import OWNER, Owner
from engine.journal.postgres.reader_market import MarketReader
from engine.journal.postgres.rows import typed
from engine.journal.postgres.twins import TwinReader
from engine.journal.views import (
    Conversation,
    CountedCycle,
    CountedTrade,
    Counts,
    JsonRows,
    OpenPosition,
    Performance,
    SequencedTrade,
    TraderRow,
    TradeTotals,
)
from engine.journal.views_market import WakeupRow
from engine.journal.views_records import (
    CallRow,
    CapitalMove,
    CheckRow,
    CycleChain,
    DecisionRow,
    FillRow,
    IntentRow,
    NoteRow,
    OrderRow,
    SignalRow,
    TradeRow,
    VerdictRow,
)

NEWEST: Final = (1 << 63) - 1  # a cursor before which everything is
_MOST_POINTS: Final = 5_000  # of a performance series, all traders together
_FEWEST_POINTS: Final = 24  # of each trader, at least

_views: Final = msgspec.msgpack.Decoder(AccountView)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first: at most `limit` rows with a `seq` below `before`; `trader` "" is everybody."""

    limit: int = 100
    before: int = NEWEST
    trader: str = ""


class JournalReader(MarketReader, TwinReader):
    """Everything the API asks of Postgres; open it with `async with`.

    Each method raises StoreUnavailable when the server does not answer within three seconds.
    """

    async def _page(self, pages: sql.Pages | sql.JsonPages, page: Page) -> list[asyncpg.Record]:
        if page.trader:
            return await self.rows(pages.of_trader, page.before, page.limit, page.trader)
        return await self.rows(pages.of_all, page.before, page.limit)

    async def _json(self, pages: sql.JsonPages, page: Page) -> JsonRows:
        row = (await self._page(pages, page))[0]
        return JsonRows(json=msgspec.Raw(row["rows"].encode()), count=row["count"], last=row["last"] or 0)

    async def trader_ids(self) -> list[str]:
        """Ids of the configured traders."""
        return [row["trader_id"] for row in await self.rows(sql.TRADER_IDS)]

    async def traders(self) -> list[TraderRow]:
        """The configured traders by id."""
        return await self.typed(TraderRow, sql.TRADERS)

    async def newest_performance(self) -> dict[str, Performance]:
        """The newest account of each trader, by its id."""
        rows = await self.rows(sql.NEWEST_PERFORMANCE)
        return {row["trader_id"]: _performance(row) for row in rows}

    async def performance_since(self, since_ns: int, until_ns: int, traders: int) -> list[Performance]:
        """Accounts since `since_ns`, oldest first: the last of each minute, or of longer spans when long."""
        points = max(_FEWEST_POINTS, _MOST_POINTS // max(1, traders))
        minutes = max(1, -(-(until_ns - since_ns) // (points * NS_PER_MIN)))
        rows = await self.rows(sql.PERFORMANCE_SINCE, since_ns, until_ns, minutes * NS_PER_MIN)
        return [_performance(row) for row in rows]

    async def open_positions(self, limit: int) -> list[OpenPosition]:
        """What the traders hold; no prices."""
        rows = await self.rows(sql.OPEN_POSITIONS, limit)
        return [OpenPosition(trader_id=row["trader_id"], view=_position(row)) for row in rows]

    async def closed_trades(self, page: Page) -> list[SequencedTrade]:
        rows = await self._page(sql.CLOSED_TRADES, page)
        trades = typed(ClosedTrade, rows)
        return [SequencedTrade(seq=row["seq"], trade=trade) for row, trade in zip(rows, trades, strict=True)]

    async def trades_after(self, seq: int, limit: int) -> list[CountedTrade]:
        """Closed trades written after `seq`, oldest first, as statistics count them."""
        return await self.typed(CountedTrade, sql.TRADES_AFTER, seq, limit)

    async def trade_totals(self) -> dict[str, TradeTotals]:
        """Sums over all closed trades, by trader."""
        return {row.trader_id: row for row in await self.typed(TradeTotals, sql.TRADE_TOTALS)}

    async def conversations(self, page: Page) -> list[Conversation]:
        return typed(Conversation, await self._page(sql.CONVERSATIONS, page))

    async def cycles_after(self, seq: int, limit: int) -> list[CountedCycle]:
        """Cycles begun after `seq`, oldest first, with what they wanted if they were answered."""
        return await self.typed(CountedCycle, sql.CYCLES_AFTER, seq, limit)

    async def cycles_of(self, cycle_ids: Sequence[str]) -> list[CountedCycle]:
        """The same of some cycles."""
        return await self.typed(CountedCycle, sql.CYCLES_OF, cycle_ids)

    async def signals(self, page: Page) -> JsonRows:
        """Each a SignalRow. Signals have no trader: that of the page is not looked at."""
        return await self._json(sql.SIGNALS, msgspec.structs.replace(page, trader=""))

    async def wakeups(self, page: Page) -> list[WakeupRow]:
        return typed(WakeupRow, await self._page(sql.WAKEUPS, page))

    async def decisions(self, page: Page) -> list[DecisionRow]:
        return typed(DecisionRow, await self._page(sql.DECISIONS, page))

    async def orders(self, page: Page) -> JsonRows:
        """Each an OrderRow."""
        return await self._json(sql.ORDERS, page)

    async def fills(self, page: Page) -> JsonRows:
        """Each a FillRow."""
        return await self._json(sql.FILLS, page)

    async def capital_moves(self, page: Page) -> list[CapitalMove]:
        return typed(CapitalMove, await self._page(sql.CAPITAL_MOVES, page))

    async def risk_events(self, page: Page) -> JsonRows:
        """Each a RiskEventRow."""
        return await self._json(sql.RISK_EVENTS, page)

    async def owner(self) -> Owner | None:
        """Whose prices and money are in the database; None before an engine has claimed it."""
        return next(iter(await self.typed(Owner, OWNER)), None)

    async def newest_checks(self) -> list[CheckRow]:
        """The newest comparison of books and venue of each account."""
        return await self.typed(CheckRow, sql.NEWEST_CHECKS)

    async def last_closes(self) -> dict[str, tuple[float, int]]:
        """Close and end (ns) of the newest candle of each active symbol: prices when Redis is away."""
        rows = await self.rows(sql.LAST_CLOSES, get_args(Timeframe))
        return {
            row["symbol"]: (row["close"], row["ts_open"] + timeframe_ns(row["timeframe"])) for row in rows
        }

    async def counts(self) -> Counts:
        found = (await self.rows(sql.COUNTS))[0]
        return msgspec.convert({**found, "cycles": msgspec.json.decode(found["cycles"])}, Counts)

    async def chain(self, cycle_id: str) -> CycleChain | None:
        """A cycle and all that came before and after it; None when there is no such cycle."""
        cycles = await self.typed(DecisionRow, sql.CYCLE, cycle_id)
        if not cycles:
            return None
        orders = await self.typed(OrderRow, sql.CYCLE_ORDERS, cycle_id)
        ids = [order.client_order_id for order in orders]
        return CycleChain(
            cycle=cycles[0],
            signals=tuple(await self.typed(SignalRow, sql.CYCLE_SIGNALS, cycle_id)),
            notes=tuple(await self.typed(NoteRow, sql.CYCLE_NOTES, cycle_id)),
            **_conversation(await self.rows(sql.CYCLE_CONVERSATION, cycle_id)),
            calls=tuple(await self.typed(CallRow, sql.CYCLE_CALLS, cycle_id)),
            validations=tuple(await self.typed(VerdictRow, sql.CYCLE_VERDICTS, cycle_id)),
            intents=tuple(await self.typed(IntentRow, sql.CYCLE_INTENTS, cycle_id)),
            orders=tuple(orders),
            fills=tuple(await self.typed(FillRow, sql.ORDER_FILLS, ids)),
            trades=tuple(await self.typed(TradeRow, sql.ORDER_TRADES, ids)),
        )


def _conversation(rows: Sequence[Any]) -> dict[str, str]:
    names = ("system_prompt", "user_prompt", "answer", "reasoning")
    return {name: rows[0][name] if rows else "" for name in names}


def _performance(row: Any) -> Performance:
    view = _views.decode(row["view"])
    return Performance(trader_id=row["trader_id"], ts=row["ts"], sharpe=row["sharpe_ratio"], view=view)


def _position(row: Any) -> PositionView:
    return msgspec.convert(
        {**row, "mark_price": None, "notional": None, "unrealised": None}, PositionView, strict=False
    )
