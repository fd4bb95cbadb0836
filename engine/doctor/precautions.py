"""What nothing checks at a start and a person should have thought of before money is traded."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from engine.config.settings import Settings
from engine.doctor.findings import Finding, State


def is_money(settings: Settings) -> bool:
    """The account is neither simulated nor one of demo trading."""
    return not settings.provider.local and not settings.provider.okx.demo


def precautions(settings: Settings) -> Iterator[Finding]:
    """Who hears of trouble, who may read the API, how much may be lost. Pure."""
    yield from _api(settings)
    if not is_money(settings):
        return
    monitoring, limits = settings.manager.monitoring, settings.manager.manager.breaker
    if not monitoring.alert_webhook and not monitoring.alerts:
        text = "nobody is told of trouble: set monitoring.alert_webhook or monitoring.alerts of manager.yaml"
        yield Finding("alerts", State.WARN, text)
    text = (
        f"the account stops entries after a loss of {limits.max_daily_loss_pct} % in a day or "
        f"{limits.max_drawdown_pct} % from its peak (manager.breaker of manager.yaml)"
    )
    yield Finding("limits", State.OK, text)


def unbound_key(settings: Settings, ip: str) -> Iterator[Finding]:
    """A key for money that works from everywhere; `ip`: the addresses that the venue bound it to. Pure."""
    if is_money(settings) and not ip:
        text = (
            "bound to no address: who steals it may trade, and OKX lets it expire after 14 days without use"
        )
        yield Finding("key", State.WARN, f"{text}; bind it at OKX")


def _api(settings: Settings) -> Iterator[Finding]:
    api = settings.engine.api
    if not api.tokens and not _only_here(api.host):
        text = f"anybody who reaches {api.host}:{api.port} reads everything: set api.tokens of engine.yaml"
        yield Finding("api", State.WARN, text)


def _only_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
