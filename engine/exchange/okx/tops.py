"""The newest best levels of each book, and what it showed while somebody looks at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.core.market import BookTop, MarketEvent


class ShownTops:
    """Passes best levels on and keeps the newest of each symbol."""

    def __init__(self, put: Callable[[MarketEvent], object]) -> None:
        self._put = put
        self._newest: dict[str, BookTop] = {}
        self._looked_at: dict[str, list[BookTop]] = {}

    def put(self, event: MarketEvent) -> None:
        """The book of a symbol changed."""
        if isinstance(event, BookTop):
            self._newest[event.symbol] = event
            if self._looked_at:
                shown = self._looked_at.get(event.symbol)
                if shown is not None:
                    shown.append(event)
        self._put(event)

    @property
    def symbols(self) -> Sequence[str]:
        """Of the books that show something."""
        return tuple(self._newest)

    def newest(self, symbol: str) -> BookTop | None:
        """What a book shows; None when it is worthless or showed nothing yet."""
        return self._newest.get(symbol)

    def forget(self, symbol: str) -> None:
        """A book is known to be worthless, until it shows something again."""
        self._newest.pop(symbol, None)

    def look(self, top: BookTop) -> Sequence[BookTop]:
        """What the book of `top` shows from now on, `top` first, until `look_away`."""
        shown = self._looked_at[top.symbol] = [top]
        return shown

    def look_away(self, symbol: str) -> None:
        """Nobody looks any more."""
        self._looked_at.pop(symbol, None)
