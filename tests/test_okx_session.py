"""The session's rules as tables, without a socket."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import CodecError
from engine.exchange.okx.frames import Arg
from engine.exchange.okx.session import (
    Action,
    Became,
    Deliver,
    Drop,
    Phase,
    Refused,
    Replace,
    Rules,
    Send,
    Session,
)

TRADES = Arg("trades", "BTC-USDT-SWAP")
BOOKS = Arg("books", "BTC-USDT-SWAP")
ORDERS = Arg("orders", instType="SWAP")
RULES = Rules(silence_s=20, pong_s=10, ack_s=8)


def event(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def ack(arg: Arg, kind: str = "subscribe") -> bytes:
    given = {"channel": arg.channel, "instId": arg.instId, "instType": arg.instType}
    return event(event=kind, arg={k: v for k, v in given.items() if v}, connId="c")


def sent(actions: list[Action]) -> list[dict[str, object]]:
    return [json.loads(a.frame) for a in actions if isinstance(a, Send) and a.frame != b"ping"]


def ready(*args: Arg) -> Session:
    session = Session(args, RULES)
    session.opened(0.0)
    for arg in args:
        session.received(ack(arg), 0.0)
    assert session.phase is Phase.READY
    return session


def test_D8_nothing_is_subscribed_before_the_login_is_acknowledged() -> None:
    session = Session((ORDERS,), RULES, login=b'{"op":"login"}')
    assert session.opened(0.0) == [Send(b'{"op":"login"}')]
    actions = session.received(event(event="login", code="0", msg="", connId="c"), 0.1)
    assert sent(actions) == [
        {"id": "s1", "op": "subscribe", "args": [{"channel": "orders", "instType": "SWAP"}]}
    ]
    assert session.received(ack(ORDERS), 0.2) == [Became(Phase.READY)]


def test_ready_only_when_every_subscription_is_answered() -> None:
    session = Session((TRADES, BOOKS), RULES)
    assert len(sent(session.opened(0.0))) == 1
    assert session.received(ack(TRADES), 0.1) == []
    assert session.phase is Phase.SUBSCRIBING
    assert session.received(ack(BOOKS), 0.2) == [Became(Phase.READY)]


def test_data_before_its_acknowledgement_is_delivered() -> None:
    session = Session((TRADES,), RULES)
    session.opened(0.0)
    frame = b'{"arg": {"channel": "trades", "instId": "BTC-USDT-SWAP"}, "data": [{}]}'
    assert session.received(frame, 0.1) == [Deliver(TRADES, frame)]


def test_session_without_channels_is_ready_at_once() -> None:
    assert Session((), RULES).opened(0.0) == [Became(Phase.READY)]


@pytest.mark.parametrize(
    ("code", "fatal"),
    [
        ("60005", True),
        ("60007", True),
        ("60024", True),
        ("60032", True),
        ("60009", False),
        ("60006", False),
        ("63999", False),
    ],
)
def test_refused_login_ends_the_connection(code: str, fatal: bool) -> None:
    session = Session((ORDERS,), RULES, login=b"{}")
    session.opened(0.0)
    assert session.received(event(event="error", code=code, msg="no"), 0.1) == [Drop("no", code, fatal)]
    assert session.phase is Phase.DEAD


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        ({"code": "60018", "msg": "Wrong URL or channel:books, instId:BTC-USDT-SWAP doesn't exist."}, BOOKS),
        ({"code": "64003", "msg": "channel:books fee tier too low"}, BOOKS),
    ],
)
def test_D6_refused_channel_is_told_and_the_others_go_on(error: dict[str, str], refused: Arg) -> None:
    session = Session((TRADES, BOOKS), RULES)
    session.opened(0.0)
    session.received(ack(TRADES), 0.1)
    actions = session.received(event(event="error", **error), 0.2)
    assert actions == [Refused(refused, error["code"], error["msg"]), Became(Phase.READY)]


def test_D6_error_that_names_no_channel_is_found_by_asking_one_by_one() -> None:
    session = Session((TRADES, BOOKS), RULES)
    session.opened(0.0)
    actions = session.received(event(event="error", id="s1", code="60012", msg="Invalid request"), 0.1)
    asked = sent(actions)
    assert [len(request["args"]) for request in asked] == [1, 1]  # type: ignore[arg-type]
    session.received(ack(TRADES), 0.2)
    books_id = asked[1]["id"]
    actions = session.received(event(event="error", id=books_id, code="60012", msg="Invalid request"), 0.3)
    assert actions == [Refused(BOOKS, "60012", "Invalid request"), Became(Phase.READY)]


def test_unanswered_subscription_is_asked_again_once_and_then_refused() -> None:
    session = Session((TRADES, BOOKS), RULES)
    session.opened(0.0)
    session.received(ack(TRADES), 0.1)
    assert [request["args"] for request in sent(session.tick(8.5))] == [
        [{"channel": "books", "instId": "BTC-USDT-SWAP"}]
    ]
    assert session.tick(17.0) == [Refused(BOOKS, "", "no answer"), Became(Phase.READY)]


def test_too_many_connections_for_a_channel_is_a_refusal() -> None:
    session = ready(ORDERS)
    frame = event(event="channel-conn-count-error", channel="orders", connCount="30", connId="c")
    (refused,) = session.received(frame, 1.0)
    assert isinstance(refused, Refused)
    assert refused.arg == ORDERS


def test_connection_count_is_no_error() -> None:
    frame = event(event="channel-conn-count", channel="orders", connCount="2", connId="c")
    assert ready(ORDERS).received(frame, 1.0) == []


def test_D4_silence_is_pinged_and_a_missing_answer_ends_it() -> None:
    session = ready(TRADES)
    assert session.tick(19.9) == []
    assert session.tick(20.0) == [Send(b"ping")]
    assert session.tick(29.9) == []
    assert session.tick(30.1) == [Drop("no answer to a ping")]


def test_D12_quiet_market_with_pongs_lives_for_ever() -> None:
    session, now = ready(TRADES), 0.0
    for _ in range(200):
        now += 20.2
        assert session.tick(now) == [Send(b"ping")]
        assert session.received(b"pong", now + 0.1) == []
        assert session.tick(now + 11.0) == []


def test_D7_upgrade_notice_asks_for_a_replacement_not_for_an_end() -> None:
    session = ready(TRADES)
    assert session.received(event(event="notice", code="64008", msg="upgrade", connId="c"), 1.0) == [
        Replace()
    ]
    assert session.phase is Phase.READY


def test_resubscription_leaves_first_and_enters_after_the_answer() -> None:
    session = ready(TRADES, BOOKS)
    assert [request["op"] for request in sent(session.resubscribe(BOOKS, 1.0))] == ["unsubscribe"]
    assert session.resubscribe(BOOKS, 1.1) == []
    assert [request["op"] for request in sent(session.received(ack(BOOKS, "unsubscribe"), 1.2))] == [
        "subscribe"
    ]
    assert session.received(ack(BOOKS), 1.3) == []
    assert [request["op"] for request in sent(session.resubscribe(BOOKS, 2.0))] == ["unsubscribe"]


def test_subscription_budget_of_an_hour_is_kept() -> None:
    session, now, requests = ready(BOOKS), 0.0, 1
    while True:
        now += 1.0
        actions = session.resubscribe(BOOKS, now)
        if any(isinstance(action, Drop) for action in actions):
            break
        requests += 1
        actions = session.received(ack(BOOKS, "unsubscribe"), now)
        if any(isinstance(action, Drop) for action in actions):
            break
        requests += 1
        session.received(ack(BOOKS), now)
    assert requests == 480


def test_garbage_is_a_codec_error_and_changes_nothing() -> None:
    session = ready(TRADES)
    with pytest.raises(CodecError):
        session.received(b"\x00\xff{", 1.0)
    assert session.phase is Phase.READY


def test_request_rate_refusal_ends_the_connection() -> None:
    (drop,) = ready(TRADES).received(event(event="error", code="60014", msg="Requests too frequent"), 1.0)
    assert isinstance(drop, Drop)
    assert not drop.fatal


FRAMES = st.one_of(
    st.sampled_from(
        [
            b"pong",
            ack(TRADES),
            ack(BOOKS),
            ack(ORDERS),
            ack(BOOKS, "unsubscribe"),
            event(event="login", code="0"),
            event(event="notice", code="64008"),
            event(event="error", code="60012", msg="Invalid request"),
            event(event="error", code="60018", msg="channel:books, instId:BTC-USDT-SWAP doesn't exist"),
            event(event="channel-conn-count-error", channel="trades", connCount="31"),
            event(id="9", op="order", code="0", data=[]),
            b'{"arg":{"channel":"trades"},"data":[]}',
        ]
    ),
    st.binary(max_size=8),
    st.integers(1, 30),  # seconds that pass
    st.just("resubscribe"),
)


@given(st.lists(FRAMES, max_size=40), st.booleans())
def test_any_conversation_ends_ready_or_dead_and_refusals_are_told(
    conversation: list[bytes | int | str], private: bool
) -> None:
    """Whatever the venue says, in whatever order: no channel vanishes without an answer or a Refused."""
    session = Session((TRADES, BOOKS), RULES, login=b"{}" if private else None)
    actions, now = session.opened(0.0), 0.0
    for step in [*conversation, *([9] * 8)]:
        if isinstance(step, int):
            now += step
            actions += session.tick(now)
        elif step == "resubscribe":
            actions += session.resubscribe(BOOKS, now)
        else:
            assert isinstance(step, bytes)
            with suppress(CodecError):
                actions += session.received(step, now)
        actions += session.received(b"pong", now)  # the venue is there all the time
    assert session.phase in {Phase.READY, Phase.DEAD}
    drops = [action for action in actions if isinstance(action, Drop)]
    assert bool(drops) is (session.phase is Phase.DEAD)
    assert sum(isinstance(action, Became) for action in actions) <= 1
    refused = [action.arg for action in actions if isinstance(action, Refused)]
    assert len(refused) == len(set(refused))
