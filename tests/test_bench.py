"""Every path of the bench runs at small sizes, equals its reference, and its row says what it is."""

from __future__ import annotations

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from bench import __main__ as program
from bench.load import Histogram, Job, Seen, load
from bench.measure import Kind, Run, Title, Unequal, of_items, of_loads, of_rounds, same
from bench.table import Report, report, show

_SERVERS = {"storage", "reconcile", "decision", "api"}  # its paths have tests of their own, on real servers


@pytest.mark.parametrize("section", [name for name in program.SECTIONS if name not in _SERVERS])
def test_paths_equal_their_references(section: str) -> None:
    rows = program.SECTIONS[section](Run(quick=True))
    assert rows
    assert all(row.path_us > 0 and row.reference_us > 0 and row.equal for row in rows)


def test_an_aim_is_met_by_the_ratio_it_is_about() -> None:
    at_median = Title("s", "p", "r", "e", aim=0.5)
    at_p99 = Title("s", "p", "r", "e", Kind.PEER, aim=0.5, aim_at_p99=True)
    slow_tail, flat = [1000] * 90 + [9000] * 10, [1000] * 100
    assert of_rounds(at_median, [(10.0, 5.0), (10.0, 6.0), (10.0, 1.0)], 1).met is True
    assert of_rounds(at_median, [(10.0, 4.0)], 1).met is False
    assert of_items(at_median, slow_tail, flat).met is True
    assert of_items(at_p99, slow_tail, flat).met is False
    assert of_items(at_p99, flat, slow_tail).met is True
    assert of_items(Title("s", "p", "r", "e"), flat, flat).met is None


def test_servers_are_compared_by_requests_a_second_and_by_their_own_tail() -> None:
    def seen(answered: int, p50_us: float, p99_us: float) -> Seen:
        return Seen(seconds=2.0, statuses={200: answered}, body_bytes=0, p50_us=p50_us, p99_us=p99_us)

    title = Title("s", "p", "r", "e", p99_within=2.5)
    row = of_loads(title, [seen(400, 10, 24)], [seen(100, 40, 50)])
    assert (row.speed, row.per_s, row.reference_per_s, row.met) == (4.0, 200.0, 50.0, True)
    assert of_loads(title, [seen(1, 10, 26)], [seen(1, 1, 1)]).met is False


def test_latencies_are_known_to_two_percent() -> None:
    histogram = Histogram()
    for us in range(1, 10_001):
        histogram.add(us * 1000)
    assert histogram.at(0.5) == pytest.approx(5_000_000, rel=0.02)
    assert histogram.at(0.99) == pytest.approx(9_900_000, rel=0.02)
    assert Histogram().at(0.5) == 0


async def test_load_counts_whole_answers_by_status() -> None:
    async def found(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100_000)

    app = web.Application()
    app.router.add_get("/found", found)
    async with TestServer(app) as server:
        assert server.port is not None
        seen = await load(Job(port=server.port, paths=["/found", "/missing"], connections=2, seconds=0.2))
    assert set(seen.statuses) == {200, 404}
    assert abs(seen.statuses[200] - seen.statuses[404]) <= 2
    assert seen.body_bytes >= seen.statuses[200] * 100_000
    assert 0 < seen.p50_us <= seen.p99_us


def test_what_is_not_equal_has_no_row() -> None:
    with pytest.raises(Unequal, match="top of the book: 1 is not 2"):
        same("top of the book", 1, 2)


def test_report_is_a_table_for_people_and_json_for_machines() -> None:
    row = of_rounds(
        Title("Feeds", "frame to handler", "cryptofeed", "trades", Kind.PEER, 5.0), [(10.0, 40.0)], 10
    )
    made = report([row], ["one note"], load=0.5, seconds=1.0)
    console = Console(record=True, width=170)
    show(made, console)
    text = console.export_text()
    assert all(
        part in text for part in ("cryptofeed", "4.00", "5.00 not met", "aims met: 0 of 1", "one note")
    )
    again = msgspec.json.decode(msgspec.json.encode(made), type=Report)
    assert again.rows == (row,)
