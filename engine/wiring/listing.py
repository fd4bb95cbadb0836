"""What the venue lists: the instruments as one book, and the settings as far as it can trade them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec
import structlog

from engine.config.settings import Settings
from engine.core.errors import ConfigError
from engine.core.instruments import Instrument, coin, venue_symbol

log = structlog.get_logger()

_RENAMED: Final = {"MATIC": "POL"}  # coins that venues list under a new name


class InstrumentBook:
    """The venue's instruments by symbol; one object for all who size, round or value by them."""

    def __init__(self, instruments: tuple[Instrument, ...]) -> None:
        self.by_symbol = {each.symbol: each for each in instruments}

    def update(self, found: Sequence[Instrument], *, whole: bool) -> tuple[Instrument, ...]:
        """Take over what the venue lists now; returns what differs from before.

        `whole`: `found` is all that the venue lists. What is missing in it then is not live any more: it
        keeps its steps, because its positions are still to be closed. An empty list is no list.
        """
        news = [each for each in found if self.by_symbol.get(each.symbol) != each]
        if whole and found:
            names = {each.symbol for each in found}
            news += [
                msgspec.structs.replace(known, live=False)
                for symbol, known in self.by_symbol.items()
                if symbol not in names and known.live
            ]
        self.by_symbol |= {each.symbol: each for each in news}
        return tuple(news)

    def contract_value(self, symbol: str) -> Decimal:
        return self.by_symbol[symbol].contract_value


def restrict(settings: Settings, listed: tuple[Instrument, ...], *, partly: bool) -> Settings:
    """The settings with the symbols that the venue trades, as its ids.

    What the venue lacks is left out with a warning (a coin was delisted or renamed, a recording has one
    market). A trader that is left without a symbol is a mistake and raises ConfigError, unless the venue may
    list only a part of what the configuration names (`partly`): then it is left out as well.
    """
    known = {each.symbol for each in listed if each.live}
    watched = tuple(venue_symbol(text) for text in settings.market.symbols)
    missing = [symbol for symbol in watched if symbol not in known]
    if missing:
        news = {name: new for symbol in missing if (new := _RENAMED.get(name := coin(symbol)))}
        log.warning("symbols are not traded here and left out", symbols=missing, renamed=news)
    traders = []
    for trader in settings.manager.traders:
        symbols = tuple(symbol for symbol in settings.symbols(trader) if symbol in known)
        if symbols:
            traders.append(msgspec.structs.replace(trader, symbols=symbols))
        elif not partly:
            wanted = ", ".join(settings.symbols(trader))
            raise ConfigError(f"trader {trader.id}: {wanted} not traded at {settings.provider_id}")
    if not traders:
        raise ConfigError(f"none of the symbols of market.yaml is traded at {settings.provider_id}")
    kept = tuple(symbol for symbol in watched if symbol in known)
    market = msgspec.structs.replace(settings.market, symbols=kept)
    return msgspec.structs.replace(settings.with_traders(traders), market=market)


def venue_leverage(settings: Settings, instruments: InstrumentBook) -> dict[str, Decimal]:
    """Leverage to set at the venue: the highest that a trader of the symbol may use.

    The venue has one leverage a symbol for all of them; each trader's own only counts in its virtual margin.
    """
    majors = set(settings.manager.manager.major_coins)
    wanted: dict[str, Decimal] = {}
    for trader in settings.manager.traders:
        limits = settings.executor.tighten(trader.risk_params)
        for symbol in settings.symbols(trader):
            most = limits.major_coin_leverage if coin(symbol) in majors else limits.altcoin_leverage
            most = min(most, instruments.by_symbol[symbol].max_leverage)
            wanted[symbol] = max(most, wanted.get(symbol, Decimal(1)))
    return wanted
