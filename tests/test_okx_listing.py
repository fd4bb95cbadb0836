"""What the venue lists: every spelling finds it, changes reach who rounds, what is gone is not entered."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.clock import SystemClock
from engine.config.settings import Settings, load_settings
from engine.config.values import Duration
from engine.core.errors import ConfigError
from engine.core.instruments import Instrument, venue_symbol
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.simulator.universe import DEFAULT_SYMBOLS
from engine.wiring.listing import InstrumentBook, restrict
from tests.fixtures.okx.scripted import QUICK, ScriptedVenue, listed, ok, running, scripted
from tests.waiting import until

BTC, ETH = "BTC-USDT-SWAP", "ETH-USDT-SWAP"
D = Decimal
ETC = Path(__file__).parent.parent / "etc"
TEN = ("BTC", "ETH", "SOL", "DOGE", "XRP", "ADA", "AVAX", "DOT", "MATIC", "LTC")  # contract S2-115


def instrument(symbol: str, **changes: Any) -> Instrument:
    steps = {"tick_size": D("0.1"), "lot_size": D(1), "min_size": D(1), "contract_value": D(1)}
    return Instrument(symbol=symbol, base=symbol.split("-", maxsplit=1)[0], **(steps | changes))


@pytest.fixture
async def venue() -> AsyncIterator[ScriptedVenue]:
    async with scripted() as server:
        yield server


@pytest.mark.parametrize(
    "text", ["BTC", "btc", "BTCUSDT", "BTC-USDT", "BTC_USDT", "BTC/USDT", "BTC/USDT:USDT", "btc-usdt-swap"]
)
def test_every_spelling_is_the_same_instrument(text: str) -> None:
    assert venue_symbol(text) == BTC


@pytest.mark.parametrize("text", ["", "BTC/USDT/X", "B T C", "BTC-USDT-240927"])
def test_what_names_no_swap_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        venue_symbol(text)


def follow(feed: OkxMarketFeed, book: InstrumentBook) -> None:
    def take(found: Sequence[Instrument], whole: bool) -> None:
        book.update(found, whole=whole)

    feed.on_listed = take


@pytest.mark.parametrize(
    ("lot", "size"), [("1", "1061"), ("0.1", "1061.9"), ("0.01", "1061.98"), ("100", "1000"), ("2000", "0")]
)
def test_O2_size_is_rounded_toward_less_risk(lot: str, size: str) -> None:
    assert instrument(BTC, lot_size=D(lot)).floor_size(D("1061.98")) == D(size)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"lotSz": "1", "minSz": "1"}, "1061"),
        ({"lotSz": "0.1"}, "1061.9"),
        ({"ctVal": "0.1"}, "106.19"),
    ],
)
async def test_O1_change_at_the_venue_reaches_who_rounds(
    venue: ScriptedVenue, changes: dict[str, str], size: str
) -> None:
    venue.answers["GET public/instruments"] = ok(listed())
    feed = OkxMarketFeed(venue.config(), [BTC], [], SystemClock())
    book = InstrumentBook(await feed.instruments())
    follow(feed, book)
    price = D(1_000)
    assert book.by_symbol[BTC].contracts_for_notional(D("10619.80"), price) == D("1061.98")
    async with running(feed.run()):
        await until(lambda: feed.connected["public"])
        channel = {"channel": "instruments", "instType": "SWAP"}
        await venue.push("public", {"arg": channel, "data": [listed(**changes)]})
        known = book.by_symbol[BTC]
        await until(lambda: book.by_symbol[BTC] != known)
    assert book.by_symbol[BTC].contracts_for_notional(D("10619.80"), price) == D(size)


async def test_O1_change_is_found_by_asking_when_the_channel_is_refused(venue: ScriptedVenue) -> None:
    venue.answers["GET public/instruments"] = ok(listed(), listed(ETH))
    venue.refuse["instruments"] = "60018"
    quick = msgspec.structs.replace(QUICK, listing=Duration(0.05))
    feed = OkxMarketFeed(venue.config(timeouts=quick), [BTC], [], SystemClock())
    book = InstrumentBook(await feed.instruments())
    follow(feed, book)
    async with running(feed.run()):
        venue.answers["GET public/instruments"] = ok(listed(lotSz="1"))
        await until(lambda: book.by_symbol[BTC].lot_size == 1)
        await until(lambda: not book.by_symbol[ETH].live)  # vanished: nothing may be entered
        venue.answers["GET public/instruments"] = ok(listed(lotSz="1"), listed(ETH))
        await until(lambda: book.by_symbol[ETH].live)
        venue.answers["GET public/instruments"] = ok()  # no list at all is no news
        asked = len(venue.sent("GET public/instruments"))
        await until(lambda: len(venue.sent("GET public/instruments")) > asked + 1)
        assert book.by_symbol[BTC].live


def test_book_tells_only_what_is_new() -> None:
    book = InstrumentBook((instrument(BTC), instrument(ETH)))
    assert book.update([instrument(BTC)], whole=False) == ()
    suspended = instrument(BTC, live=False)
    assert book.update([suspended], whole=False) == (suspended,)
    (gone,) = book.update([suspended], whole=True)
    assert (gone.symbol, gone.live, gone.lot_size) == (ETH, False, D(1))
    assert book.update([suspended], whole=True) == ()


# -- at start


def configured(tmp_path: Path, symbols: tuple[str, ...]) -> Settings:
    etc = Path(shutil.copytree(ETC, tmp_path / "etc"))
    market = etc / "market.yaml"
    wanted = f"symbols: [{', '.join(symbols)}]"
    market.write_text(re.sub(r"^symbols:\s*\[[^]]*\]", wanted, market.read_text(), flags=re.MULTILINE))
    manager = etc / "manager.yaml"
    manager.write_text(manager.read_text().replace("POL", "MATIC"))
    return load_settings(etc, {})


def test_S2_115_the_ten_are_watched_and_simulated_under_the_names_they_have_now() -> None:
    names = tuple(f"{'POL' if coin == 'MATIC' else coin}-USDT-SWAP" for coin in TEN)
    assert load_settings(ETC, {}).market.symbols == names
    assert set(DEFAULT_SYMBOLS) == set(names)


@pytest.mark.parametrize("partly", [False, True])
def test_S2_115_the_ten_are_validated_and_one_that_is_gone_is_left_out(tmp_path: Path, partly: bool) -> None:
    settings = configured(tmp_path, TEN)
    names = [*(coin for coin in TEN if coin != "MATIC"), "POL"]
    kept = restrict(settings, tuple(instrument(f"{name}-USDT-SWAP") for name in names), partly=partly)
    assert kept.market.symbols == tuple(f"{name}-USDT-SWAP" for name in TEN if name != "MATIC")


def test_trader_without_a_traded_symbol_is_a_mistake_where_all_should_be_listed(tmp_path: Path) -> None:
    settings = configured(tmp_path, TEN)
    with pytest.raises(ConfigError, match="not traded at okx_demo"):
        restrict(settings, (instrument(BTC),), partly=False)
    assert restrict(settings, (instrument(BTC),), partly=True).market.symbols == (BTC,)
