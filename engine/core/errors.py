"""Every error edgewise raises, one class per reaction of the caller.

EdgewiseError
├── ConfigError            the operator must change a file or a variable; exit code 2
├── CodecError             one frame or reply does not parse: count it, keep it, go on
├── StoreUnavailable       Postgres is away: no new order until it is back
├── BusUnavailable         Redis is away: wait, nothing is lost (Postgres is the truth)
├── DecisionRefused        a model's answer is not a decision: journal the reason, hold
├── InvariantBroken        the books are wrong: stop entries, raise an alarm
└── VenueError             what the venue, or the way to it, answered
    ├── Rejected           final: the venue did not take it and never will
    │   └── TriggerPassed  a stop or target that would fire at once: leave the position
    ├── Unavailable        surely not taken: the venue never saw it, or refused for load
    ├── OutcomeUnknown     may have been taken: ask by client order id, never send again
    └── VenueMisconfigured the account or key cannot be used as configured; do not start
"""

from __future__ import annotations

from enum import StrEnum


class EdgewiseError(Exception):
    """Root of the tree; never raised itself."""


class ConfigError(EdgewiseError):
    """The configuration cannot be used. The text names file, line, key and what was expected."""


class Defect(StrEnum):
    """What is wrong with bytes that do not parse."""

    SYNTAX = "syntax"  # no JSON, no MessagePack
    SHAPE = "shape"  # fields are missing or of another type
    VALUE = "value"  # a number, time or word that cannot be
    UNKNOWN = "unknown"  # of a kind that nobody here reads


class CodecError(EdgewiseError):
    """Bytes from outside that do not parse. `raw` keeps them (at most 2 KB)."""

    def __init__(self, message: str, raw: bytes = b"", defect: Defect = Defect.SHAPE) -> None:
        super().__init__(message)
        self.raw = raw[:2048]
        self.defect = defect


class StoreUnavailable(EdgewiseError):
    """The journal's database did not answer in time or refused the connection."""


class BusUnavailable(EdgewiseError):
    """The message bus did not answer in time or refused the connection."""


class DecisionRefused(EdgewiseError):
    """A decider's answer cannot become a decision. `reason` is a stable code, the text explains."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InvariantBroken(EdgewiseError):
    """A rule that must always hold does not. Entries stop until a person has looked."""


class VenueError(EdgewiseError):
    """A request to a venue did not succeed. `code` is the venue's own code, empty if there is none.

    `raw` is the venue's verdict on the one item that the error is about, b"" if it gave none.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code
        self.raw = b""


class Rejected(VenueError):
    """The venue refused for good: nothing rests, nothing will fill."""


class TriggerPassed(Rejected):
    """A stop or target was refused because the market is beyond its price already."""


class Unavailable(VenueError):
    """The request was surely not taken (never sent, or refused for load). `retry_after_s` is a hint."""

    def __init__(self, message: str, code: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message, code)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(VenueError):
    """The request may have been taken. Only a query by client order id can tell; never send it again."""


class VenueMisconfigured(VenueError):
    """Key, environment, permissions or account settings do not fit the configuration. Text is the remedy."""
