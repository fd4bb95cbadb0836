"""The gate: each limit has one reason code, and what passes breaks none of them."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.manager import RiskConfig
from engine.core.decisions import AccountView, Act, Action, PositionView
from engine.core.instruments import Instrument
from engine.core.market import Level
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot
from engine.manager.breaker import Breaker, TradingState
from engine.manager.entry import Entry
from engine.manager.risk import REASONS, evaluate
from engine.manager.sizing import Room, Sized, size_entry

D = Decimal
BTC = "BTC-USDT-SWAP"
NOW = 1_000_000_000_000
HOUR = 3_600_000_000_000
INSTRUMENT = Instrument(
    symbol=BTC,
    base="BTC",
    tick_size=D("0.1"),
    lot_size=D("0.01"),
    min_size=D("0.01"),
    contract_value=D("0.01"),
)
ROOM = Room(symbol_usd=D(1_000_000), gross_usd=D(1_000_000))


def account(equity: str = "10000", positions: tuple[PositionView, ...] = ()) -> AccountView:
    return AccountView(
        trader_id="t",
        ts=NOW,
        capital=D(10000),
        cash=D(equity),
        equity=D(equity),
        available=D(equity),
        margin_used=D(0),
        realised=D(0),
        unrealised=D(0),
        fees=D(0),
        funding=D(0),
        positions=positions,
    )


def position(symbol: str) -> PositionView:
    return PositionView(
        symbol=symbol,
        side=PositionSide.LONG,
        contracts=D(1),
        coins=D("0.01"),
        entry_price=D(100),
        mark_price=D(100),
        notional=D(1),
        leverage=D(1),
        margin=D(1),
        unrealised=D(0),
        realised=D(0),
        fees=D(0),
        funding=D(0),
        liquidation_price=None,
        stop_loss=D(90),
        take_profit=None,
        confidence=None,
        risk_usd=None,
        invalidation="",
        ts_opened=0,
        entry_client_order_id="x",
    )


SNAPSHOT = MarketSnapshot(
    symbol=BTC,
    ts=NOW,
    last=100.0,
    bid=99.95,
    ask=100.0,
    bids=(Level(99.95, 5000.0),),
    asks=(Level(100.0, 500.0), Level(100.1, 600.0)),
    mark=100.0,
    ts_price=NOW,
    reference_px=100.2,
    ts_reference=NOW,
)
ACTION = Action(
    symbol=BTC,
    act=Act.BUY_TO_ENTER,
    notional_usd=D(1000),
    leverage=D(5),
    stop_loss=D(98),
    take_profit=D(106),
    confidence=D("0.8"),
)
LIMITS = RiskConfig(min_confidence=D(75), min_risk_reward_ratio=D(2), take_profit_enabled=True)
GOOD = Entry(
    intent_id="cycle:BTC:buy",
    action=ACTION,
    account=account(),
    snapshot=SNAPSHOT,
    instrument=INSTRUMENT,
    limits=LIMITS,
    sized=Sized(contracts=D(1000), limited_by="proposal", detail=""),
    room=ROOM,
    price=D(100),
    rests=False,
    shown_price=D(100),
    trading_state=TradingState.ENABLED,
    state_reason="",
    venue_refusal="",
    allowed=frozenset({BTC}),
    major_coins=frozenset({"BTC"}),
    pending_symbols=frozenset(),
    known_intents=frozenset(),
    cooldown_until=0,
    entries_last_hour=0,
    price_age_s=0.5,
    reference_age_s=1.0,
    now_ns=NOW,
)


def with_(**changes: object) -> Entry:
    fields = {name: getattr(GOOD, name) for name in Entry.__struct_fields__}
    return Entry(**(fields | changes))


def act(**changes: object) -> Action:
    return msgspec.structs.replace(ACTION, **changes)


def limits(**changes: object) -> RiskConfig:
    return msgspec.structs.replace(LIMITS, **changes)


REFUSALS = {
    "trading_state": with_(trading_state=TradingState.REDUCE_ONLY, state_reason="drawdown"),
    "venue_not_ready": with_(venue_refusal="recovering"),
    "symbol_not_allowed": with_(allowed=frozenset()),
    "price_not_fresh": with_(price_age_s=11.0),
    "answer_stale": with_(shown_price=D("99.4")),
    "confidence_too_low": with_(action=act(confidence=D("0.74"))),
    "stop_missing": with_(action=act(stop_loss=None)),
    "target_missing": with_(action=act(take_profit=None)),
    "stop_side": with_(action=act(stop_loss=D(101))),
    "target_side": with_(action=act(take_profit=D(99))),
    "risk_reward_too_low": with_(action=act(take_profit=D("103.9"))),
    "edge_below_fees": with_(action=act(stop_loss=D("99.95"), take_profit=D("100.15"))),
    "position_open": with_(account=account(positions=(position(BTC),))),
    "too_many_positions": with_(account=account(positions=tuple(position(f"X{i}") for i in range(3)))),
    "leverage_too_high": with_(action=act(leverage=D(21))),
    "duplicate_intent": with_(known_intents=frozenset({GOOD.intent_id})),
    "price_off_band": with_(price=D("103.1"), action=act(take_profit=D(120), stop_loss=D(98))),
    "venues_disagree": with_(snapshot=msgspec.structs.replace(SNAPSHOT, reference_px=101.1)),
    "symbol_exposure": with_(room=Room(symbol_usd=D("999.99"), gross_usd=D(1_000_000))),
    "gross_exposure": with_(room=Room(symbol_usd=D(1_000_000), gross_usd=D("999.99"))),
    "position_too_large": with_(limits=limits(max_position_size_usd=D("999.99"))),
    "too_concentrated": with_(limits=limits(max_concentration_pct=D("9.99"))),
    "margin_usage": with_(room=Room(symbol_usd=D(10**6), gross_usd=D(10**6), pending_margin=D(5801))),
    "risk_too_high": with_(limits=limits(risk_per_trade_pct=D("0.19"))),
    "slippage_too_high": with_(snapshot=msgspec.structs.replace(SNAPSHOT, asks=(Level(100.0, 999.0),))),
    "liquidation_before_stop": with_(action=act(leverage=D(20), stop_loss=D(95), take_profit=D(120))),
    "spread_too_wide": with_(snapshot=msgspec.structs.replace(SNAPSHOT, bid=99.0)),
    "cooldown": with_(cooldown_until=NOW + 1),
    "too_many_entries": with_(entries_last_hour=12),
    "too_small": with_(sized=Sized(contracts=D(0), limited_by="proposal", detail="0.5 USD")),
}


def test_good_entry_passes_every_check() -> None:
    reason, checks = evaluate(GOOD)
    assert reason == ""
    assert tuple(check.name for check in checks) == REASONS


@pytest.mark.parametrize("reason", REASONS)
def test_each_limit_refuses_with_its_own_code(reason: str) -> None:
    found, checks = evaluate(REFUSALS[reason])
    assert found == reason
    assert not checks[-1].passed


@pytest.mark.parametrize(
    "blind",
    [
        with_(snapshot=None),
        with_(price=None),
        with_(account=msgspec.structs.replace(account(), equity=None)),
        with_(snapshot=msgspec.structs.replace(SNAPSHOT, stale=("mark-price",))),
    ],
)
def test_entry_without_a_fresh_price_is_refused(blind: Entry) -> None:
    """R1: fail closed."""
    assert evaluate(blind)[0] == "price_not_fresh"


@pytest.mark.parametrize(
    ("shown", "reason"), [("99.4", "answer_stale"), ("99.6", ""), ("100.4", ""), ("100.6", "answer_stale")]
)
def test_A2_answer_is_stale_when_the_price_moved_either_way_since_the_prompt(shown: str, reason: str) -> None:
    """`max_price_move_bps` is 50 here."""
    assert evaluate(with_(shown_price=D(shown)))[0] == reason


@pytest.mark.parametrize(
    ("fee", "passes"), [("0.0005", True), ("0.00051", False), ("0", True), ("-0.0001", True)]
)
def test_the_edge_is_measured_in_fees_that_the_account_really_pays(fee: str, passes: bool) -> None:
    room = msgspec.structs.replace(ROOM, taker_fee=D(fee))
    entry = with_(action=act(stop_loss=D("99.9"), take_profit=D("100.2")), room=room)
    check = next(check for check in evaluate(entry, all_checks=True)[1] if check.name == "edge_below_fees")
    assert check.passed is passes, check.detail


def test_margin_is_kept_free_for_the_fees_that_the_account_really_pays() -> None:
    asked = act(notional_usd=D(10**6), leverage=D(2), stop_loss=None)
    sizes = [
        size_entry(
            asked,
            account(),
            INSTRUMENT,
            D(100),
            limits(
                max_position_size_usd=D(10**6), max_concentration_pct=D(1000), max_margin_usage_pct=D(100)
            ),
            msgspec.structs.replace(ROOM, taker_fee=D(fee)),
        ).contracts
        for fee in ("0.0005", "0.005")
    ]
    assert sizes == [INSTRUMENT.contracts_for_notional(D(9900) / d, D(100)) for d in (D("0.501"), D("0.51"))]


@pytest.mark.parametrize(
    ("side", "highest_buy", "lowest_sell", "passes"),
    [
        (Act.BUY_TO_ENTER, 100.0, 100.5, True),
        (Act.BUY_TO_ENTER, 99.9, None, False),
        (Act.BUY_TO_ENTER, None, 100.5, True),
        (Act.SELL_TO_ENTER, 99.5, 100.0, True),
        (Act.SELL_TO_ENTER, None, 100.1, False),
        (Act.SELL_TO_ENTER, 99.5, None, True),
    ],
)
def test_a_price_beyond_the_venues_limit_is_refused_where_it_is_known(
    side: Act, highest_buy: float | None, lowest_sell: float | None, passes: bool
) -> None:
    stop, target = (D(98), D(106)) if side is Act.BUY_TO_ENTER else (D(102), D(94))
    told = msgspec.structs.replace(SNAPSHOT, highest_buy=highest_buy, lowest_sell=lowest_sell)
    entry = with_(action=act(act=side, stop_loss=stop, take_profit=target), snapshot=told)
    check = next(check for check in evaluate(entry, all_checks=True)[1] if check.name == "price_off_band")
    assert check.passed is passes
    assert passes or "beyond the venue's limit" in check.detail


@pytest.mark.parametrize("channel", ["funding-rate", "open-interest", "index-tickers", "price-limit"])
def test_D5_silent_channel_that_prices_nothing_forbids_no_entry(channel: str) -> None:
    entry = with_(snapshot=msgspec.structs.replace(SNAPSHOT, stale=(channel,)))
    assert evaluate(entry)[0] == ""


sizes = st.decimals("0.01", "1e7", places=2)


@given(
    notional=sizes,
    equity=st.decimals("0", "1e6", places=2),
    leverage=st.integers(1, 50),
    stop=st.decimals("50", "99.99", places=2),
    symbol_room=st.decimals("-1000", "1e6", places=2),
)
def test_no_proposal_outgrows_a_limit(
    notional: Decimal, equity: Decimal, leverage: int, stop: Decimal, symbol_room: Decimal
) -> None:
    limits, price = RiskConfig(), D(100)
    action = act(notional_usd=notional, leverage=D(leverage), stop_loss=stop)
    room = Room(symbol_usd=symbol_room, gross_usd=D(500_000))
    sized = size_entry(action, account(str(equity)), INSTRUMENT, price, limits, room)
    value = INSTRUMENT.notional(sized.contracts, price)
    assert 0 <= value <= min(notional, limits.max_position_size_usd)
    assert value <= max(D(0), symbol_room)
    assert value / leverage <= equity * limits.max_margin_usage_pct / 100
    assert value * (price - stop) / price <= equity * limits.risk_per_trade_pct / 100
    assert sized.contracts % INSTRUMENT.lot_size == 0


def test_proposal_without_a_size_is_no_order() -> None:
    sized = size_entry(act(notional_usd=None), account(), INSTRUMENT, D(100), RiskConfig(), ROOM)
    assert (sized.contracts, sized.limited_by) == (D(0), "no_size")


def test_daily_loss_blocks_entries_until_the_cool_off_ends() -> None:
    """R4: unrealised losses count, the state outlives a restart and ends at the next UTC day."""
    config = RiskConfig(max_daily_loss_pct=D(10))
    breaker = Breaker(config)
    assert breaker.on_equity(D(1000), NOW) is None
    tripped = breaker.on_equity(D(900), NOW + 1)
    assert tripped is not None
    assert tripped.reason == "daily_loss"
    restarted = Breaker(config, breaker.state())
    assert restarted.trading_state(NOW + 2) == (TradingState.REDUCE_ONLY, "daily_loss")
    assert restarted.on_equity(D(800), NOW + 2) is None
    assert restarted.trading_state(23 * HOUR)[0] is TradingState.REDUCE_ONLY, "until the day is over"
    assert restarted.trading_state(24 * HOUR)[0] is TradingState.ENABLED


def test_the_day_turns_at_midnight_utc() -> None:
    breaker = Breaker(RiskConfig(max_daily_loss_pct=D(10), max_drawdown_pct=D(50)))
    breaker.on_equity(D(1000), 0)
    breaker.on_equity(D(950), 23 * HOUR)
    assert breaker.on_equity(D(890), 24 * HOUR) is None
    assert breaker.on_equity(D(801), 25 * HOUR) is not None


def test_halt_lasts_until_resumed() -> None:
    breaker = Breaker(RiskConfig())
    breaker.halt("maintenance")
    assert breaker.trading_state(NOW + 1000 * HOUR) == (TradingState.HALTED, "maintenance")
    breaker.resume(NOW)
    assert breaker.trading_state(NOW)[0] is TradingState.ENABLED
