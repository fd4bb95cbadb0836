"""Lists as the venue gives them: newest first, filtered by equality, cut to a page.

`after` is older than, `before` newer than, both exclusive; `begin` and `end` are inclusive milliseconds
(docs-v5, «Pagination»). Given alone, `before` gives the page nearest to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator.text import Row

Query = Mapping[str, str]
Rows = list[Any]
_PAGE: Final = 100


class Paged(NamedTuple):
    """What a list can be filtered by, and the keys that its cursor and its times are about."""

    filters: tuple[str, ...]
    cursor: str
    time: str = ""
    before_is_near: bool = True  # else `before` alone gives the newest page


def page(rows: list[Row], query: Query, how: Paged) -> Rows:
    """Raises VenueRefusal 51000 for a cursor or limit that is no number."""
    rows = [row for row in rows if all(_wanted(query.get(key), row[key]) for key in how.filters)]
    if family := query.get("instFamily") or query.get("uly"):
        rows = [row for row in rows if row["instId"] == f"{family}-SWAP"]
    if how.time:
        begin, end = whole(query, "begin"), whole(query, "end")
        rows = [row for row in rows if begin is None or int(row[how.time]) >= begin]
        rows = [row for row in rows if end is None or int(row[how.time]) <= end]
    after, before = whole(query, "after"), whole(query, "before")
    rows = [row for row in rows if after is None or int(row[how.cursor]) < after]
    rows = [row for row in rows if before is None or int(row[how.cursor]) > before]
    limit = limit_of(query, _PAGE, _PAGE)
    near = before is not None and after is None and how.before_is_near
    return rows[-limit:] if near else rows[:limit]


def limit_of(query: Query, default: int, most: int) -> int:
    """How many rows are asked for, at most `most`. Raises VenueRefusal 51000."""
    asked = whole(query, "limit")
    if asked is not None and asked < 1:
        raise VenueRefusal("51000", "Parameter limit error")
    return min(most, default if asked is None else asked)


def whole(query: Query, key: str) -> int | None:
    """A whole number; None when absent or empty. Raises VenueRefusal 51000."""
    text = query.get(key)
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise VenueRefusal("51000", f"Parameter {key} error")
    return int(text)


def needed(query: Query, key: str) -> str:
    """A text that must be there. Raises VenueRefusal 50014."""
    value = query.get(key)
    if not value:
        raise VenueRefusal("50014", f"Parameter {key} can not be empty.")
    return value


def _wanted(asked: str | None, value: object) -> bool:
    """Whether a row has one of the values asked for, which are separated by commas; all are, if none is."""
    return not asked or str(value) in asked.split(",")
