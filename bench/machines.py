"""The scheduler beside a bare heap, the venue core beside a bare walk of its book."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from decimal import Decimal
from time import monotonic_ns, perf_counter_ns
from typing import Final

from bench.measure import Row, Run, Title, of_items, of_rounds, same, timed
from engine.config.scheduler import RhythmConfig
from engine.config.values import Duration
from engine.core.instruments import Instrument
from engine.core.market import Side
from engine.core.times import NS_PER_MS, NS_PER_S
from engine.exchange.matching.book import Book
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.records import FillMade
from engine.exchange.matching.types import AccountSpec, OrderRequest, OrdType
from engine.garbage import settle
from engine.manager.scheduler import Scheduler

_CYCLE_S: Final = 500
_START: Final = 1_790_000_000 * NS_PER_S
_FIRST: Final = _START + 1  # nobody is due at the very moment of a poll
_NAP_S: Final = 0.0005  # between two looks, as a timer of the event loop has it
_ORDERS: Final = 2000
_SYMBOL: Final = "BTC-USDT-SWAP"
_ACCOUNT: Final = "bench"

Fires = list[tuple[int, int]]  # (second, trader)


def scheduler(run: Run) -> list[Row]:
    """Whole cycles of 100,000 traders, polled once a second of engine time: each fires and answers."""
    traders = run.of(100_000, 1000)
    names = {f"trader{number}": number for number in range(traders)}
    made = _scheduler(names, _apart_ns(traders))
    heap = [(_FIRST + number * _apart_ns(traders), number) for number in range(traders)]
    pairs = []
    for cycle in range(3):  # the first is the start of all, and warms up
        fires, wanted = list[tuple[int, str]](), Fires()
        path = timed(lambda: _fire(made, cycle, fires))  # noqa: B023 - called at once
        reference = timed(lambda: _pop(heap, cycle, wanted))  # noqa: B023
        same("who fired when", [(second, names[name]) for second, name in fires], wanted)
        same("how many fired", len(fires), traders)
        if cycle:
            pairs.append((path, reference))
    title = Title(
        f"Scheduler, {traders:,} traders",
        "poll and answer, a fire",
        "bare heapq loop",
        "who fires when",
        aim=0.5,
    )
    row = of_rounds(title, pairs, traders)
    run.notes.append(
        f"scheduler: {1e6 / row.path_us:,.0f} fires a second, {1e6 / row.reference_us:,.0f} of a heap"
    )
    return [row, asyncio.run(_lateness(run.of(100_000, 500), run.of(3, 1)))]


async def _lateness(traders: int, rounds: int) -> Row:
    """All traders due within one real second, each once: how long after its time is one handed out?"""
    late, bare_late = list[int](), list[int]()
    for _ in range(rounds):
        numbers = {f"trader{number}": number for number in range(traders)}
        made = _scheduler(numbers, NS_PER_S // traders)
        late += await _handed_out(traders, lambda now: _due(made, numbers, now))  # noqa: B023
        heap = [(_START + number * (NS_PER_S // traders), number) for number in range(traders)]
        bare_late += await _handed_out(traders, lambda now: _popped(heap, now))  # noqa: B023
    return of_items(
        Title(
            f"Scheduler, {traders:,} traders",
            f"{traders:,} fires in a second: lateness",
            "bare heapq loop",
            "each fires once",
            aim=0.5,
            aim_at_p99=True,
        ),
        late,
        bare_late,
    )


async def _handed_out(traders: int, poll: Callable[[int], list[int]]) -> list[int]:
    """Real nanoseconds after its time at which each trader was handed out; a timer polls."""
    settle()
    late, fired, began = list[int](), list[int](), monotonic_ns()
    while len(fired) < traders:
        numbers = poll(_START + monotonic_ns() - began)
        passed = monotonic_ns() - began
        late += [passed - number * (NS_PER_S // traders) for number in numbers]
        fired += numbers
        await asyncio.sleep(_NAP_S)
    same("who fired", sorted(fired), list(range(traders)))
    return late


def _due(made: Scheduler, numbers: dict[str, int], now: int) -> list[int]:
    due = [numbers[due.trader_id] for due in made.poll(now)]
    made.take_changed()
    return due


def _popped(heap: list[tuple[int, int]], now: int) -> list[int]:
    numbers = []
    while heap and heap[0][0] <= now:
        numbers.append(heapq.heappop(heap)[1])
    return numbers


def _apart_ns(traders: int) -> int:
    """So that the traders are spread over the whole cycle."""
    return _CYCLE_S * NS_PER_S // traders


def _scheduler(names: dict[str, int], apart_ns: int) -> Scheduler:
    cycle = Duration(_CYCLE_S)
    rhythm = RhythmConfig(long_cycle=cycle, short_cycle=cycle, cooldown=Duration(1), jitter=Duration(0))
    made = Scheduler()
    for name, number in names.items():
        made.add(name, rhythm, (f"SYMBOL{number % 20}",), _FIRST + number * apart_ns)
    return made


def _seconds(cycle: int) -> range:
    """Seconds at which to poll: every fire of the cycle is due at one of them."""
    return range(1 + cycle * _CYCLE_S, 1 + (cycle + 1) * _CYCLE_S)


def _fire(made: Scheduler, cycle: int, fires: list[tuple[int, str]]) -> None:
    for second in _seconds(cycle):
        now = _START + second * NS_PER_S
        for due in made.poll(now):
            fires.append((second, due.trader_id))
            made.on_closed(due.cycle_id, due.trader_id, now)
        made.take_changed()


def _pop(heap: list[tuple[int, int]], cycle: int, fires: Fires) -> None:
    for second in _seconds(cycle):
        now = _START + second * NS_PER_S
        while heap[0][0] <= now:
            number = heap[0][1]
            fires.append((second, number))
            heapq.heapreplace(heap, (heap[0][0] + _CYCLE_S * NS_PER_S, number))


def matching(run: Run) -> list[Row]:
    """A market order over three levels, buy and sell in turns, each on a fresh book."""
    core = _venue()
    bids, asks = _levels()
    size, steps = Decimal(25), list[int]()
    bare_steps, bare = list[int](), Book()
    settle()
    orders = run.of(_ORDERS, 100)
    for number in range(orders):
        ts = _START + number * NS_PER_MS
        side = Side.SELL if number % 2 else Side.BUY
        core.on_book(_SYMBOL, bids, asks, ts)
        request = OrderRequest(symbol=_SYMBOL, side=side, size=size, ord_type=OrdType.MARKET)
        began = perf_counter_ns()
        _, events = core.place(_ACCOUNT, request, ts)
        steps.append(perf_counter_ns() - began)
        bare.replace(bids, asks)
        began = perf_counter_ns()
        taken = bare.take(side, size, None)
        bare_steps.append(perf_counter_ns() - began)
        fills = [(event.fill.price, event.fill.size) for event in events if isinstance(event, FillMade)]
        same("fills of a market order", fills, taken)
    _check_money(core, orders)
    title = Title(
        "Venue core", "market order, 3 fills", "walk of the book alone", "every fill, cash after all"
    )
    return [of_items(title, steps, bare_steps)]


def _levels() -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
    ticks = [Decimal(step) / 10 for step in range(1, 21)]
    return [(60_000 - tick, Decimal(10)) for tick in ticks], [(60_000 + tick, Decimal(10)) for tick in ticks]


def _venue() -> MatchingCore:
    core = MatchingCore()
    core.set_instrument(
        Instrument(
            symbol=_SYMBOL,
            base="BTC",
            tick_size=Decimal("0.1"),
            lot_size=Decimal("0.01"),
            min_size=Decimal("0.01"),
            contract_value=Decimal("0.01"),
        )
    )
    core.open_account(AccountSpec(account=_ACCOUNT, balance=Decimal(10_000_000)))
    core.on_book(_SYMBOL, *_levels(), _START)
    core.on_mark(_SYMBOL, Decimal(60_000), _START)
    return core


def _check_money(core: MatchingCore, orders: int) -> None:
    """Bought at the asks, sold at the bids, less 0.05 % of each notional: the cash, to the digit."""
    sizes = (Decimal(10), Decimal(10), Decimal(5))
    ticks = (Decimal("0.1"), Decimal("0.2"), Decimal("0.3"))
    spread = sum((2 * tick * size for tick, size in zip(ticks, sizes, strict=True)), Decimal(0))
    notional = 2 * 60_000 * sum(sizes)
    lost = (spread + notional * Decimal("0.0005")) * Decimal("0.01") * (orders // 2)
    same("cash after all orders", core.balance(_ACCOUNT).cash, Decimal(10_000_000) - lost)
    same("open positions", core.positions(_ACCOUNT), ())
