"""What one demo leaves for the next, and for those who look at it meanwhile."""

from __future__ import annotations

from pathlib import Path

from engine.clock import SystemClock
from engine.core.times import NS_PER_DAY
from engine.demo.plan import DemoOptions, clock_in, next_epoch, save_reached


def test_engine_time_of_a_demo_is_known_to_others_and_never_goes_back(tmp_path: Path) -> None:
    options = DemoOptions(
        home=tmp_path, etc=tmp_path, port=0, speed=10, run_for_s=0, seed=1, replay=None, fresh=False
    )
    now = SystemClock().now_ns()
    assert abs(clock_in(tmp_path).now_ns() - now) < NS_PER_DAY
    reached = now + 3 * NS_PER_DAY
    save_reached(options, reached)
    assert reached <= clock_in(tmp_path).now_ns() < reached + NS_PER_DAY
    assert next_epoch(options).epoch_ns > reached
