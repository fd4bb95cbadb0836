"""Venue, symbols, key and account: as a start would find them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from engine.clock import Clock
from engine.config.settings import Settings
from engine.core.errors import ConfigError, Unavailable, VenueError
from engine.core.orders import ZERO
from engine.doctor.findings import Finding, State
from engine.doctor.precautions import unbound_key
from engine.exchange.okx.links import Network
from engine.exchange.okx.venue import OkxVenue
from engine.journal.postgres.owner import Belonging
from engine.wiring.belonging import wrong_account
from engine.wiring.listing import restrict


async def venue(settings: Settings, owned: Belonging, clock: Clock) -> AsyncIterator[Finding]:
    """Whether it is reached, lists what is traded, and has an account as configured; nothing is sent."""
    provider, name = settings.provider, settings.provider_id
    if provider.type == "hyperliquid":
        yield Finding("venue", State.WRONG, f"{name}: type hyperliquid cannot trade yet; use type okx or sim")
        return
    okx = msgspec.structs.replace(provider.okx, account_id=name)
    found = OkxVenue(okx, clock, Network.of(okx))
    try:
        async for finding in _market(settings, found):
            yield finding
        async for finding in _account(settings, owned, found):
            yield finding
    finally:
        await found.close()


async def _market(settings: Settings, venue: OkxVenue) -> AsyncIterator[Finding]:
    try:
        listed = await venue.instruments()
    except VenueError as error:
        remedy = "; is the network there, and does it need a proxy (exchange.yaml)?"
        away = remedy if isinstance(error, Unavailable) else ""
        yield Finding("venue", State.WRONG, f"{settings.provider_id}: {error}{away}")
        return
    yield Finding("venue", State.OK, f"{settings.provider_id}: reached, {len(listed)} swaps are listed")
    try:
        kept = restrict(settings, listed, partly=settings.provider.local)
    except ConfigError as error:
        yield Finding("symbols", State.WRONG, str(error))
        return
    lost = len(settings.market.symbols) - len(kept.market.symbols)
    text = f"{len(kept.market.symbols)} traded there" + (f", {lost} not" if lost else "")
    yield Finding("symbols", State.WARN if lost else State.OK, text)


async def _account(settings: Settings, owned: Belonging, venue: OkxVenue) -> AsyncIterator[Finding]:
    try:
        await venue.check_account()
    except VenueError as error:
        yield Finding("account", State.WRONG, str(error))
        return
    uid, name = venue.settings.uid, settings.provider_id
    if problem := wrong_account(owned.accounts, name, uid):
        yield Finding("account", State.WRONG, problem)
        return
    trading = "orders are sent" if settings.provider.may_trade else "no orders are sent (trading_enabled)"
    text = f"key, permissions, account level, position mode and clock fit; {trading}"
    yield Finding("account", State.OK, text)
    for finding in unbound_key(settings, venue.settings.ip):
        yield finding
    if name not in {*owned.traded, *(known.account_id for known in owned.accounts)}:
        async for finding in _first_start(settings, venue):
            yield finding


async def _first_start(settings: Settings, venue: OkxVenue) -> AsyncIterator[Finding]:
    """What an account must hold, and had better not hold, when its books are opened."""
    try:
        cash, held = (await venue.balance()).cash, await venue.positions()
    except VenueError as error:
        yield Finding("capital", State.WRONG, str(error))
        return
    promised = sum(map(settings.manager.capital, settings.manager.traders), ZERO)
    currency, text = settings.provider.okx.settle_currency, f"{cash:,.2f} of {promised:,.2f} that traders get"
    if cash < promised:
        remedy = "lower total_equity_usd of manager.yaml, or pay in"
        yield Finding("capital", State.WRONG, f"the account has {text} ({currency}); {remedy}")
    else:
        yield Finding("capital", State.OK, f"the account has {text} ({currency})")
    if held:
        symbols = ", ".join(sorted({position.symbol for position in held}))
        text = f"{symbols} held already, by no trader: no entries there until they are closed"
        yield Finding("positions", State.WARN, text)
