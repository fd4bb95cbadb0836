"""OKX's codes, by what the caller must do.

https://www.okx.com/docs-v5/en/#error-code. A code that is not listed is a final refusal when the venue gave
it for a request (`sCode`, or a top-level code of a 2xx or 4xx answer): OKX names no outcome as unknown but
the ones below. A 5xx without a listed code proves nothing.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from engine.core.errors import (
    OutcomeUnknown,
    Rejected,
    TriggerPassed,
    Unavailable,
    VenueError,
    VenueMisconfigured,
)


class Kind(Enum):
    """What a request does at the venue, which decides what a missing answer means."""

    READ = auto()  # may be asked again
    WRITE = auto()  # may have been done


class Reaction(Enum):
    REFUSED = auto()  # final
    WAIT = auto()  # not taken, for load or a pause of the venue
    UNKNOWN = auto()  # may have been taken
    CONFIGURE = auto()  # the key, the host or the account's settings are wrong


def _codes(reaction: Reaction, text: str) -> dict[str, Reaction]:
    return dict.fromkeys(text.split(), reaction)


_REACTIONS: Final[dict[str, Reaction]] = {
    # rate limits: the request was not processed; 50023 and its like: settlement in progress, surely refused
    **_codes(Reaction.WAIT, "50005 50011 50023 50040 50042 50046 50061 50062 50064 51029 51030 51032"),
    **_codes(Reaction.WAIT, "51113 51513 54047 54048 60014 60023 63999"),
    # timeouts and errors inside the venue: no proof of success or failure
    **_codes(Reaction.UNKNOWN, "50001 50004 50013 50026 51054 51149 51412 64007"),
    **_codes(Reaction.CONFIGURE, "50035 50100 50101 50102 50103 50104 50105 50106 50107 50108 50109 50110"),
    **_codes(Reaction.CONFIGURE, "50111 50112 50113 50114 50119 50120 50121 60004 60005 60006 60007 60008"),
    **_codes(Reaction.CONFIGURE, "60009 60024 60026 60032"),
}

_REGION: Final = (
    "the key does not exist at this host: set `region` to eea (my.okx.com) or us (app.okx.com) if the "
    "account was opened there, and check `api_key`"
)
_SIGN: Final = "the signature is wrong: check `secret`; it must be the secret of this very key"
_PASSPHRASE: Final = "the passphrase is wrong: check `passphrase`; it is case sensitive"  # noqa: S105 - advice
_CLOCK: Final = "this machine's clock is too far from the venue's: synchronise it (NTP)"
_ADDRESS: Final = "this machine's address is not on the key's list: add it at OKX, or remove the list"
_BLOCKED: Final = "the account may not trade now: look at OKX what it says about it"
_REMEDIES: Final[dict[str, str]] = {
    "50035": "bind the key to this machine's address at OKX",
    "50101": "the key belongs to the other environment: set `environment` to demo or live to match it",
    "50102": _CLOCK,
    "50105": _PASSPHRASE,
    "50110": _ADDRESS,
    "50111": "the key is not valid: check `api_key`",
    "50113": _SIGN,
    "50119": _REGION,
    "50120": "the key lacks a permission: allow Trade for it at OKX",
    "50121": _ADDRESS,
    "50027": _BLOCKED,
    "50028": _BLOCKED,
    "50029": _BLOCKED,
    "51009": _BLOCKED,
    "51024": _BLOCKED,
    "51010": "the account mode does not allow it: use Futures mode or Multi-currency margin at OKX",
    "51155": "this account may not trade the instrument where it is registered: leave the symbol out",
    "54092": "open the instrument once at OKX and accept its terms there",
    "60005": "the key is not valid: check `api_key`",
    "60006": _CLOCK,
    "60007": _SIGN,
    "60009": "login was refused: check `api_key`, `secret` and `passphrase`",
    "60024": _PASSPHRASE,
    "60032": _REGION,
}
_CLOSES: Final[dict[str, str]] = {
    "1009": "a request was longer than the venue takes",
    "4001": "the login was refused",
    "4002": "the venue did not understand a request",
    "4003": "the key has more than 100 subscriptions: end other programs that use it",
    "4004": "the venue heard and said nothing for 30 s",
    "4005": "this program reads more slowly than the venue sends",
    "4006": "the venue broke off",
    "4007": "the key was changed or deleted: the next login tells which",
    "4008": "too many channels are subscribed: watch fewer symbols or timeframes",
    "4009": "too many channels on one connection: watch fewer symbols or timeframes",
}
_SERIOUS_CLOSES: Final = frozenset({"1009", "4001", "4002", "4003", "4007", "4008", "4009"})
_DUPLICATES: Final = frozenset({"51011", "51016", "50071"})
_GONE: Final = frozenset(
    {"51023", "51043", "51063", "51400", "51401", "51405", "51410", "51416", "51503", "51603"}
)
# target or stop on the wrong side of the last, mark and index price
_TRIGGER_PASSED: Final = frozenset(map(str, (*range(51277, 51281), *range(51301, 51309))))
_CLOCK_CODES: Final = frozenset({"50102", "60006"})
_RATE_RETRY_S: Final = 2.0  # OKX's windows are 2 s long and it sends no Retry-After
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


def reaction_to(code: str, status: int = 200) -> Reaction:
    """What an answer with this code and HTTP status calls for; `code` is "" when the body was unreadable."""
    known = _REACTIONS.get(code)
    if known is not None:
        return known
    if status == _TOO_MANY:
        return Reaction.WAIT
    if status >= _SERVER_ERROR:
        return Reaction.UNKNOWN
    return Reaction.REFUSED


def remedy(code: str) -> str:
    """What the operator can do about it; "" when there is nothing better than the code."""
    return _REMEDIES.get(code, "")


def venue_error(code: str, message: str, kind: Kind, status: int = 200) -> VenueError:
    """The error to raise for a refusal. A read whose outcome is unknown is simply Unavailable."""
    reaction, advice = reaction_to(code, status), remedy(code)
    message = f"{message}; {advice}" if advice else message
    if reaction is Reaction.CONFIGURE:
        return VenueMisconfigured(message, code)
    if reaction is Reaction.WAIT:
        return Unavailable(message, code, _RATE_RETRY_S)
    if reaction is Reaction.UNKNOWN:
        if kind is Kind.READ:
            return Unavailable(message, code)
        return OutcomeUnknown(message, code)
    return TriggerPassed(message, code) if code in _TRIGGER_PASSED else Rejected(message, code)


def is_duplicate(code: str) -> bool:
    """The client order id is in use: an earlier request of the same order got through."""
    return code in _DUPLICATES


def is_gone(code: str) -> bool:
    """The order, algo or position is not there any more, or never was."""
    return code in _GONE


def closed_because(code: str) -> str:
    """What a close code of a socket means; "" for one of the network's."""
    return _CLOSES.get(code, "")


def is_serious_close(code: str) -> bool:
    """The next connection is likely to end the same way: someone must act, and haste makes it worse."""
    return code in _SERIOUS_CLOSES


def is_clock(code: str) -> bool:
    """The signature's time was refused; nothing was processed."""
    return code in _CLOCK_CODES
