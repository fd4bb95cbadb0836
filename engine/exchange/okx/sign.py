"""OKX's signatures: pure functions of secret, time and message.

https://www.okx.com/docs-v5/en/#overview-rest-authentication
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from engine.core.times import NS_PER_MS, NS_PER_S, to_datetime

_LOGIN_PATH = "/users/self/verify"


class Credentials(msgspec.Struct, frozen=True):
    """An API key. The representation shows none of it."""

    key: str
    secret: str
    passphrase: str

    def __repr__(self) -> str:
        return "Credentials(***)"


def signature(secret: str, prehash: str) -> str:
    """base64(HMAC-SHA256(secret, prehash))."""
    digest = hmac.new(secret.encode(), prehash.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def rest_timestamp(ts_ns: int) -> str:
    """Venue time as the REST header wants it: `2020-12-08T09:08:57.715Z`."""
    moment = to_datetime(ts_ns)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ts_ns // NS_PER_MS % 1000:03d}Z"


def rest_headers(
    credentials: Credentials, ts_ns: int, method: str, path: str, body: str = ""
) -> dict[str, str]:
    """Headers of a private request. `path` holds the query, `body` is exactly what is sent."""
    timestamp = rest_timestamp(ts_ns)
    return {
        "OK-ACCESS-KEY": credentials.key,
        "OK-ACCESS-SIGN": signature(credentials.secret, f"{timestamp}{method}{path}{body}"),
        "OK-ACCESS-TIMESTAMP": timestamp,
        "OK-ACCESS-PASSPHRASE": credentials.passphrase,
    }


class _LoginArgs(msgspec.Struct):
    apiKey: str
    passphrase: str
    timestamp: str
    sign: str


class _Login(msgspec.Struct):
    op: str
    args: tuple[_LoginArgs]


def login_frame(credentials: Credentials, ts_ns: int) -> bytes:
    """The login request of a socket; the venue refuses it when it is more than 30 s old."""
    timestamp = str(ts_ns // NS_PER_S)
    sign = signature(credentials.secret, f"{timestamp}GET{_LOGIN_PATH}")
    args = _LoginArgs(credentials.key, credentials.passphrase, timestamp, sign)
    return msgspec.json.encode(_Login("login", (args,)))
