"""`exchange.yaml`: the venues and accounts that traders may name, and whether orders may really be sent."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from engine.config.exchange import OkxConfig
from engine.config.loader import Duration, Secret

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account at one venue.

    `trading_enabled` not given: true for a venue on this machine (the simulator), false for all others.
    `infer_missing_fills`: a position that no execution of the venue explains is booked as the fill that
    explains it, at the price that the account's cash tells; false: it stops entries in its symbol instead.
    The keys after `okx` are those of nof0's Hyperliquid provider.
    """

    type: Literal["okx", "hyperliquid", "sim"]
    trading_enabled: bool | None = None
    infer_missing_fills: bool = True
    okx: OkxConfig = OkxConfig()
    private_key: Secret = Secret("")
    main_address: str = ""
    vault_address: str = ""
    testnet: bool = True
    timeout: Duration = Duration(30)

    @property
    def local(self) -> bool:
        """The venue runs on this machine: nothing it does costs money."""
        return urlsplit(self.okx.hosts.rest).hostname in _LOOPBACK

    @property
    def may_trade(self) -> bool:
        """Whether orders are sent at all."""
        return self.local if self.trading_enabled is None else self.trading_enabled


class ExchangeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    default: str
    providers: dict[str, ProviderConfig]
