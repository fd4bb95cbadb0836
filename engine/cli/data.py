"""`edgewise data`: a market's past in files that `backtest`, `signals` and `--replay` play."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.cli.startup import fail_clearly
from engine.core.words import counted

if TYPE_CHECKING:
    from decimal import Decimal

    from engine.config.exchange import OkxConfig
    from engine.market.table import CandleTable

app = typer.Typer(help="Bring a market's past from the venue into files.", no_args_is_help=True)
Symbol = Annotated[str, typer.Argument(help="BTC, BTC/USDT:USDT or BTC-USDT-SWAP.")]
Out = Annotated[Path | None, typer.Option(help="The file; default: named for its content, in this folder.")]
Region = Annotated[Literal["global", "eea", "us"], typer.Option(help="Which of OKX's hosts.")]
Url = Annotated[str, typer.Option(help="Another host, such as http://127.0.0.1:8640 of a simulator.")]


@app.command()
def candles(
    symbol: Symbol,
    since: Annotated[str, typer.Option("--from", help="UTC: 2026-01-31 or 2026-01-31T12:00.")],
    until: Annotated[str, typer.Option("--to", help="UTC; default now.")] = "",
    timeframe: Annotated[str, typer.Option(help="1m, 5m, 15m, 1h …")] = "1m",
    out: Out = None,
    region: Region = "global",
    url: Url = "",
) -> None:
    """Candles as a table of ts_ms, open, high, low, close, volume in coins. No key is needed.

    A file that is there already is continued after its last candle, so that the same command again, or after
    a broken connection, brings only what is missing. One that lacks the beginning of what the venue has is
    left alone. Holes of the venue are counted, not filled.
    """
    from engine.core.errors import ConfigError
    from engine.core.instruments import coin, venue_symbol
    from engine.core.times import TIMEFRAMES
    from engine.market.table import CandleTable

    with fail_clearly():
        if timeframe not in TIMEFRAMES:
            raise ConfigError(f"--timeframe {timeframe}: expected one of {', '.join(TIMEFRAMES)}")
        name = venue_symbol(symbol)
        span = _moment("--from", since), _moment("--to", until)
        if span[0] >= span[1]:
            raise ConfigError(f"--from {since} is not before {f'--to {until}' if until else 'now'}")
        path = out or Path(f"{coin(name).lower()}-usdt-swap_{timeframe}.csv.gz")
        table = CandleTable(path, timeframe)
        asyncio.run(_candles(_config(region, url), name, span, table))
        holes = f", {table.holes} missing at the venue" if table.holes else ""
        print(f"{path}: {counted(table.rows, 'candle')} more{holes}")


@app.command()
def funding(
    symbol: Symbol,
    since: Annotated[str, typer.Option("--from", help="UTC; default: all that the venue remembers.")] = "",
    out: Out = None,
    region: Region = "global",
    url: Url = "",
) -> None:
    """Funding rates as they were charged, for `backtest --funding`; OKX remembers three months."""
    from engine.core.instruments import coin, venue_symbol
    from engine.market.table import write_funding

    with fail_clearly():
        name = venue_symbol(symbol)
        path = out or Path(f"{coin(name).lower()}-usdt-swap_funding.csv.gz")
        rates = asyncio.run(_funding(_config(region, url), name, _moment("--from", since) if since else 0))
        write_funding(path, rates)
        print(f"{path}: {counted(len(rates), 'rate')}")


def _config(region: Literal["global", "eea", "us"], url: str) -> OkxConfig:
    from engine.config.exchange import OkxConfig

    return OkxConfig(region=region, rest_url=url.rstrip("/"))


def _moment(option: str, text: str) -> int:
    """UTC nanoseconds of what was written; now for nothing. Raises ConfigError."""
    from datetime import UTC, datetime

    from engine.clock import SystemClock
    from engine.core.errors import ConfigError
    from engine.core.times import NS_PER_S

    if not text:
        return SystemClock().now_ns()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: expected 2026-01-31 or 2026-01-31T12:00") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * NS_PER_S


async def _candles(config: OkxConfig, symbol: str, span: tuple[int, int], table: CandleTable) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from engine.clock import SystemClock
    from engine.core.errors import ConfigError
    from engine.core.times import timeframe_ns
    from engine.exchange.okx.archive import Archive
    from engine.exchange.okx.rest import RestClient

    since, until = table.continued(span[0]), span[1]
    rest = RestClient(config, SystemClock())
    archive = Archive(rest)
    try:
        if table.begin_ns and await archive.has_candles(symbol, table.timeframe, span[0], table.begin_ns):
            raise ConfigError(f"{table.path} begins later than --from: choose another file, or delete it")
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task(f"{symbol} {table.timeframe}", total=max(until - since, 1))
            async for page in archive.candles(symbol, table.timeframe, since, until):
                table.append(page)
                if page:
                    done = page[-1].ts_open + timeframe_ns(table.timeframe) - since
                    progress.update(bar, completed=done)
    finally:
        await rest.close()


async def _funding(config: OkxConfig, symbol: str, since_ns: int) -> list[tuple[int, Decimal]]:
    from engine.clock import SystemClock
    from engine.exchange.okx.archive import Archive
    from engine.exchange.okx.rest import RestClient

    rest = RestClient(config, SystemClock())
    try:
        return await Archive(rest).funding(symbol, since_ns)
    finally:
        await rest.close()
