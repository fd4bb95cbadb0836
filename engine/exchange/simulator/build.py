"""From what a command line says to a simulated venue."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final, Literal

import msgspec

from engine.clock import Clock
from engine.core.errors import ConfigError
from engine.core.times import NS_PER_MS
from engine.exchange.matching.options import Latency, MatchingOptions
from engine.exchange.matching.types import AccountSpec
from engine.exchange.ports import PositionMode
from engine.exchange.simulator.auth import WINDOW_S, Credentials, Environment, Gatekeeper
from engine.exchange.simulator.faults import Faults
from engine.exchange.simulator.generator import GeneratedMarket
from engine.exchange.simulator.joint import JointMarket
from engine.exchange.simulator.limits import Limiter
from engine.exchange.simulator.manual import ManualMarket
from engine.exchange.simulator.recording import read_recordings
from engine.exchange.simulator.replay import RecordedMarket
from engine.exchange.simulator.source import MarketSource
from engine.exchange.simulator.store import Store
from engine.exchange.simulator.universe import DEFAULT_SYMBOLS, listings
from engine.exchange.simulator.venue import Hub, Venue
from engine.exchange.simulator.world import World

_PERMISSIONS: Final = ("read_only", "trade", "withdraw")
_EXPECTED: Final = "--account: expected KEY:SECRET:PASSPHRASE:USDT, and perhaps :read_only+trade+withdraw"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate. `accounts` as KEY:SECRET:PASSPHRASE:USDT; `folder` None forgets at the end.

    A recording is of the one of `symbols` that its file names, else of the first; frames are of every
    one that traded. The others are generated.
    """

    accounts: tuple[str, ...]
    market: Literal["generated", "recorded", "manual"] = "generated"
    symbols: tuple[str, ...] = ()
    seed: int = 1
    recording: Path | None = None
    funding: Path | None = None  # rates for the recording
    loop: bool = False
    folder: Path | None = None
    position_mode: str = "long_short"
    rate_limits: bool = True
    vip: bool = False  # accounts may follow books-l2-tbt, books50-l2-tbt and fills
    environment: str = ""  # that the keys belong to, demo or live; "" takes requests of both
    latency_ms: int = 0  # of engine time, that an order, a change or a cancellation travels to the book


def build(plan: Plan, clock: Clock) -> Venue:
    """The venue, with its former state if `folder` has one. Raises ConfigError."""
    if plan.position_mode not in set(PositionMode):
        raise ConfigError(f"--position-mode {plan.position_mode!r}: expected long_short or net")
    if plan.market == "manual" and plan.recording is not None:
        raise ConfigError("--manual and --replay: a market is moved by hand or plays a recording")
    if plan.recording is None and (plan.loop or plan.funding is not None):
        raise ConfigError("--loop and --funding are of a recording: name it with --replay")
    if plan.environment not in set(Environment):
        raise ConfigError(f"--environment {plan.environment!r}: expected demo or live")
    mode = PositionMode(plan.position_mode)
    credentials, specs = zip(*(_account(text, mode) for text in plan.accounts), strict=True)
    now = clock.now_ns()
    store = Store(plan.folder) if plan.folder else None
    travel_ns = plan.latency_ms * NS_PER_MS
    latency = Latency(place_ns=travel_ns, cancel_ns=travel_ns, amend_ns=travel_ns)
    world = World(_source(plan, now), specs, store, now, MatchingOptions(latency=latency))
    return Venue(
        world=world,
        clock=clock,
        gatekeeper=Gatekeeper(credentials, clock.engine_ns(WINDOW_S), Environment(plan.environment)),
        faults=Faults(),
        limiter=Limiter(on=plan.rate_limits),
        hub=Hub(world),
        vip=plan.vip,
    )


def _source(plan: Plan, now_ns: int) -> MarketSource:
    if plan.market == "recorded" and plan.recording is not None:
        recordings = read_recordings(plan.recording, plan.symbols, plan.funding)
        sources: list[MarketSource] = [RecordedMarket(each, now_ns, loop=plan.loop) for each in recordings]
        played = [each.listing for each in recordings]
        if others := tuple(each for each in listings(plan.symbols) if each not in played):
            sources.append(GeneratedMarket(others, plan.seed, now_ns))
        return sources[0] if len(sources) == 1 else JointMarket(*sources)
    listed = listings(plan.symbols or DEFAULT_SYMBOLS)
    if plan.market == "manual":
        return ManualMarket(listed, now_ns)
    return GeneratedMarket(listed, plan.seed, now_ns)


def _account(text: str, mode: PositionMode) -> tuple[Credentials, AccountSpec]:
    """KEY:SECRET:PASSPHRASE:USDT, and perhaps what the key may do: …:read_only+trade."""
    try:
        key, secret, passphrase, usdt, *rest = text.split(":")
        balance = Decimal(usdt)
    except (ValueError, InvalidOperation) as error:
        raise ConfigError(_EXPECTED) from error
    allowed = tuple(rest[0].split("+")) if rest else _PERMISSIONS[:2]
    whole = all((key, secret, passphrase)) and balance.is_finite() and balance >= 0
    if not whole or len(rest) > 1 or not set(allowed) <= set(_PERMISSIONS):
        raise ConfigError(_EXPECTED)
    spec = AccountSpec(account=key, balance=balance, position_mode=mode)
    return Credentials(key, secret, passphrase, allowed), spec
