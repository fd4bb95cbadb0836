"""`edgewise memory`: what a trader holds to and remembers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.output import print_json
from engine.cli.startup import Etc, Json, dsn_of, fail_clearly, settings_of
from engine.core.memory import CoreLabel

if TYPE_CHECKING:
    from engine.core.memory import CoreBlock, Episode

app = typer.Typer(help="Read and change what model traders remember.", no_args_is_help=True)
Trader = Annotated[str, typer.Argument(help="Id of the trader.")]


@app.command()
def show(
    trader: Trader,
    limit: Annotated[int, typer.Option(help="Newest trades to show.", min=0, max=1000)] = 10,
    etc: Etc = Path("etc"),
    as_json: Json = False,
) -> None:
    """Show a trader's own core memory and its newest remembered trades."""

    with fail_clearly():
        blocks, episodes = asyncio.run(_read(etc, trader, limit))
        if not blocks and not episodes:
            _check_known(etc, trader)
    if as_json:
        print_json({"core": blocks, "episodes": episodes})
        return
    for block in blocks:
        print(f"{block.label}: {block.text}")
    for each in episodes:
        print(f"{each.symbol} {each.side}, net {each.net:.2f} USD, closed by {each.exit}: {each.thesis}")
    if not blocks and not episodes:
        print(f"{trader} has no words of its own and remembers no trade")


@app.command(name="set")
def set_block(
    trader: Trader,
    block: Annotated[CoreLabel, typer.Argument(help="The block to replace.")],
    text: Annotated[str, typer.Argument(help='Its new text; "" leaves the block out for this trader.')],
    etc: Etc = Path("etc"),
) -> None:
    """Give one trader its own words for a block of core memory, from its next decision on."""
    from engine.core.memory import CoreBlock

    with fail_clearly():
        asyncio.run(_write(etc, trader, CoreBlock(label=block, text=text)))
    print(f"{block} of {trader} is set")


def _check_known(etc: Path, trader_id: str) -> None:
    """Raises ConfigError for a trader that is not configured."""
    from engine.config.loader import nearest
    from engine.core.errors import ConfigError

    known = [trader.id for trader in settings_of(etc).manager.traders]
    if trader_id not in known:
        raise ConfigError(f"no trader {trader_id!r}{nearest(trader_id, known)}")


async def _read(etc: Path, trader_id: str, limit: int) -> tuple[tuple[CoreBlock, ...], tuple[Episode, ...]]:
    from engine.clock import SystemClock
    from engine.core.memory import MemoryQuery
    from engine.core.times import NEVER_NS
    from engine.journal.postgres.journal import PostgresJournal

    query = MemoryQuery(trader_id=trader_id, symbols=(), words=(), until_ns=NEVER_NS, limit=limit)
    async with PostgresJournal(dsn_of(etc), SystemClock()) as journal:
        return await journal.core_blocks(trader_id), await journal.episodes(query)


async def _write(etc: Path, trader_id: str, block: CoreBlock) -> None:
    from engine.clock import SystemClock
    from engine.journal.postgres.journal import PostgresJournal

    _check_known(etc, trader_id)
    clock = SystemClock()
    async with PostgresJournal(dsn_of(etc), clock) as journal:
        await journal.set_core_block(trader_id, block, clock.now_ns())
