"""How to reach OKX, with which account, and how patient to be. Durations are real seconds."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from engine.config.convert import nearest
from engine.config.values import Duration

Region = Literal["global", "eea", "us"]
Environment = Literal["live", "demo"]


class Hosts(msgspec.Struct, frozen=True):
    """Base addresses: REST without a path, sockets with theirs."""

    rest: str
    public: str
    private: str
    business: str


def _hosts(rest: str, socket: str) -> Hosts:
    base = f"wss://{socket}:8443/ws/v5"
    return Hosts(rest, f"{base}/public", f"{base}/private", f"{base}/business")


# https://www.okx.com/docs-v5/en/#overview-production-trading-services; eea and us as open clients use them.
# Demo trading shares the REST host and is told apart by the header x-simulated-trading.
_PRESETS: Final[dict[tuple[Region, Environment], Hosts]] = {
    ("global", "live"): _hosts("https://www.okx.com", "ws.okx.com"),
    ("global", "demo"): _hosts("https://www.okx.com", "wspap.okx.com"),
    ("eea", "live"): _hosts("https://eea.okx.com", "wseea.okx.com"),
    ("eea", "demo"): _hosts("https://eea.okx.com", "wseeapap.okx.com"),
    ("us", "live"): _hosts("https://us.okx.com", "wsus.okx.com"),
    ("us", "demo"): _hosts("https://us.okx.com", "wsuspap.okx.com"),
}

# A channel is stale when it said nothing for this long. OKX repeats mark prices every 10 s, index tickers
# every 60 s and funding rates every 30 to 90 s; trades and candles are silent while nobody trades,
# price limits while the price does not move.
DEFAULT_STALE_AFTER_S: Final[dict[str, float]] = {
    "trades": 300.0,
    "tickers": 60.0,
    "mark-price": 30.0,
    "index-tickers": 180.0,
    "funding-rate": 300.0,
    "open-interest": 300.0,
    "price-limit": 60.0,
    "books5": 90.0,
    "books": 150.0,
    "bbo-tbt": 90.0,
    "candle": 180.0,
}


class OkxTimeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All in real seconds, whatever the engine's clock does."""

    request: Duration = Duration(5)  # one REST request, its wait for the rate limit not counted
    operation: Duration = Duration(3)  # for the answer to an order sent over the socket
    queue: Duration = Duration(10)  # longest wait for the rate limit before a request is given up unsent
    connect: Duration = Duration(5)
    ack: Duration = Duration(8)  # login and subscription acknowledgements
    silence: Duration = Duration(20)  # without a frame for so long, a ping is sent (OKX closes after 30 s)
    pong: Duration = Duration(10)  # without an answer for so long, the connection counts as dead
    backoff_first: Duration = Duration(0.5)
    backoff_longest: Duration = Duration(30)
    book_check: Duration = Duration(60)  # how often the top of each book is compared with REST
    listing: Duration = Duration(60)  # how often the list of instruments is read, beside its channel
    clock_sync: Duration = Duration(300)  # how often the offset to the venue's clock is measured


Transport = Literal["auto", "websockets", "picows"]


class OkxConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account at OKX, or at a server that speaks its protocol.

    `region` and `environment` choose the hosts; each `*_url` replaces one of them (the simulator: all).
    `position_mode` must be what the account is set to. `order_tag` is sent with every order when it is not
    empty; OKX pays rebates to the owner of a broker tag, so it is empty unless you set it. With
    `cancel_all_after` OKX cancels what rests when edgewise has been silent for so long; without a tag that
    takes orders placed by hand as well, so it is off unless you set it.
    """

    type: Literal["okx"] = "okx"
    account_id: str = "okx"
    api_key: str = ""
    secret: str = ""
    passphrase: str = ""
    region: Region = "global"
    environment: Environment = "demo"
    rest_url: str = ""
    ws_public_url: str = ""
    ws_private_url: str = ""
    ws_business_url: str = ""
    position_mode: Literal["net", "long_short"] = "long_short"
    margin_mode: Literal["cross"] = "cross"  # isolated margin is not supported
    settle_currency: str = "USDT"
    cancel_all_after: Duration = Duration(0)  # dead man's switch, 10 s to 2 min; 0: off
    clamp_price: bool = False  # a price beyond the venue's limits: true moves it there, false: refused
    order_entry: Literal["websocket", "rest"] = "websocket"  # websocket: REST while the socket is not ready
    trigger_price: Literal["last", "mark", "index"] = "mark"  # what fires stops and targets
    book_channel: Literal["books5", "books", "bbo-tbt"] = "books5"
    order_tag: str = ""
    proxy: str = ""
    transport: Transport = "auto"  # the WebSocket library; auto: picows (extra `fast`) where it is installed
    rate_limits: bool = True  # off only for a local simulator that has none
    queue_limit: int = 20_000  # events that may wait for their reader, per stream
    timeouts: OkxTimeouts = OkxTimeouts()
    stale_after: dict[str, Duration] = {}  # by channel; all candle channels are `candle`

    def __post_init__(self) -> None:
        if self.order_tag and not (self.order_tag.isascii() and self.order_tag.isalnum()):
            raise ValueError(f"order_tag: {self.order_tag!r} may hold letters and digits only")
        if len(self.order_tag) > 16:  # noqa: PLR2004 - the venue's limit
            raise ValueError(f"order_tag: {self.order_tag!r} is longer than 16 characters")
        if self.cancel_all_after and not 10 <= self.cancel_all_after <= 120:  # noqa: PLR2004 - the venue's bounds
            raise ValueError("cancel_all_after: 0s (off), or from 10s to 2m")
        for channel in self.stale_after:
            if channel not in DEFAULT_STALE_AFTER_S:
                hint = nearest(channel, tuple(DEFAULT_STALE_AFTER_S))
                raise ValueError(f"stale_after: no channel {channel!r}{hint}")

    def __repr__(self) -> str:
        return f"OkxConfig({self.account_id!r}, {self.region}, {self.environment}, key={bool(self.api_key)})"

    @property
    def hosts(self) -> Hosts:
        """The preset of region and environment, with what was given by hand in its place."""
        preset = _PRESETS[self.region, self.environment]
        return Hosts(
            rest=(self.rest_url or preset.rest).rstrip("/"),
            public=self.ws_public_url or preset.public,
            private=self.ws_private_url or preset.private,
            business=self.ws_business_url or preset.business,
        )

    @property
    def demo(self) -> bool:
        return self.environment == "demo"

    def stale_s(self, channel: str) -> float:
        """Silence after which `channel` counts as stale; every candle channel is asked for as `candle`."""
        name = "candle" if channel.startswith("candle") else channel
        return self.stale_after.get(name, DEFAULT_STALE_AFTER_S.get(name, 60.0))
