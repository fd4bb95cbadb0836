"""The data block of a prompt, and how it is made to fit: what matters least goes first, and it is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from engine.executor.context import Context, Market

_CHARACTERS_PER_TOKEN: Final = 3  # numbers and punctuation cost more than prose; this errs on the dear side
_BLOCK: Final = re.compile(r"<data>\s*(\{.*?\})\s*</data>", re.DOTALL)
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def estimate_tokens(text: str) -> int:
    """Upper estimate of the tokens of `text`: models differ, so a third of its bytes, rounded up."""
    return -(-len(text.encode()) // _CHARACTERS_PER_TOKEN)


def data_block(context: Context) -> str:
    """The context as JSON, one line for each key and each item of a list: short, and fit to be read."""
    lines = []
    for name in context.__struct_fields__:
        value = getattr(context, name)
        if isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
            items = ",\n  ".join(_ENCODER.encode(item).decode() for item in value)
            lines.append(f'"{name}":[\n  {items}]')
        else:
            lines.append(f'"{name}":{_ENCODER.encode(value).decode()}')
    return ("{" + ",\n".join(lines) + "}").replace("</", "<\\/")  # no text inside can end the block


def find_block(prompt: str) -> Context | None:
    """The context in the data block of a prompt; None without a readable one."""
    match = _BLOCK.search(prompt)
    if match is None:
        return None
    try:
        return read_block(match[1])
    except msgspec.MsgspecError:
        return None


def read_block(block: str) -> Context:
    """The context of a data block. Raises msgspec.MsgspecError when it is none."""
    return msgspec.json.decode(block, type=Context)


def fit(context: Context, fits: Callable[[Context], bool]) -> Context:
    """The context, cut until it `fits`, or nothing more may be cut.

    Never cut: reasons, limits, account, positions, prices, and the shortest timeframe of symbols that are
    held or woke the trader.
    """
    for what, cut in _CUTS:
        if fits(context):
            break
        shorter = cut(context)
        if shorter != context:
            context = msgspec.structs.replace(shorter, left_out=(*context.left_out, what))
    return context


def _told(news: int, remembered: int, notes: int) -> Callable[[Context], Context]:
    def cut(context: Context) -> Context:
        return msgspec.structs.replace(
            context,
            news=context.news[:news],
            remembered_trades=context.remembered_trades[:remembered],
            notes=context.notes[:notes],
        )

    return cut


def _past(decisions: int, trades: int) -> Callable[[Context], Context]:
    def cut(context: Context) -> Context:
        return msgspec.structs.replace(
            context,
            recent_decisions=context.recent_decisions[:decisions],
            closed_trades=context.closed_trades[:trades],
        )

    return cut


def _closes(most: int) -> Callable[[Context], Context]:
    def shorten(market: Market) -> Market:
        frames = tuple(
            msgspec.structs.replace(frame, closes=frame.closes[-most:] if most else ())
            for frame in market.frames
        )
        return msgspec.structs.replace(market, frames=frames)

    return _each_market(shorten)


def _each_market(shorten: Callable[[Market], Market]) -> Callable[[Context], Context]:
    def cut(context: Context) -> Context:
        return msgspec.structs.replace(context, market=tuple(shorten(market) for market in context.market))

    return cut


def _flat(shorten: Callable[[Market], Market]) -> Callable[[Context], Context]:
    """Shorten only symbols that are neither held nor a reason of this wakeup."""

    def cut(context: Context) -> Context:
        wanted = {view.symbol for view in context.positions} | {view.symbol for view in context.woken_by}
        markets = tuple(m if m.symbol in wanted else shorten(m) for m in context.market)
        return msgspec.structs.replace(context, market=markets)

    return cut


def _first_frame(market: Market) -> Market:
    return msgspec.structs.replace(market, frames=market.frames[:1])


def _prices_only(market: Market) -> Market:
    return msgspec.structs.replace(market, frames=(), live={})


_CUTS: Final[tuple[tuple[str, Callable[[Context], Context]], ...]] = (
    ("closes before the newest 10 of each timeframe", _closes(10)),
    ("news before the newest 8, remembered trades and notes after the first 4", _told(8, 4, 4)),
    ("decisions before the newest 5 and trades before the newest 8", _past(5, 8)),
    ("closes before the newest 5 of each timeframe", _closes(5)),
    ("decisions before the newest 2 and trades before the newest 3", _past(2, 3)),
    ("longer timeframes of symbols without a position or a signal", _flat(_first_frame)),
    ("news before the newest 3, remembered trades and notes after the first 2", _told(3, 2, 2)),
    ("all closes", _closes(0)),
    ("all news, remembered trades and notes", _told(0, 0, 0)),
    ("all earlier decisions and trades", _past(0, 0)),
    ("indicators of symbols without a position or a signal", _flat(_prices_only)),
    ("longer timeframes of all symbols", _each_market(_first_frame)),
)
