"""Patience with our own servers."""

from __future__ import annotations

import pytest

from engine.core.errors import BusUnavailable, StoreUnavailable
from engine.retry import patiently


class Server:
    """Is away for the first `away` requests."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.asked = 0

    async def ask(self) -> str:
        self.asked += 1
        if self.asked <= self.away:
            raise StoreUnavailable("away") if self.asked % 2 else BusUnavailable("away")
        return "answer"


async def test_a_server_that_comes_back_is_asked_until_it_answers() -> None:
    server = Server(away=2)
    assert await patiently(server.ask) == "answer"
    assert server.asked == 3


async def test_patience_that_is_bounded_ends_with_the_servers_own_error() -> None:
    server = Server(away=1_000)
    with pytest.raises((StoreUnavailable, BusUnavailable)):
        await patiently(server.ask, 0.15)
    assert server.asked > 1


async def test_any_other_error_passes_at_once() -> None:
    asked = []

    async def wrong() -> None:
        asked.append(1)
        raise ValueError("a mistake of the caller")

    with pytest.raises(ValueError, match="mistake"):
        await patiently(wrong)
    assert len(asked) == 1
