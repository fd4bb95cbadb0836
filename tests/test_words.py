"""What is said of a count."""

from __future__ import annotations

import pytest

from engine.core.words import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 wakeups"), (1, "1 wakeup"), (2, "2 wakeups"), (1_200, "1,200 wakeups")]
)
def test_only_one_is_singular(number: int, said: str) -> None:
    assert counted(number, "wakeup") == said


def test_a_plural_of_its_own_is_used() -> None:
    assert [counted(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]
