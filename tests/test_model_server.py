"""The local endpoint: OpenAI's shapes, honest about what it is, gone when told."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.orders import PositionSide
from engine.executor.assemble import build_context
from engine.executor.budget import data_block
from engine.executor.decision import read_decision
from engine.executor.wire import answer_schema
from engine.modelserver.rules import answer
from tests.executor_parts import BTC, ETH, RULES, SOL, Served, flat, holding, model_server, seeing, wakeup_of


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with model_server() as server:
        yield server


def prompt_of(wakeup: Any) -> str:
    return f"<data>\n{data_block(build_context(wakeup, RULES))}\n</data>\nDecide."


async def post(served: Served, **body: Any) -> tuple[int, Any]:
    request = {"model": "rules-only-demo", "messages": [{"role": "user", "content": prompt_of(wakeup_of())}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{served.base_url}/chat/completions", json=request | body) as response,
    ):
        return response.status, await response.json()


async def test_completion_has_openais_shape_and_fits_the_schema(served: Served) -> None:
    status, reply = await post(served)
    assert status == 200
    assert reply["object"] == "chat.completion"
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "stop"
    jsonschema.validate(json.loads(choice["message"]["content"]), json.loads(answer_schema([BTC, ETH, SOL])))
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


async def test_it_says_everywhere_that_it_is_no_language_model(served: Served) -> None:
    _, reply = await post(served)
    message = reply["choices"][0]["message"]
    assert "not from a language model" in message["reasoning_content"]
    assert "not from a language model" in json.loads(message["content"])["reasoning"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{served.base_url}/models") as response,
    ):
        (model,) = (await response.json())["data"]
    assert model["id"] == "rules-only-demo"
    assert "no language model" in model["owned_by"]


async def test_stream_adds_up_to_the_completion(served: Served) -> None:
    body = {
        "model": "rules-only-demo",
        "messages": [{"role": "user", "content": prompt_of(wakeup_of())}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{served.base_url}/chat/completions", json=body) as response,
    ):
        lines = (await response.text()).split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    content = "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"])
    _, whole = await post(served)
    assert content == whole["choices"][0]["message"]["content"]
    assert events[-1]["usage"] == whole["usage"]


@pytest.mark.parametrize(
    "body", [{"model": "rules-only-demo+nofault"}, {"model": 5}, {"messages": "hi"}, {"model": "m+slow:x"}]
)
async def test_wrong_request_is_refused_with_a_reason(served: Served, body: dict[str, Any]) -> None:
    status, reply = await post(served, **body)
    assert status == 400
    assert reply["error"]["message"]


def test_prompt_without_data_holds() -> None:
    reply = json.loads(answer(["hello", "<data>\n{broken}\n</data>"]).content)
    assert reply["decisions"] == []
    assert "no data block" in reply["reasoning"]


@pytest.mark.parametrize("side", list(PositionSide))
def test_stop_moves_to_break_even_once_what_was_risked_is_gained(side: PositionSide) -> None:
    wakeup = holding(wakeup_of(BTC), BTC, side)
    (position,) = wakeup.account.positions
    entry = Decimal(90_000)

    def judged(stop: int, price: int) -> dict[str, Any]:
        moved = msgspec.structs.replace(
            position,
            entry_price=entry,
            stop_loss=entry + side.sign * stop,
            mark_price=entry + side.sign * price,
            ts_opened=wakeup.ts,
        )
        account = msgspec.structs.replace(wakeup.account, positions=(moved,))
        reply = answer([prompt_of(msgspec.structs.replace(wakeup, account=account))])
        (decision,) = json.loads(reply.content)["decisions"]
        assert isinstance(decision, dict)
        return decision

    assert judged(stop=-500, price=499)["signal"] == "hold"
    moved = judged(stop=-500, price=500)
    assert (moved["signal"], moved["stop_loss"]) == ("move_stop", 90_000 + 90 * side.sign)
    assert judged(stop=90, price=900)["signal"] == "hold"


def test_open_position_is_left_when_the_signs_turn() -> None:
    against = {"ema_12": 99.0, "ema_26": 100.0, "macd_hist": -1.0, "rsi_14": 40.0, "atr_14": 1.0}
    wakeup = holding(seeing(BTC, against), BTC, PositionSide.LONG)
    view = wakeup.market[0].timeframes[0]
    two = type(view)(timeframe="15m", ts_close=1, closes=(), features=view.features)
    wakeup = holding(seeing(BTC, against, timeframes=(view, two)), BTC, PositionSide.LONG)
    (action,) = json.loads(answer([prompt_of(wakeup)]).content)["decisions"]
    assert action["signal"] == "close_position"


features = st.fixed_dictionaries(
    {},
    optional={
        name: st.none() | st.floats(-1e6, 1e6)
        for name in ("ema_12", "ema_26", "macd_hist", "rsi_14", "atr_14")
    },
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(features, st.floats(0.0001, 1e6))
def test_rules_always_answer_what_our_reader_takes(found: dict[str, float | None], price: float) -> None:
    view = seeing(BTC, found, price=price).market[0].timeframes[0]
    wakeup = flat(seeing(BTC, found, price=price, timeframes=(view, view)))
    if (found.get("atr_14") or 0) < 0 or (found.get("atr_14") or 0) * 2.5 >= price / 4:
        return  # no market: the range of a bar is neither negative nor as large as the price
    read_decision(answer([prompt_of(wakeup)]).content, wakeup, "demo", RULES)


async def test_process_says_when_it_is_ready_and_stops_when_told() -> None:
    code = "import typer; from engine.cli.model_server import model_server; typer.run(model_server)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
            match = re.match(
                r"model-server ready: (http://127\.0\.0\.1:\d+/v1) \(rules-only-demo: rules, no", line
            )
            assert match
            status, _ = await post(Served(match[1]))
            assert status == 200
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
