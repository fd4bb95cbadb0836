"""The traders of the settings, their schedule and their breakers: one function each."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.config.settings import Settings
from engine.config.values import plain
from engine.core.books import Books
from engine.journal.ports import TraderRecord, account_key
from engine.manager.breaker import Breaker
from engine.manager.budget import Budget
from engine.manager.scheduler import Scheduler
from engine.manager.traders import Trader


def build_traders(settings: Settings, states: Mapping[str, bytes], account: Breaker) -> dict[str, Trader]:
    """The traders with their limits tightened by executor.yaml, and the breaker states of a former life."""
    traders: dict[str, Trader] = {}
    reset_s = settings.manager.manager.daily_reset_s
    for config in settings.manager.traders:
        limits = settings.executor.tighten(config.risk_params)
        tightened = msgspec.structs.replace(config, risk_params=limits)
        breaker = Breaker(limits, states.get(config.id, b""), reset_s=reset_s)
        traders[config.id] = Trader(tightened, settings.symbols(config), breaker, account)
    return traders


def build_account_breaker(settings: Settings, states: Mapping[str, bytes]) -> Breaker:
    """The breaker over all traders, as a former life left it."""
    config = settings.manager.manager
    kept = states.get(account_key(settings.provider_id), b"")
    return Breaker(config.breaker, kept, reset_s=config.daily_reset_s)


def build_scheduler(
    settings: Settings, traders: Mapping[str, Trader], books: Books, now_ns: int
) -> Scheduler:
    """All traders with their rhythms; decision_interval, where given, is the long cycle."""

    def may_act(trader_id: str, ts_ns: int) -> bool:
        """What it does on paper no breaker of the live account holds back."""
        trader = traders[trader_id]
        holds = trader.under_way or books.account(trader_id).positions
        return bool(holds) or not trader.config.rollout.live or trader.may_enter(ts_ns)

    scheduler = Scheduler(Budget(settings.manager.budget), may_act)
    for trader in traders.values():
        interval = trader.config.decision_interval or settings.executor.decision_interval
        rhythm = trader.config.rhythm.every(interval)
        if trader.config.auto_start:
            model = next(iter(trader.config.models), "")
            scheduler.add(trader.trader_id, rhythm, trader.symbols, now_ns, model=model)
    return scheduler


def trader_records(settings: Settings, now_ns: int) -> list[TraderRecord]:
    """The traders as the journal keeps them."""
    return [
        TraderRecord(
            trader_id=trader.id,
            name=trader.name or trader.id,
            kind="strategy" if trader.strategy else "ensemble" if trader.ensemble else "model",
            model=trader.decider,
            account_id=settings.provider_id,
            config=msgspec.json.encode(trader, enc_hook=plain),
            ts=now_ns,
        )
        for trader in settings.manager.traders
    ]
