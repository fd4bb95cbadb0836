"""Keys, signatures and time stamps, checked as OKX does (docs-v5, «REST Authentication», «Login»)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from engine.core.times import NS_PER_S, from_datetime
from engine.exchange.matching.types import VenueRefusal

WINDOW_S: Final = 30.0


class Environment(StrEnum):
    ANY = ""
    DEMO = "demo"
    LIVE = "live"


class Credentials(msgspec.Struct, frozen=True):
    key: str
    secret: str
    passphrase: str
    permissions: tuple[str, ...] = ("read_only", "trade")


class Gatekeeper:
    """Knows the accounts' keys. `window_ns` is the venue's 30 s in engine time.

    `environment`: the keys are of demo trading or of live trading, and a request says which it means by the
    header x-simulated-trading (REST; sockets have hosts of their own for that).
    """

    def __init__(
        self,
        credentials: tuple[Credentials, ...],
        window_ns: int,
        environment: Environment = Environment.ANY,
    ) -> None:
        self._known = {each.key: each for each in credentials}
        self._window_ns = window_ns
        self._environment = environment

    def check_request(self, headers: Mapping[str, str], prehash: str, now_ns: int) -> str:
        """The key of a signed REST request. `prehash` is method, path with query, and body.

        Raises VenueRefusal 50103 to 50119 as the venue does.
        """
        key, sign = headers.get("OK-ACCESS-KEY", ""), headers.get("OK-ACCESS-SIGN", "")
        timestamp = headers.get("OK-ACCESS-TIMESTAMP", "")
        passphrase = headers.get("OK-ACCESS-PASSPHRASE", "")
        for code, name, value in (
            ("50103", "OK-ACCESS-KEY", key),
            ("50104", "OK-ACCESS-PASSPHRASE", passphrase),
            ("50106", "OK-ACCESS-SIGN", sign),
            ("50107", "OK-ACCESS-TIMESTAMP", timestamp),
        ):
            if not value:
                raise VenueRefusal(code, f'Request header "{name}" can not be empty.')
        known = self._known.get(key)
        if known is None:
            raise VenueRefusal("50119", "API key doesn't exist")
        asked = Environment.DEMO if headers.get("x-simulated-trading") == "1" else Environment.LIVE
        if self._environment not in {Environment.ANY, asked}:
            raise VenueRefusal("50101", "APIKey does not match current environment.")
        self._check_time(_iso_ns(timestamp), now_ns, "50102", "Timestamp request expired")
        if not hmac.compare_digest(known.passphrase, passphrase):
            raise VenueRefusal("50105", 'Request header "OK-ACCESS-PASSPHRASE" incorrect.')
        if not hmac.compare_digest(signature(known.secret, timestamp + prehash), sign):
            raise VenueRefusal("50113", "Invalid Sign")
        return key

    def permissions(self, key: str) -> tuple[str, ...]:
        """What a key may do, in OKX's words."""
        return self._known[key].permissions

    def check_permission(self, key: str, needed: str) -> None:
        """Raises VenueRefusal 50120."""
        if needed not in self._known[key].permissions:
            raise VenueRefusal("50120", "API key doesn't have permission to use this function")

    def check_login(self, arg: Mapping[str, object], now_ns: int) -> str:
        """The key of a WebSocket login. Raises VenueRefusal 60004 to 60032."""
        key, timestamp = str(arg.get("apiKey", "")), str(arg.get("timestamp", ""))
        known = self._known.get(key)
        if known is None:
            raise VenueRefusal(
                "60032" if key else "60005", "API key doesn't exist" if key else "Invalid apiKey"
            )
        try:
            seconds = float(timestamp)
        except ValueError as error:
            raise VenueRefusal("60004", "Invalid timestamp") from error
        self._check_time(int(seconds * NS_PER_S), now_ns, "60006", "Timestamp request expired")
        if not hmac.compare_digest(known.passphrase, str(arg.get("passphrase", ""))):
            raise VenueRefusal("60024", "Wrong passphrase")
        expected = signature(known.secret, f"{timestamp}GET/users/self/verify")
        if not hmac.compare_digest(expected, str(arg.get("sign", ""))):
            raise VenueRefusal("60007", "Invalid sign")
        return key

    def _check_time(self, given_ns: int, now_ns: int, code: str, text: str) -> None:
        if abs(given_ns - now_ns) > self._window_ns:
            raise VenueRefusal(code, text)


def signature(secret: str, prehash: str) -> str:
    """Base64 of HMAC-SHA256."""
    return base64.b64encode(hmac.new(secret.encode(), prehash.encode(), hashlib.sha256).digest()).decode()


def _iso_ns(text: str) -> int:
    try:
        return from_datetime(datetime.fromisoformat(text))
    except ValueError as error:
        raise VenueRefusal("50112", "Invalid OK-ACCESS-TIMESTAMP") from error
