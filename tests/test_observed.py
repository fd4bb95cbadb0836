"""A scaled run of everything, as its operators see it: each metric moves, and each decision is a trace."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import msgspec
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from tests.collector import Collector, collecting
from tests.demo_process import DEADLINE_S, Demo, demo, engine_of

Samples = Mapping[str, list[tuple[Mapping[str, str], float]]]

# What dashboards and alerts count on: series that must be above zero once everything has happened.
MOVING = (
    "edgewise_frames_total",
    "edgewise_bad_frames_total",
    "edgewise_frame_age_seconds_count",
    "edgewise_channel_age_seconds",
    "edgewise_signals_total",
    "edgewise_wakeups_total",
    "edgewise_wakeup_triggers_total",
    "edgewise_decisions_total",
    "edgewise_actions_total",
    "edgewise_refusals_total",
    "edgewise_model_latency_seconds_count",
    "edgewise_model_tokens_total",
    "edgewise_decision_to_order_seconds_sum",
    "edgewise_orders_total",
    "edgewise_fills_total",
    "edgewise_fill_slippage_ratio_count",
    "edgewise_fill_slippage_usd_total",
    "edgewise_equity_usd",
    "edgewise_drawdown_ratio",
    "edgewise_exposure_usd",
    "edgewise_entries_allowed",
    "edgewise_loop_lag_seconds_count",
)
PRESENT = (  # nothing is wrong while they are 0
    "edgewise_books_imbalance_usd",
    "edgewise_unprotected_positions",
    "edgewise_stream_lag_messages",
    "edgewise_journal_spool_bytes",
)


REFUSED = "51008"  # what the venue says of the next order: no margin


class Observed:
    """A running demo with its two pages of metrics, its collector and its simulator."""

    def __init__(self, running: Demo, api: str, session: aiohttp.ClientSession, collector: Collector) -> None:
        self.api, self.session, self.collector = api, session, collector
        self._env = dict(
            line.partition("=")[::2]
            for line in Path(f"/proc/{engine_of(running)}/environ").read_text().split("\0")
        )

    async def fault(self, kind: str, **more: object) -> None:
        url = f"{self._env['EDGEWISE_SIMULATOR_URL']}/sim/faults"
        async with self.session.post(url, json={"kind": kind, **more}) as response:
            response.raise_for_status()

    async def engine_metrics(self) -> Samples:
        return await self.metrics(f"http://127.0.0.1:{self._env['EDGEWISE_METRICS_PORT']}")

    async def metrics(self, at: str) -> Samples:
        async with self.session.get(f"{at}/metrics") as response:
            text = await response.text()
        found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found


@pytest.fixture(scope="module")
async def observed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    home = tmp_path_factory.mktemp("observed")
    async with collecting() as collector, aiohttp.ClientSession() as session:
        running = await demo(
            home,
            "--fresh",
            "--for",
            "10m",
            "--speed",
            "60",
            "--seed",
            "7",
            EDGEWISE_OTLP_ENDPOINT=collector.url,
        )
        try:
            here = Observed(running, await running.api(), session, collector)
            await here.fault("garbage")
            await here.fault("refuse_order", code=REFUSED, count=1)
            yield here
        finally:
            running.process.terminate()
            await running.end()


def _silent(samples: Samples) -> list[str]:
    silent = [name for name in MOVING if not any(value > 0 for _, value in samples.get(name, ()))]
    silent += [name for name in PRESENT if name not in samples]
    refused = {labels["reason"] for labels, _ in samples.get("edgewise_refusals_total", ())}
    return silent + [code for code in (REFUSED,) if code not in refused]


@pytest.mark.timeout(150)
async def test_every_metric_of_the_engine_moves(observed: Observed) -> None:
    samples = await observed.engine_metrics()
    async with asyncio.timeout(DEADLINE_S):
        while _silent(samples):
            await asyncio.sleep(0.5)
            samples = await observed.engine_metrics()
    bad = [labels for labels, value in samples["edgewise_bad_frames_total"] if value]
    assert bad
    assert {labels["defect"] for labels in bad} <= {"syntax", "shape", "value", "unknown"}
    assert max(map(len, samples.values())) < 300  # label sets are bounded
    kinds = {labels["kind"] for labels, _ in samples["edgewise_wakeup_triggers_total"]}
    assert {"start"} < kinds <= {"start", "long_timer", "short_timer", "signal"}
    assert {labels["topic"] for labels, _ in samples["edgewise_stream_lag_messages"]} >= {"signals", "orders"}


@pytest.mark.timeout(150)
async def test_dashboards_and_alerts_ask_for_labels_that_there_are(observed: Observed) -> None:
    deploy = Path(__file__).parent.parent / "deploy"
    rules = YAML(typ="safe").load((deploy / "prometheus" / "rules.yml").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    for path in (deploy / "grafana" / "dashboards").glob("*.json"):
        for panel in msgspec.json.decode(path.read_bytes())["panels"]:
            asked += [target["expr"] for target in panel["targets"]]
    samples = dict(await observed.engine_metrics()) | dict(await observed.metrics(observed.api))
    checked = 0
    for expression in asked:
        names = re.findall(r"\bedgewise_\w+", expression)
        if all(name in samples for name in names):  # the others wait for what did not happen here
            known = {label for name in names for labels, _ in samples[name] for label in labels}
            grouped = ",".join(re.findall(r"by \(([^)]*)\)", expression)).replace(" ", "").split(",")
            used = {*filter(None, grouped), *re.findall(r"(\w+)=~?\"", expression)}
            assert used <= known | {"job", "instance"}, expression
            checked += 1
    assert checked > len(asked) / 2


async def test_every_metric_of_the_api_moves(observed: Observed) -> None:
    async with observed.session.get(f"{observed.api}/api/leaderboard") as response:
        assert response.status == 200
    samples = await observed.metrics(observed.api)
    for name in ("requests_total", "request_duration_seconds_count", "answers_total", "stream_live"):
        assert any(value > 0 for _, value in samples[f"edgewise_api_{name}"]), name


@pytest.mark.timeout(150)
async def test_fills_signals_and_requests_are_traced_by_the_real_processes(observed: Observed) -> None:
    """`wakeup → decide → gate → order → fill`, and `signal → wakeup → decide`: whichever comes first."""
    collector = observed.collector

    def lines(name: str) -> list[list[str]]:
        return [collector.line(span) for span in collector.spans if span.name == name]

    async with asyncio.timeout(DEADLINE_S):
        while not (
            any(line[-5:-2] == ["wakeup", "decide", "gate"] for line in lines("fill"))
            and any(line[0].startswith("signal ") for line in lines("decide"))
            and lines("GET /api/health")
        ):
            await asyncio.sleep(0.5)
    asked = next(span for span in collector.spans if span.name.startswith("chat "))
    assert collector.line(asked)[-3:] == ["wakeup", "decide", asked.name]
    assert asked.kind == Span.SPAN_KIND_CLIENT
    assert collector.services == {"edgewise-engine", "edgewise-api"}
