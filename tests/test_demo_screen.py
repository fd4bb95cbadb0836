"""The demo's screen: what it shows of what the API says."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from engine.demo.plan import Ports
from engine.demo.screen import Screen
from engine.demo.watch import View


@pytest.mark.parametrize(
    ("coins", "shown"),
    [
        (0.00012, "+0.00012"),
        (0.0712, "+0.0712"),
        (-1.888, "-1.888"),
        (28.0, "+28"),
        (32490.4, "+32,490"),
        (1234560.0, "+1,234,560"),
    ],
)
def test_size_of_a_position_is_told_without_an_exponent(coins: float, shown: str) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, no_color=True, width=100)
    row = {"id": "alice", "equity": 1.0, "return_pct": 0.0, "num_trades": 0, "num_wins": 0}
    held = {"model_id": "alice", "positions": {"DOGE": {"quantity": coins, "unrealized_pnl": 1.0}}}
    with Screen(console, Ports(api=1, simulator=2, model=3, metrics=4), 10.0) as screen:
        screen.show(View(leaderboard=[row], positions=[held]), 0, 0.0)
    assert f"DOGE {shown} " in out.getvalue()
