"""`exchange.yaml`: the venues and accounts that traders may name, and whether orders may really be sent."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from engine.config.exchange import OkxConfig
from engine.config.loader import Duration, Secret

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

# As `edgewise simulator` serves without options.
_SIMULATOR = OkxConfig(
    api_key="demo-key",
    secret="demo-secret",  # noqa: S106 - of an account that holds no money
    passphrase="demo-pass",  # noqa: S106 - as above
    rest_url="http://127.0.0.1:8640",
    ws_public_url="ws://127.0.0.1:8640/ws/v5/public",
    ws_private_url="ws://127.0.0.1:8640/ws/v5/private",
    ws_business_url="ws://127.0.0.1:8640/ws/v5/business",
)


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account at one venue.

    `trading_enabled` not given: true for a venue on this machine (the simulator), false for all others.
    `infer_missing_fills`: a position that no execution of the venue explains is booked as the fill that
    explains it, at the price that the account's cash tells; false: it stops entries in its symbol instead.
    The keys after `okx` are those of nof0's Hyperliquid provider.
    """

    type: Literal["okx", "hyperliquid", "sim"]  # sim: the simulator of this machine, at its usual port
    trading_enabled: bool | None = None
    infer_missing_fills: bool = True
    okx: OkxConfig = OkxConfig()
    private_key: Secret = Secret("")
    main_address: str = ""
    vault_address: str = ""
    testnet: bool = True
    timeout: Duration = Duration(30)

    def __post_init__(self) -> None:
        if self.type == "sim" and not self.okx.rest_url:
            msgspec.structs.force_setattr(self, "okx", _SIMULATOR)

    @property
    def local(self) -> bool:
        """The venue runs on this machine: nothing it does costs money."""
        return urlsplit(self.okx.hosts.rest).hostname in _LOOPBACK

    @property
    def environment(self) -> str:
        """Whose prices, instruments and money these are: `simulator`, `okx-demo-global`, `okx-live-eea` …

        A host of the operator's own stands in the place of the region.
        """
        if self.local:
            return "simulator"
        host = urlsplit(self.okx.hosts.rest).hostname or ""
        if host.endswith(".okx.com"):
            return f"okx-{self.okx.environment}-{self.okx.region}"
        return f"okx-{self.okx.environment}-{host}"

    @property
    def may_trade(self) -> bool:
        """Whether orders are sent at all."""
        return self.local if self.trading_enabled is None else self.trading_enabled


class ExchangeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    default: str
    providers: dict[str, ProviderConfig]
