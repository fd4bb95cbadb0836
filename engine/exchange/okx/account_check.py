"""May edgewise trade with this key, on this account, as configured? Asked once at start.

Refuses with the setting to change. https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-account-configuration
"""

from __future__ import annotations

from typing import Final

import structlog

from engine.config.exchange import OkxConfig
from engine.core.errors import Rejected, VenueMisconfigured
from engine.exchange.okx.account_wire import AccountSettings, decode_settings
from engine.exchange.okx.rest import RestClient, readable

log = structlog.get_logger()

_LEVELS: Final = {
    "1": "Spot mode",
    "2": "Futures mode",
    "3": "Multi-currency margin",
    "4": "Portfolio margin",
}
_USABLE: Final = frozenset({"2", "3"})
_MODES: Final = {"net_mode": "net", "long_short_mode": "long_short"}


async def check(rest: RestClient, config: OkxConfig) -> AccountSettings:
    """Settings of an account that can be used. Raises VenueMisconfigured, Unavailable."""
    missing = [name for name in ("api_key", "secret", "passphrase") if not getattr(config, name)]
    if missing:
        remedy = "set the variables that exchange.yaml names for them, in .env for example"
        raise VenueMisconfigured(f"{', '.join(missing)} not set for account {config.account_id}; {remedy}")
    await rest.sync_clock()
    try:
        settings = readable(decode_settings, await rest.get("account/config"))
    except Rejected as error:
        raise VenueMisconfigured(f"account settings refused: {error}", error.code) from error
    problems = problems_of(settings, config)
    if problems:
        raise VenueMisconfigured("; ".join(problems))
    log.info(
        "venue account checked",
        account=config.account_id,
        environment=config.environment,
        level=_LEVELS[settings.acctLv],
        position_mode=config.position_mode,
        order_tag=config.order_tag,
        clock_offset_ms=rest.offset_ns // 1_000_000,
    )
    return settings


def problems_of(settings: AccountSettings, config: OkxConfig) -> list[str]:
    """One sentence for each setting that does not fit, naming it and what to do. Pure."""
    problems: list[str] = []
    permissions = {name.strip() for name in settings.perm.split(",")}
    if settings.acctLv not in _USABLE:
        level = _LEVELS.get(settings.acctLv, settings.acctLv or "unknown")
        problems.append(
            f"the account is in {level} (acctLv {settings.acctLv}), which has no cross-margined swaps as "
            "edgewise trades them: switch it to Futures mode or Multi-currency margin at OKX"
        )
    mode = _MODES.get(settings.posMode, settings.posMode)
    if mode != config.position_mode:
        problems.append(
            f"position_mode is {config.position_mode} but the account is set to {mode}: change position_mode "
            "in the configuration, or the position mode at OKX while nothing is open"
        )
    if "withdraw" in permissions:
        problems.append("the key may withdraw money: make one with Read and Trade only")
    if "trade" not in permissions:
        problems.append("the key may not trade: allow Trade for it at OKX")
    return problems
