"""What the tests of the executor build on: wakeups, rules, a journal in memory, a model server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

import msgspec
from aiohttp import web

from engine.clock import SystemClock
from engine.config.llm import LlmConfig, LlmModelConfig, LlmProviderConfig
from engine.config.loader import Secret
from engine.config.manager import RiskConfig
from engine.core.decisions import CycleRecord, Verdict, Wakeup
from engine.core.errors import StoreUnavailable
from engine.core.ledger import ClosedTrade
from engine.core.memory import CoreBlock, Episode, MemoryQuery
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot, TimeframeView
from engine.core.times import NEVER_NS
from engine.executor.decision import AnswerRules
from engine.executor.sample import sample_wakeup
from engine.modelserver.app import make_app

BTC, ETH, SOL = "BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP"
KEY = "sk-test-0123456789abcdef"
RULES = AnswerRules(
    limits=RiskConfig(major_coin_leverage=Decimal(20), altcoin_leverage=Decimal(10)),
    major_coins=frozenset({"BTC", "ETH"}),
)


def wakeup_of(*symbols: str, deadline_ns: int = 2**62, trader_id: str = "t1", cycle: str = "c1") -> Wakeup:
    """The sample wakeup: BTC has signs that point up, a short ETH position is held when ETH is among them."""
    wakeup = sample_wakeup(trader_id, symbols or (BTC, ETH, SOL))
    return msgspec.structs.replace(wakeup, cycle_id=cycle, deadline_ns=deadline_ns)


def flat(wakeup: Wakeup) -> Wakeup:
    """The same without a position."""
    account = msgspec.structs.replace(wakeup.account, positions=(), margin_used=Decimal(0))
    return msgspec.structs.replace(wakeup, account=account)


def holding(wakeup: Wakeup, symbol: str, side: PositionSide) -> Wakeup:
    """The same with one position in `symbol`."""
    account = sample_wakeup("t1", (BTC, symbol)).account
    position = msgspec.structs.replace(account.positions[0], symbol=symbol, side=side)
    account = msgspec.structs.replace(wakeup.account, positions=(position,))
    return msgspec.structs.replace(wakeup, account=account)


def seeing(
    symbol: str, features: Mapping[str, float | None], price: float = 100.0, **changes: object
) -> Wakeup:
    """A flat wakeup about one symbol with the given 5m features."""
    view = TimeframeView(timeframe="5m", ts_close=1, closes=(price,), features=dict(features))
    snapshot = MarketSnapshot(symbol=symbol, ts=2, last=price, mark=price, ts_price=1, timeframes=(view,))
    snapshot = msgspec.structs.replace(snapshot, **changes)
    return msgspec.structs.replace(flat(wakeup_of(symbol)), market=(snapshot,))


class CycleJournal:
    """The part of the journal that the executor uses, kept in memory; `away` makes it fail."""

    def __init__(self) -> None:
        self.records: dict[str, CycleRecord] = {}
        self.questions: dict[str, tuple[str, str]] = {}
        self.open: set[str] = set()
        self.trades: tuple[ClosedTrade, ...] = ()
        self.verdicts: list[Verdict] = []
        self.away = False
        self.refused = 0  # calls while it was away

    async def record_question(self, cycle_id: str, system_prompt: str, user_prompt: str, ts: int) -> None:
        self._answer()
        self.questions[cycle_id] = (system_prompt, user_prompt)

    async def record_cycle(self, record: CycleRecord) -> bool:
        self._answer()
        cycle_id = record.decision.cycle_id
        if cycle_id in self.records:
            return False
        self.records[cycle_id] = record
        self.open.discard(cycle_id)
        return True

    async def is_open(self, cycle_id: str) -> bool:
        self._answer()
        return cycle_id in self.open

    async def recent_cycles(self, trader_id: str, limit: int, before: str = "") -> tuple[CycleRecord, ...]:
        self._answer()
        mine = [
            record
            for cycle_id, record in self.records.items()
            if record.decision.trader_id == trader_id and cycle_id != before
        ]
        return tuple(reversed(mine))[:limit]

    async def recent_trades(
        self, trader_id: str, limit: int, until_ns: int = NEVER_NS
    ) -> tuple[ClosedTrade, ...]:
        self._answer()
        return tuple(trade for trade in self.trades if trade.trader_id == trader_id)[:limit]

    async def core_blocks(self, trader_id: str) -> tuple[CoreBlock, ...]:
        self._answer()
        return ()

    async def episodes(self, query: MemoryQuery) -> tuple[Episode, ...]:
        self._answer()
        return ()

    async def verdicts_of(self, cycle_ids: Sequence[str]) -> tuple[Verdict, ...]:
        self._answer()
        return tuple(each for each in self.verdicts if each.cycle_id in cycle_ids)

    def _answer(self) -> None:
        if self.away:
            self.refused += 1
            raise StoreUnavailable("the journal is away")


class Served:
    """A running model server; `bodies` are the requests it got, oldest first."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.bodies: list[dict[str, object]] = []
        self.authorization: list[str] = []

    def llm(self, aliases: Mapping[str, str], fallbacks: Sequence[str] = (), **changes: object) -> LlmConfig:
        """Aliases by model name; the first falls back to `fallbacks`. `changes` are the provider's."""
        provider = LlmProviderConfig(base_url=self.base_url, api_key=Secret(KEY), max_retries=0)
        provider = msgspec.structs.replace(provider, requests_per_min=6000.0)
        models = {
            alias: LlmModelConfig(
                provider="local",
                model_name=name,
                price_in=Decimal(1),
                price_cached_in=Decimal("0.1"),
                price_out=Decimal(2),
                fallbacks=tuple(fallbacks) if i == 0 else (),
            )
            for i, (alias, name) in enumerate(aliases.items())
        }
        return LlmConfig(providers={"local": msgspec.structs.replace(provider, **changes)}, models=models)


@asynccontextmanager
async def model_server() -> AsyncIterator[Served]:
    """A model server on a free port of this process."""
    app = make_app(SystemClock())

    @web.middleware
    async def keep(request: web.Request, handler: web.Handler) -> web.StreamResponse:  # type: ignore[name-defined]
        if request.method == "POST":
            served.bodies.append(msgspec.json.decode(await request.read()))
            served.authorization.append(request.headers.get("authorization", ""))
        response: web.StreamResponse = await handler(request)
        return response

    app.middlewares.append(keep)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served = Served(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
    try:
        yield served
    finally:
        await runner.cleanup()
