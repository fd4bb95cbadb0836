"""What the engine counts and serves."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from engine.clock import SystemClock, cancelled
from engine.core.errors import ConfigError
from engine.telemetry.metrics import Health, Labelled, Metrics, serve_metrics, watch_loop


async def _get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_m5_the_page_shows_what_was_counted() -> None:
    metrics = Metrics()
    metrics.frames("trades").inc(3)
    metrics.refusals("risk", "stale_price").inc()
    metrics.equity("trend-majors").set(10_000.5)
    metrics.stream_lag("signals", "manager").set(2)
    metrics.model_latency("demo").observe(0.3)
    async with serve_metrics(0, metrics.registry) as port:
        status, page = await _get(port, "/metrics")
        assert status == 200
        for line in (
            'edgewise_frames_total{channel="trades"} 3.0',
            'edgewise_refusals_total{gate="risk",reason="stale_price"} 1.0',
            'edgewise_equity_usd{trader="trend-majors"} 10000.5',
            'edgewise_stream_lag_messages{group="manager",topic="signals"} 2.0',
            'edgewise_model_latency_seconds_count{model="demo"} 1.0',
        ):
            assert line in page
        assert await _get(port, "/healthz") == (200, '{"ok":true,"detail":{}}')


async def test_health_says_what_is_wrong() -> None:
    states = [Health(ok=False, detail={"postgres": "away"})]
    async with serve_metrics(0, CollectorRegistry(), health=lambda: states[0]) as port:
        assert await _get(port, "/healthz") == (503, '{"ok":false,"detail":{"postgres":"away"}}')


async def test_a_taken_port_is_an_error_and_a_closed_server_frees_it() -> None:
    async with serve_metrics(0, CollectorRegistry()) as port:
        with pytest.raises(ConfigError, match=r"Address already in use; set metrics\.port"):
            async with serve_metrics(port, CollectorRegistry()):
                pass
    async with serve_metrics(port, CollectorRegistry()) as again:
        assert again == port


def test_two_processes_worth_of_metrics_live_side_by_side() -> None:
    Metrics().fills("entry").inc()
    assert Metrics().registry.get_sample_value("edgewise_fills_total", {"purpose": "entry"}) is None


def test_labels_are_bounded_and_the_rest_is_other() -> None:
    registry = CollectorRegistry()
    counter = Labelled(Counter("edgewise_x", "x", ["kind"], registry=registry), 1, max_children=3)
    for number in range(10):
        counter(str(number)).inc()
    counter("1").inc()
    values = {
        s.labels["kind"]: s.value for m in registry.collect() for s in m.samples if s.name.endswith("_total")
    }
    assert values == {"0": 1, "1": 2, "2": 1, "other": 7}


async def test_m6_a_blocked_loop_is_measured() -> None:
    metrics, clock = Metrics(), SystemClock()
    task = asyncio.create_task(watch_loop(metrics, clock))
    await asyncio.sleep(0.02)
    time.sleep(0.35)  # noqa: ASYNC251 - the fault that is looked for

    def seen(bound: str) -> float:
        return metrics.registry.get_sample_value("edgewise_loop_lag_seconds_bucket", {"le": bound}) or 0

    async with asyncio.timeout(10):
        while not seen("+Inf"):
            await asyncio.sleep(0.01)
    assert seen("+Inf") - seen("0.1") >= 1
    await cancelled(task)
