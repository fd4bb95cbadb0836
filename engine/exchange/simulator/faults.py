"""Faults on demand: what can go wrong between a client and a venue, asked for over /sim/faults."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class FaultKind(StrEnum):
    """Those that wait for a request, and below them those that happen to the sockets at once."""

    DROP_BEFORE = "drop_before"  # the connection is cut before the request is carried out
    DROP_AFTER = "drop_after"  # … after it was, before the answer
    DELAY = "delay"  # the answer waits for `seconds`
    HTTP = "http"  # HTTP `status` instead of carrying it out
    CODE = "code"  # OKX `code` instead of carrying it out
    CODE_AFTER = "code_after"  # OKX `code` although it was carried out
    REFUSE_ATTACHED = "refuse_attached"  # the order is taken, its stop and target are not
    REFUSE_ALGO = "refuse_algo"  # a standalone algo is refused with `code`
    LOGIN = "login"  # logins are refused with 60009
    REFUSE_SOCKET = "refuse_socket"  # a connection to a socket gets HTTP `status`

    CUT = "cut"  # every socket is closed
    SILENCE = "silence"  # sockets stay open and say nothing for `seconds`
    GARBAGE = "garbage"  # every socket gets bytes that are no message
    NOTICE = "notice"  # 64008: the connection will soon be closed for a service upgrade
    SEQUENCE_GAP = "sequence_gap"  # the next books update does not follow the last one
    SEQUENCE_RESET = "sequence_reset"  # numbers of books begin again, chained


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One fault; `path` limits it to requests whose path ends so; it is spent after `count` uses."""

    kind: FaultKind
    path: str = ""
    count: int = 1
    seconds: float = 0.0
    status: int = 503
    code: str = "50004"


class Faults:
    """The faults that wait for their moment."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self.waiting.append(fault)

    def clear(self) -> None:
        self.waiting.clear()

    def take(self, path: str, *kinds: FaultKind) -> Fault | None:
        """The first waiting fault of these kinds for a request of `path`; it has then one use less."""
        for fault in self.waiting:
            if fault.kind in kinds and path.endswith(fault.path):
                fault.count -= 1
                if fault.count <= 0:
                    self.waiting.remove(fault)
                return fault
        return None
