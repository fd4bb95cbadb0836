"""Log lines carry engine time and context, and a secret never reaches them."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import structlog

from engine.clock import SimClock
from engine.config.values import Secret
from engine.log import TRACE, configure

SECRET = "hunter2-hunter2"


@pytest.fixture
def out() -> Iterator[io.BytesIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    target = io.BytesIO()
    configure(SimClock(1_750_000_000_000_000_000), "info", "engine", target)
    yield target
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def lines(out: io.BytesIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in out.getvalue().splitlines()]


def test_line_is_json_with_engine_time(out: io.BytesIO) -> None:
    structlog.get_logger().info("order filled", order="ew1", size=str(2), nested={"a": [1, None]})
    (line,) = lines(out)
    assert line.pop("wall").endswith("Z")
    assert line == {
        "ts": "2025-06-15T15:06:40.000000Z",
        "process": "engine",
        "level": "info",
        "event": "order filled",
        "order": "ew1",
        "size": "2",
        "nested": {"a": [1, None]},
    }


def test_records_below_the_level_are_not_written(out: io.BytesIO) -> None:
    structlog.get_logger().debug("x")
    logging.getLogger("lib").debug("x")
    logging.getLogger("aiohttp.access").info("GET /")
    assert lines(out) == []


async def test_trace_belongs_to_a_task_and_reaches_the_standard_library(out: io.BytesIO) -> None:
    async def trader(name: str) -> None:
        TRACE.set(name)
        await asyncio.sleep(0)
        structlog.get_logger().info("decided")
        logging.getLogger("lib").warning("slow %s", name)

    async with asyncio.TaskGroup() as tasks:
        for name in ("a", "b"):
            tasks.create_task(trader(name))
    assert [(line["event"], line["trace"], line.get("logger")) for line in lines(out)] == [
        ("decided", "a", None),
        ("slow a", "a", "lib"),
        ("decided", "b", None),
        ("slow b", "b", "lib"),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": SECRET},
        {"OK-ACCESS-PASSPHRASE": SECRET},
        {"secretKey": SECRET},
        {"headers": {"Authorization": f"Basic {SECRET}"}},
        {"accounts": [{"deep": {"password": SECRET}}]},
        {"dsn": f"postgresql://edgewise:{SECRET}@/db?host=x"},
        {"url": f"unix://u:{SECRET}@/run/v.sock"},
        {"text": f"sent Bearer {SECRET} to them"},
        {"text": f"key sk-{SECRET}"},
        {"value": Secret(SECRET)},
        {"frame": f"redis://:{SECRET}@h".encode()},
        {"error": ValueError(f"redis://:{SECRET}@h refused")},
    ],
)
def test_secret_in_a_field_is_hidden(out: io.BytesIO, fields: dict[str, Any]) -> None:
    structlog.get_logger().info("sent", **fields)
    logging.getLogger("lib").info("sent", extra={})
    assert SECRET.encode() not in out.getvalue()
    assert b"***" in out.getvalue()


def test_counts_of_tokens_are_shown(out: io.BytesIO) -> None:
    structlog.get_logger().info("asked", prompt_tokens=7, max_tokens="9", keys_read=3)
    assert (lines(out)[0]["prompt_tokens"], lines(out)[0]["max_tokens"], lines(out)[0]["keys_read"]) == (
        7,
        "9",
        3,
    )


def raise_beside_a_secret() -> None:
    password = SECRET
    address = f"postgresql://edgewise:{password}@/db"
    raise ConnectionError(f"{address} refused")


@pytest.mark.parametrize("terminal", [False, True])
def test_traceback_holds_no_local_variable(out: io.BytesIO, terminal: bool) -> None:
    target = Terminal() if terminal else out
    if terminal:
        configure(SimClock(), "INFO", "engine", target)
    try:
        raise_beside_a_secret()
    except ConnectionError:
        structlog.get_logger().exception("connection refused")
        logging.getLogger("lib").exception("connection refused")
    text = target.getvalue().decode()
    assert SECRET not in text
    assert text.count("raise_beside_a_secret") >= 2
    assert text.count("ConnectionError") >= 2


def test_what_json_cannot_hold_is_written_all_the_same(out: io.BytesIO) -> None:
    structlog.get_logger().info(
        "odd", huge=2**70, half="\ud800", nan=float("nan"), raw=b"\xff", thing=object()
    )
    (line,) = lines(out)
    assert line["huge"] == str(2**70)


def test_full_disk_loses_lines_and_stops_nobody(out: io.BytesIO) -> None:
    with open("/dev/full", "wb", buffering=0) as full:  # the device that is always full
        configure(SimClock(), "INFO", "engine", full)
        structlog.get_logger().info("order filled")
        logging.getLogger("aiohttp.server").warning("a request was cut off")
        assert out.getvalue() == b""
