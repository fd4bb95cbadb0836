"""How long a doubt may last, and how often the venue is asked before something is concluded."""

from __future__ import annotations

import msgspec


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Real seconds and counts of the continuous checks.

    The defaults are those of NautilusTrader's live execution engine: `inflight_check_threshold_ms` 5,000,
    `inflight_check_retries` 5, `open_check_threshold_ms` 5,000, `max_single_order_queries_per_cycle` 10,
    `position_check_threshold_ms` 5,000, `position_check_retries` 3.
    https://nautilustrader.io/docs/latest/concepts/live
    """

    in_flight_s: float = 5.0  # without an answer for so long, an order is asked for, and again after it
    queries: int = 5  # answers «unknown» before an order counts as never taken
    between_looks_s: float = 1.0  # of the watch on orders in doubt
    open_check_s: float = 30.0  # how often resting orders are compared with the venue's list
    quiet_s: float = 5.0  # an order or account that moved so lately is not judged
    single_queries: int = 10  # resting orders that one look asks for one by one
    differing_looks: int = 3  # comparisons of the books in a row before a difference has consequences
    at_start_s: float = 0.2  # between queries while starting: a dead life's request may be under way
    intents_s: float = 10.0  # how often intents that no message brought are looked for in the journal
