"""The page: what it is served with, what it asks, and what a real browser shows of a journal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.routes.web import PATHS
from engine.config.engine import ApiConfig
from tests.api_parts import Client, fill_journal, served
from tests.browser import CHROMIUM, browser

WEB = Path(__file__).parent.parent / "api" / "web"
_ROUTE = re.compile(r"""get\([`"]([^`"]+)[`"]\)""")
_IMPORT = re.compile(r'from "\./([^"]+)"')
_PLACE = re.compile(r"\$\{[^}]*\}")


async def test_the_page_is_open_and_what_it_shows_needs_the_token(database: str, redis_url: str) -> None:
    async with served(database, redis_url, ApiConfig(tokens=("hidden",))) as client:
        for path in PATHS:
            answer = await client.get(path)
            assert answer.status == 200, path
            assert "script-src" not in answer.headers["Content-Security-Policy"]
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
            again = await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
            assert again.status == 304
        assert (await client.get("/api/leaderboard")).status == 401
        assert (await client.get("/web/main.py")).status == 401


async def test_the_page_asks_only_for_routes_that_exist(database: str, redis_url: str) -> None:
    async with served(database, redis_url) as client:
        document = await (await client.get("/api/openapi.json")).json()
    known = {
        re.sub(r"\{[^}]*\}", "*", path): operation["get"] for path, operation in document["paths"].items()
    }
    asked = [route for file in WEB.glob("*.js") for route in _ROUTE.findall(file.read_text())]
    assert len(asked) > 15
    for route in asked:
        path, _, query = _PLACE.sub("*", route).partition("?")
        assert f"/api/{path}" in known, route
        taken = {parameter["name"] for parameter in known[f"/api/{path}"].get("parameters", [])}
        assert {pair.partition("=")[0] for pair in query.split("&")} - {"", "*"} <= taken | {"limit*"}, route


def test_every_file_of_the_page_is_reached_from_it() -> None:
    index = (WEB / "index.html").read_text()
    named = set(re.findall(r"/web/([\w.]+)", index))
    named |= {name for file in WEB.glob("*.js") for name in _IMPORT.findall(file.read_text())}
    assert named | {"index.html"} == {file.name for file in WEB.iterdir()}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
async def test_a_browser_shows_traders_trades_and_the_chain_of_a_decision(
    database: str, redis_url: str, tmp_path: Path
) -> None:
    await fill_journal(database)
    async with served(database, redis_url) as client, browser(tmp_path / "profile") as page:
        trader = (await (await client.get("/api/leaderboard")).json())["leaderboard"][0]["id"]
        cycle = (await (await client.get("/api/decisions")).json())["decisions"][0]["cycle_id"]
        symbol = "BTC"
        for view, shown in {
            "": trader,
            f"trader/{trader}": "Analytics",
            f"cycle/{cycle}": "Merged or refused since the wakeup before",
            "markets": symbol,
            f"market/{symbol}": "Signals",
            "decisions": trader,
            "shadow": "None: manager.yaml",
            "backtests": "Backtests",
        }.items():
            await page.call("Page.navigate", url=f"{_origin(client)}/#/{view}")
            await page.until(f"document.getElementById('view').textContent.includes({shown!r})")
            await page.until("document.getElementById('health').textContent.includes('engine')")
            assert not await page.run("document.querySelector('.note')?.textContent"), view
        assert page.complaints == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
async def test_the_token_is_asked_for_once(database: str, redis_url: str, tmp_path: Path) -> None:
    await fill_journal(database)
    config = ApiConfig(tokens=("hidden",))
    async with served(database, redis_url, config) as client, browser(tmp_path / "profile") as page:
        script = "window.asked = 0; window.prompt = () => { window.asked += 1; return 'hidden'; };"
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        await page.call("Page.navigate", url=f"{_origin(client)}/#/")
        await page.until("document.querySelectorAll('#view table').length > 2")
        await page.until("document.getElementById('health').textContent.includes('· live')")
        assert await page.run("window.asked") == 1


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
async def test_what_a_model_wrote_is_text_and_a_small_screen_is_enough(
    database: str, redis_url: str, tmp_path: Path
) -> None:
    await fill_journal(database)
    async with served(database, redis_url) as client, browser(tmp_path / "profile", width=390) as page:
        await page.call("Page.navigate", url=f"{_origin(client)}/#/")
        await page.until("document.querySelectorAll('#view table').length > 2")
        assert await page.run("document.documentElement.scrollWidth") <= 390
        hostile = "<img src=x onerror=alert(1)>"
        script = f"import('/web/dom.js').then(({{h}}) => {{ window.made = h('p', {{}}, {hostile!r}); }})"
        await page.run(script)
        await page.until("window.made !== undefined")
        assert await page.run("window.made.textContent") == hostile
        assert await page.run("window.made.children.length") == 0


def _origin(client: Client) -> str:
    return str(client.make_url("")).rstrip("/")
