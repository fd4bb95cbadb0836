"""An indicator in use: a formula with the names of its features and its newest values."""

from __future__ import annotations

from typing import ClassVar, Protocol

from engine.core.market import Candle
from engine.market.state import Plain, freeze, thaw

Values = tuple[float | None, ...]


class Formula(Protocol):
    """Turns candles into one value for each feature; None until enough were seen.

    `step` without `commit` says what the values would be and changes nothing.
    """

    __slots__ = ()
    STATE: ClassVar[tuple[str, ...]]

    def step(self, candle: Candle, commit: bool) -> Values: ...


class Study:
    """One indicator on one timeframe. Closed candles go to `update`, a forming one to `peek`.

    Whoever has many of them calls `step` himself, a call less each, and sets `values` as `update` does.
    """

    __slots__ = ("formula", "names", "step", "values")
    STATE: ClassVar[tuple[str, ...]] = ("formula", "values")

    def __init__(self, names: tuple[str, ...], formula: Formula) -> None:
        self.names = names
        self.formula = formula
        self.values: Values = (None,) * len(names)
        self.step = formula.step

    @property
    def value(self) -> float | None:
        """The first of its values: the line that gave the indicator its name."""
        return self.values[0]

    @property
    def ready(self) -> bool:
        """Whether all of its values are known."""
        return None not in self.values

    def update(self, candle: Candle) -> Values:
        """Take in a closed candle."""
        values = self.values = self.step(candle, True)
        return values

    def peek(self, candle: Candle) -> Values:
        """The values as if `candle`, which may still change, were closed."""
        return self.step(candle, False)

    def snapshot(self) -> Plain:
        """Plain values that `restore` brings back bit for bit."""
        return freeze(self)

    def restore(self, state: Plain) -> None:
        """Go on exactly where the snapshot was taken. Raises ValueError for one of another indicator."""
        thaw(self, state)
