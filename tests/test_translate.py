"""From decisions to intents: whatever is decided, no intent breaks a limit, and closing always passes."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.manager import CapitalConfig, RiskConfig
from engine.config.values import Duration
from engine.core.decisions import Act, Action, Verdict
from engine.core.orders import OrderState, PositionSide, Purpose
from engine.manager.exits import overdue, trailed_stop
from engine.manager.risk import REASONS
from engine.manager.stop_checks import STOP_REASONS
from tests.gate_world import INSTRUMENTS, PRICES, SECOND, GateWorld

D = Decimal
BTC, DOGE = PRICES
LIMITS = RiskConfig(
    max_positions=2,
    max_position_size_usd=D(30_000),
    max_margin_usage_pct=D(50),
    max_concentration_pct=D(250),
    major_coin_leverage=D(20),
    altcoin_leverage=D(5),
    min_risk_reward_ratio=D(1),
    min_confidence=D(50),
    risk_per_trade_pct=D(3),
    max_entries_per_hour=4,
)
OTHER_REFUSALS = {"malformed", "symbol_unknown", "nothing_to_close", "nothing_to_protect", *STOP_REASONS}


def enter(symbol: str = BTC, act: Act = Act.BUY_TO_ENTER, **changes: Decimal | None) -> Action:
    """An entry that passes every check at the prices of the world."""
    price, sign = D(str(PRICES[symbol])), 1 if act is Act.BUY_TO_ENTER else -1
    given: dict[str, Decimal | None] = {
        "notional_usd": D(5000),
        "leverage": D(5),
        "stop_loss": price * (1 - sign * D("0.01")),
        "take_profit": price * (1 + sign * D("0.03")),
        "confidence": D("0.9"),
    }
    return Action(symbol=symbol, act=act, **(given | changes))  # type: ignore[arg-type]


numbers = st.one_of(
    st.none(),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals("-1e6", "1e6", places=4),
    st.sampled_from([D(0), D("1e300"), D("-0"), D("1e-40"), D("1e15")]),
)
prices = st.one_of(numbers, st.decimals("95000", "105000", places=2), st.decimals("0.15", "0.25", places=6))
nonsense = st.builds(
    Action,
    symbol=st.sampled_from([BTC, DOGE, "PEPE-USDT-SWAP", ""]),
    act=st.sampled_from(Act),
    notional_usd=numbers,
    leverage=numbers.map(lambda n: D(1) if n is None else n),
    entry_price=prices,
    stop_loss=prices,
    take_profit=prices,
    risk_usd=numbers,
    confidence=numbers.map(lambda n: D("0.9") if n is None else n),
    close_fraction=numbers.map(lambda n: D(1) if n is None else n),
)


@st.composite
def plausible(draw: st.DrawFn) -> Action:
    """An action that may well pass: what the limits are there for."""
    symbol = draw(st.sampled_from([BTC, DOGE]))
    price = D(str(PRICES[symbol]))
    act = draw(st.sampled_from([Act.BUY_TO_ENTER, Act.SELL_TO_ENTER, Act.CLOSE, Act.REDUCE, Act.MOVE_STOP]))
    sign = -1 if act is Act.SELL_TO_ENTER else 1
    return Action(
        symbol=symbol,
        act=act,
        notional_usd=draw(st.one_of(st.none(), st.decimals("1", "1e6", places=2))),
        leverage=D(draw(st.integers(1, 21))),
        stop_loss=price * (1 - sign * draw(st.decimals("-0.001", "0.03", places=4))),
        take_profit=price * (1 + sign * draw(st.decimals("0.01", "0.05", places=4))),
        risk_usd=draw(st.one_of(st.none(), st.decimals("1", "1e4", places=2))),
        confidence=draw(st.decimals("0.48", "1", places=2)),
        close_fraction=draw(st.decimals("0.01", "1", places=2)),
    )


actions = st.lists(st.one_of(plausible(), plausible(), nonsense), max_size=4)


def assert_within_limits(world: GateWorld) -> None:
    """No limit of trader `t0` is broken, all that is under way counted as held."""
    view, trader = world.accounts.view("t0"), world.traders["t0"]
    equity = view.equity or D(0)
    under_way = list(trader.under_way.values())
    values = {symbol: each.contract_value for symbol, each in INSTRUMENTS.items()}
    margin = view.margin_used + trader.pending_margin(world.accounts.marks, values)
    slack = D("1.01")  # fees and the spread move equity and notional after the approval
    assert len({p.symbol for p in view.positions} | {i.symbol for i in under_way}) <= LIMITS.max_positions
    assert len(view.positions) + len(under_way) <= LIMITS.max_positions, "one position a symbol"
    assert margin <= equity * LIMITS.max_margin_usage_pct / 100 * slack
    for intent in under_way:
        instrument, price = INSTRUMENTS[intent.symbol], world.accounts.marks[intent.symbol]
        notional = instrument.notional(intent.contracts, price)
        assert notional <= LIMITS.max_position_size_usd * slack
        assert notional <= equity * LIMITS.max_concentration_pct / 100 * slack
        assert intent.contracts >= instrument.min_size
        assert intent.contracts % instrument.lot_size == 0
        assert 1 <= intent.leverage <= (LIMITS.major_coin_leverage if intent.symbol == BTC else 5)
        assert intent.stop_loss is not None
        assert (price - intent.stop_loss) * intent.position_side.sign > 0
        assert intent.stop_loss % instrument.tick_size == 0
        lost = instrument.coins(intent.contracts) * abs(price - intent.stop_loss)
        assert lost <= equity * LIMITS.risk_per_trade_pct / 100 * slack + notional * D("0.0002")


@given(rounds=st.lists(st.tuples(actions, st.booleans()), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_no_decision_that_a_fuzzer_can_make_breaks_a_limit(rounds: list[tuple[list[Action], bool]]) -> None:
    world = GateWorld(LIMITS)
    for said, filled in rounds:
        verdicts, intents = world.decide("t0", *said)
        refused = {verdict.reason for verdict in verdicts if not verdict.approved}
        assert refused <= {*REASONS, *OTHER_REFUSALS}
        assert sum(verdict.approved for verdict in verdicts) == len(intents) + len(world.moves)
        assert_within_limits(world)
        for moved in world.moves:
            held = world.accounts.view("t0").position(moved.symbol)
            assert held is not None
            before = held.stop_loss or D(0)
            assert (moved.stop_loss - before) * held.side.sign >= 0, "toward less risk"
            assert world.books.account("t0").move_stop(moved)
        for intent in intents:
            if filled or intent.purpose is Purpose.EXIT:
                world.fill(intent)
            else:
                world.finish(intent, OrderState.REJECTED)
        assert_within_limits(world)
        world.clock.set(world.clock.now_ns() + 61 * SECOND)
        for symbol, price in PRICES.items():
            world.price(symbol, price)


@given(
    wanted=st.lists(
        st.tuples(st.integers(0, 19), plausible(), st.sampled_from(["fills", "dies", "stays"])),
        min_size=20,
        max_size=60,
    )
)
@settings(max_examples=60, deadline=None)
def test_R5_twenty_concurrent_traders_never_overshoot_the_account(
    wanted: list[tuple[int, Action, str]],
) -> None:
    """Granted exposure stays within both caps at every instant, whatever becomes of the orders."""
    caps = CapitalConfig(max_gross_exposure_pct=D(60), max_symbol_exposure_pct=D(40))
    world = GateWorld(RiskConfig(max_position_size_usd=D(60_000), risk_per_trade_pct=D(100)), caps, count=20)
    slack = D("1.001")
    for number, action, fate in wanted:
        _, intents = world.decide(f"t{number}", action)
        equity = world.equity
        assert world.exposure() <= equity * D("0.6") * slack
        assert all(world.exposure(symbol) <= equity * D("0.4") * slack for symbol in PRICES)
        for intent in intents:
            if fate == "fills" or intent.purpose is Purpose.EXIT:
                world.fill(intent)
            elif fate == "dies":
                world.finish(intent, OrderState.CANCELED)


def test_R5_the_cap_is_filled_and_the_next_is_told_why() -> None:
    caps = CapitalConfig(max_gross_exposure_pct=D(1000), max_symbol_exposure_pct=D(40))
    world = GateWorld(RiskConfig(max_position_size_usd=D(60_000), risk_per_trade_pct=D(100)), caps, count=20)
    reasons = [world.decide(f"t{n}", enter(notional_usd=D(9000)))[0][0].reason for n in range(20)]
    assert reasons.count("") == 9, "8 of 9,000 and a ninth of what is left of 80,000"
    assert set(reasons[9:]) == {"symbol_exposure"}
    assert world.decide("t19", enter(DOGE))[0][0].approved


def test_an_entry_carries_its_plan_to_the_venue_on_the_tick() -> None:
    world = GateWorld(LIMITS)
    (verdict,), (intent,) = world.decide("t0", enter(stop_loss=D("99000.04"), take_profit=D("103000.07")))
    assert verdict.approved
    assert (intent.stop_loss, intent.take_profit) == (D("99000.1"), D("103000.0")), "nearer, not farther"
    assert (intent.purpose, intent.position_side, intent.leverage) == (Purpose.ENTRY, PositionSide.LONG, D(5))
    assert intent.contracts == D("4.99")
    assert intent.ts_expires == world.clock.now_ns() + 15 * SECOND


def test_R1_an_old_price_refuses_the_entry() -> None:
    world = GateWorld(LIMITS)
    world.clock.set(world.clock.now_ns() + 11 * SECOND)
    assert reasons(world.decide("t0", enter())[0]) == ["price_not_fresh"]


def test_R2_a_halted_trader_opens_nothing_and_closes_everything() -> None:
    world = GateWorld(LIMITS)
    _, (intent,) = world.decide("t0", enter())
    world.fill(intent)
    world.traders["t0"].breaker.halt("operator")
    verdicts, intents = world.decide("t0", enter(DOGE), Action(symbol=BTC, act=Act.CLOSE))
    assert reasons(verdicts) == ["trading_state", ""]
    assert [(i.purpose, i.contracts) for i in intents] == [(Purpose.EXIT, intent.contracts)]


@given(fraction=st.decimals("0", "1e6", places=3))
def test_R3_a_close_never_takes_more_than_is_held(fraction: Decimal) -> None:
    world = GateWorld(LIMITS)
    _, (intent,) = world.decide("t0", enter())
    world.fill(intent)
    reduce = Action(symbol=BTC, act=Act.REDUCE, close_fraction=fraction)
    (verdict,), exits = world.decide("t0", reduce)
    assert verdict.approved or verdict.reason == "too_small"
    assert all(0 < exit_.contracts <= intent.contracts for exit_ in exits)
    assert all(exit_.side is intent.side.opposite for exit_ in exits)


def test_the_same_decision_twice_is_one_order() -> None:
    world = GateWorld(LIMITS)
    _, (intent,) = world.decide("t0", enter())
    world.finish(intent, OrderState.REJECTED)
    world._cycles = 0  # the message is delivered again
    assert reasons(world.decide("t0", enter())[0]) == ["duplicate_intent"]


def test_two_entries_of_one_decision_share_the_margin() -> None:
    world = GateWorld(LIMITS)
    _, intents = world.decide("t0", *(enter(symbol, notional_usd=D(20_000)) for symbol in PRICES))
    values = {symbol: each.contract_value for symbol, each in INSTRUMENTS.items()}
    assert len(intents) == 2
    assert world.traders["t0"].pending_margin(world.accounts.marks, values) <= D(5001)


@pytest.mark.parametrize("number", [D("NaN"), D("sNaN"), D("Infinity"), D("-1"), D("1e16"), D("1e-61")])
def test_what_is_no_amount_is_refused_before_it_is_counted_with(number: Decimal) -> None:
    world = GateWorld(LIMITS)
    assert reasons(world.decide("t0", enter(notional_usd=number))[0]) == ["malformed"]


def reasons(verdicts: list[Verdict]) -> list[str]:
    return [verdict.reason for verdict in verdicts]


def move(stop: str) -> Action:
    return Action(symbol=BTC, act=Act.MOVE_STOP, stop_loss=D(stop))


@pytest.mark.parametrize(
    ("side", "stop", "reason"),
    [
        (Act.BUY_TO_ENTER, "99500.04", ""),
        (Act.BUY_TO_ENTER, "98900", "stop_loosened"),
        (Act.BUY_TO_ENTER, "100000", "stop_side"),
        (Act.SELL_TO_ENTER, "100500.04", ""),
        (Act.SELL_TO_ENTER, "101100", "stop_loosened"),
        (Act.SELL_TO_ENTER, "99999", "stop_side"),
    ],
)
def test_a_stop_moves_toward_less_risk_only(side: Act, stop: str, reason: str) -> None:
    world = GateWorld(LIMITS)
    _, (intent,) = world.decide("t0", enter(act=side))
    world.fill(intent)
    assert reasons(world.decide("t0", move(stop))[0]) == [reason]
    if not reason:
        (moved,) = world.moves
        assert moved.stop_loss == D("99500.1" if side is Act.BUY_TO_ENTER else "100500.0")
        assert world.books.account("t0").move_stop(moved)
        held = world.accounts.view("t0").position(BTC)
        assert held is not None
        assert held.stop_loss == moved.stop_loss


def test_a_stop_loosens_where_that_is_allowed_within_the_risk_of_an_entry() -> None:
    world = GateWorld(msgspec.structs.replace(LIMITS, allow_stop_loosening=True))
    _, (intent,) = world.decide("t0", enter(leverage=D(10), notional_usd=D(25_000)))
    world.fill(intent)
    assert reasons(world.decide("t0", move("98900"))[0]) == [""]
    assert reasons(world.decide("t0", move("95000"))[0]) == ["risk_too_high"]


def test_a_stop_of_nothing_is_refused_and_an_old_move_changes_no_new_position() -> None:
    world = GateWorld(LIMITS)
    assert reasons(world.decide("t0", move("99500"))[0]) == ["nothing_to_protect"]
    _, (intent,) = world.decide("t0", enter())
    world.fill(intent)
    world.decide("t0", move("99500"))
    (moved,) = world.moves
    world.fill(world.decide("t0", Action(symbol=BTC, act=Act.CLOSE))[1][0])
    assert not world.books.account("t0").move_stop(moved)


def test_a_trailing_stop_follows_the_price_and_never_goes_back() -> None:
    world = GateWorld(LIMITS)
    limits = msgspec.structs.replace(LIMITS, trailing_stop_pct=D(1))
    _, (intent,) = world.decide("t0", enter(stop_loss=D(98_500)))
    world.fill(intent)
    stops = []
    for mark in (100_000, 101_000, 101_050, 100_200, 103_000):
        held = world.accounts.view("t0").position(BTC)
        assert held is not None
        stop = trailed_stop(held, limits, INSTRUMENTS[BTC], D(mark))
        stops.append(stop)
        if stop is not None:
            moved = world.translator.stop_move(str(mark), "t0", held, stop)
            world.books.account("t0").move_stop(moved)
    assert stops == [D("99000.0"), D("99990.0"), None, None, D("101970.0")]


def test_a_position_is_overdue_after_its_time() -> None:
    world = GateWorld(LIMITS)
    limits = msgspec.structs.replace(LIMITS, max_holding=Duration(60))
    _, (intent,) = world.decide("t0", enter())
    world.fill(intent)
    view, now = world.accounts.view("t0"), world.clock.now_ns()
    assert overdue(view, limits, now + 59 * SECOND) == ()
    assert overdue(view, LIMITS, now + 10**6 * SECOND) == ()
    assert [held.symbol for held in overdue(view, limits, now + 60 * SECOND)] == [BTC]


def test_what_strategies_compute_is_readable_however_long_its_fraction() -> None:
    world = GateWorld(LIMITS)
    tiny = D("0.5") + D(1) / D(3) * D("1e-3")
    price = D(100_000) * (1 - D("0.01") - D(1) / D(7) / 1000)
    assert reasons(world.decide("t0", enter(confidence=tiny / D(1), stop_loss=price))[0]) == [""]
