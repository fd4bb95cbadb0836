"""Faults on demand: what can go wrong between a client and a venue.

Asked for with `POST /sim/faults`, one JSON object each, or with `--faults FILE`, a YAML list of the same:

    faults:
      - {kind: drop_after, path: trade/order, count: 2}   # waits for two new orders
      - {kind: cut, after_s: 30, every_s: 300}            # happens by the clock
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from engine.config.loader import load


class FaultKind(StrEnum):
    """Three families; each kind with what it does."""

    # These wait for requests, over REST and sockets alike.
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    DELAY_BEFORE = "delay_before"
    DELAY = "delay"
    HTTP = "http"
    CODE = "code"
    CODE_AFTER = "code_after"
    REFUSE_ORDER = "refuse_order"
    REFUSE_ATTACHED = "refuse_attached"
    REFUSE_ALGO = "refuse_algo"
    LOGIN = "login"
    REFUSE_SOCKET = "refuse_socket"
    # These wait for pushes; `path` is a channel.
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    MISSING = "missing"
    # These happen at once.
    CUT = "cut"
    SILENCE = "silence"
    GARBAGE = "garbage"
    NOTICE = "notice"
    SEQUENCE_GAP = "sequence_gap"
    SEQUENCE_RESET = "sequence_reset"
    CHECKSUM = "checksum"
    ZERO_CHECKSUM = "zero_checksum"
    PARTIAL_FILLS = "partial_fills"
    INSTRUMENT = "instrument"
    CLOCK_SKEW = "clock_skew"


MEANINGS: Final[Mapping[FaultKind, str]] = {
    FaultKind.DROP_BEFORE: "the connection is cut before the request is carried out",
    FaultKind.DROP_AFTER: "it is carried out, and the connection is cut before the answer",
    FaultKind.DELAY_BEFORE: "it is carried out `seconds` late, whether or not somebody still waits",
    FaultKind.DELAY: "it is carried out, and the answer comes `seconds` late",
    FaultKind.HTTP: "it is not carried out: HTTP `status` with a page that is no JSON (REST)",
    FaultKind.CODE: "it is not carried out: OKX `code` for the whole request",
    FaultKind.CODE_AFTER: "it is carried out, and the answer is OKX `code` all the same",
    FaultKind.REFUSE_ORDER: "a new order is refused with sCode `code`",
    FaultKind.REFUSE_ATTACHED: "an order is taken; its stop and target fail with failCode `code`",
    FaultKind.REFUSE_ALGO: "a standalone algo is refused with sCode `code`",
    FaultKind.LOGIN: "a login is refused with 60009",
    FaultKind.REFUSE_SOCKET: "a new socket gets HTTP `status`",
    FaultKind.DUPLICATE: "a push of channel `path` comes twice",
    FaultKind.REORDER: "a push of channel `path` comes after the one that should follow it",
    FaultKind.MISSING: "a push of channel `path` never comes",
    FaultKind.CUT: "every socket is closed; with `path` only public, business or private",
    FaultKind.SILENCE: "sockets stay open and say nothing for `seconds`",
    FaultKind.GARBAGE: "every socket gets bytes that are no message; with `path` a request's answer is some",
    FaultKind.NOTICE: "64008 announces the end of every socket, which comes after `seconds` (0: 60)",
    FaultKind.SEQUENCE_GAP: "the next update of each followed book does not follow the last one",
    FaultKind.SEQUENCE_RESET: "the numbers of books begin again below, chained, as after maintenance",
    FaultKind.CHECKSUM: "books carry a CRC-32 again, as they did until June 2026",
    FaultKind.ZERO_CHECKSUM: "… and carry 0 again, as they have since then",
    FaultKind.PARTIAL_FILLS: "no execution takes more than half of what an order still wants; until cleared",
    FaultKind.INSTRUMENT: "`symbol` gets a new `tick`, `lot`, `least`, `value` or `state`, and tells so",
    FaultKind.CLOCK_SKEW: "the venue's clock is `seconds` ahead in time, signatures and acknowledgements",
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault. `path` limits it to requests whose path, or pushes whose channel, ends so.

    A fault that waits is spent after `count` uses. `after_s` makes it begin later, `every_s` again and
    again, both in real seconds since it was asked for.
    """

    kind: FaultKind
    path: str = ""
    count: Annotated[int, Meta(ge=1)] = 1
    seconds: float = 0.0
    status: int = 503
    code: str = "50004"
    after_s: Annotated[float, Meta(ge=0)] = 0.0
    every_s: Annotated[float, Meta(ge=0)] = 0.0
    symbol: str = ""
    tick: str = ""
    lot: str = ""
    least: str = ""
    value: str = ""
    state: str = ""


class FaultFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--faults` names."""

    faults: tuple[Fault, ...]


def read_faults(path: Path, env: Mapping[str, str]) -> tuple[Fault, ...]:
    """Faults of a YAML file. Raises ConfigError with file, line and key."""
    return load(path, FaultFile, env).faults


class _Waiting(msgspec.Struct):
    fault: Fault
    left: int


class Faults:
    """The faults that wait for their moment."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []

    @property
    def waiting(self) -> list[Fault]:
        """Each with the count that is left of it."""
        return [msgspec.structs.replace(each.fault, count=each.left) for each in self._waiting]

    def add(self, fault: Fault) -> None:
        self._waiting.append(_Waiting(fault, fault.count))

    def clear(self) -> None:
        self._waiting.clear()

    def take(self, path: str, *kinds: FaultKind) -> Fault | None:
        """The first waiting fault of these kinds for `path`; it has then one use less."""
        for each in self._waiting:
            if each.fault.kind in kinds and path.endswith(each.fault.path):
                each.left -= 1
                if each.left <= 0:
                    self._waiting.remove(each)
                return each.fault
        return None

    def any_of(self, *kinds: FaultKind) -> bool:
        return any(each.fault.kind in kinds for each in self._waiting)
