"""`edgewise risk`: what the gate would say."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.output import print_json, wide_console
from engine.cli.startup import Etc, Json, dsn_of, fail_clearly, settings_of

if TYPE_CHECKING:
    from engine.config.settings import Settings
    from engine.core.decisions import Decision, Wakeup
    from engine.manager.explain import Explained, Terms

app = typer.Typer(help="Ask the risk gate, without sending anything.", no_args_is_help=True)


@app.callback()
def risk() -> None:
    """Keep `explain` a command of its own."""


@app.command()
def explain(
    trader: Annotated[str, typer.Option(help="Id of the trader; that of the cycle if not given.")] = "",
    decision: Annotated[
        str, typer.Option(help="A model's answer: a file, JSON itself, or - for standard input.")
    ] = "",
    cycle: Annotated[str, typer.Option(help="A cycle of the journal: its account, market and answer.")] = "",
    etc: Etc = Path("etc"),
    as_json: Json = False,
) -> None:
    """Show every check of the gate with its numbers, and the order that a decision would become.

    Steps, limits and fees are those that the engine has read at the venue. Without a cycle the account
    and the market are made up. Only this trader's own exposure is counted, and
    breakers are taken as closed. Exit code 0 when all is allowed, 1 when something is refused.
    """
    with fail_clearly():
        explained = _explain(settings_of(etc), etc, trader, decision, cycle)
    _show(explained, as_json=as_json)
    if not all(each.allowed for each in explained):
        raise typer.Exit(1)


def _explain(
    settings: Settings, etc: Path, trader_id: str, text: str, cycle_id: str
) -> tuple[Explained, ...]:
    from engine.clock import SimClock
    from engine.config.loader import nearest
    from engine.core.errors import ConfigError
    from engine.manager.explain import explain
    from engine.wiring.traders import build_account_breaker, build_traders

    traders = build_traders(settings, {}, build_account_breaker(settings, {}))
    kept = asyncio.run(_kept(etc, cycle_id)) if cycle_id else None
    name = trader_id or (kept[0].trader_id if kept else "")
    if not name:
        raise ConfigError("give --trader and a decision, or the --cycle whose decision is meant")
    if name not in traders:
        raise ConfigError(f"no trader {name!r}{nearest(name, traders)}")
    trader = traders[name]
    wakeup, decision = kept or (_made_up(name, trader.symbols), None)
    if text:
        decision = _read(settings, name, text, wakeup)
    if decision is None:
        raise ConfigError("give a decision, or a cycle whose decision is meant")
    terms = asyncio.run(_terms(etc, settings.provider_id))
    clock = SimClock(max(wakeup.ts, decision.ts_decided))
    return explain(decision, wakeup, trader, settings.manager.manager, terms, clock)


async def _terms(etc: Path, account_id: str) -> Terms:
    """Swaps and fees as the venue told them last; where nobody has kept that, the simulator's."""
    import msgspec

    from engine.clock import SystemClock
    from engine.core.errors import ConfigError, StoreUnavailable
    from engine.core.instruments import USUAL_FEES, FeeTier
    from engine.exchange.simulator.universe import LISTINGS
    from engine.journal.ports import KeepState
    from engine.journal.postgres.journal import PostgresJournal
    from engine.manager.explain import Terms

    try:
        async with PostgresJournal(dsn_of(etc), SystemClock()) as journal:
            fees = (await journal.load_states(KeepState.FEES)).get(account_id)
            tier = msgspec.msgpack.decode(fees, type=FeeTier) if fees else USUAL_FEES
            if listed := await journal.instruments():
                return Terms({each.symbol: each for each in listed}, tier.taker)
        why = "no engine has listed the venue's yet"
    except (ConfigError, StoreUnavailable) as error:
        why = f"the journal cannot be read: {error}"
    print(f"steps, limits and fees are the simulator's, {why}", file=sys.stderr)
    return Terms({symbol: listing.instrument for symbol, listing in LISTINGS.items()})


async def _kept(etc: Path, cycle_id: str) -> tuple[Wakeup, Decision]:
    from engine.clock import SystemClock
    from engine.core.errors import ConfigError
    from engine.journal.postgres.journal import PostgresJournal

    async with PostgresJournal(dsn_of(etc), SystemClock()) as journal:
        kept = await journal.cycle(cycle_id)
    if kept is None:
        raise ConfigError(f"the journal has no cycle {cycle_id!r}")
    return kept.wakeup, kept.record.decision


def _made_up(trader_id: str, symbols: tuple[str, ...]) -> Wakeup:
    from engine.executor.sample import sample_wakeup

    return sample_wakeup(trader_id, symbols)


def _read(settings: Settings, trader_id: str, text: str, wakeup: Wakeup) -> Decision:
    """The decision in a file, on standard input, or in the argument itself."""
    import msgspec

    from engine.core.errors import ConfigError, DecisionRefused
    from engine.executor.decision import AnswerRules, read_decision

    if text == "-":
        text = sys.stdin.read()
    elif not text.lstrip().startswith(("{", "[")):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{text}: cannot be read: {error.strerror}") from error
    config = next(each for each in settings.manager.traders if each.id == trader_id)
    rules = AnswerRules(
        limits=settings.executor.tighten(config.risk_params),
        major_coins=frozenset(settings.manager.manager.major_coins),
    )
    try:
        decision, _ = read_decision(text, wakeup, "by hand", rules)
    except DecisionRefused as error:
        raise ConfigError(f"not a decision, refused before the gate: {error.reason}: {error}") from error
    return msgspec.structs.replace(decision, ts_decided=wakeup.ts)


def _show(explained: tuple[Explained, ...], *, as_json: bool) -> None:
    from rich.table import Table

    if as_json:
        print_json(explained)
        return
    console = wide_console()
    if not explained:
        console.print("holds: nothing to check")
    for each in explained:
        table = Table(title=f"{each.act} {each.symbol}", title_justify="left")
        table.add_column("check")
        table.add_column("")
        table.add_column("numbers")
        for check in each.checks:
            table.add_row(check.name, "ok" if check.passed else "REFUSED", check.detail)
        console.print(table)
        if each.intent is None:
            console.print(f"refused: {each.reason}" if each.reason else "allowed, nothing to send")
        else:
            intent = each.intent
            stop = f", stop {intent.stop_loss}" if intent.stop_loss is not None else ""
            target = f", target {intent.take_profit}" if intent.take_profit is not None else ""
            price = f" at {intent.price}" if intent.price is not None else ""
            kind = f"{intent.order_type} {intent.side}"
            console.print(f"allowed: {kind} {intent.contracts} contracts{price}{stop}{target}")
