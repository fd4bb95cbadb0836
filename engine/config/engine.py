"""`engine.yaml`: where the servers are, which files describe the rest, and what the process exposes."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.config.values import Duration, Misplaced

Port = Annotated[int, Meta(ge=0, le=65535)]


def _check_addresses(postgres_dsn: str, redis_url: str) -> None:
    """Raises Misplaced for what names no server; it may hold a password, so it is not shown."""
    if postgres_dsn and not postgres_dsn.startswith(("postgresql://", "postgres://")):
        raise Misplaced(("postgres_dsn",), "expected postgresql://user:password@host:port/database")
    if redis_url and not redis_url.startswith(("redis://", "rediss://", "unix://")):
        raise Misplaced(("redis_url",), "expected redis://user:password@host:port/number")


class FilesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths of the other files, relative to this one."""

    market: str = "market.yaml"
    exchange: str = "exchange.yaml"
    executor: str = "executor.yaml"
    manager: str = "manager.yaml"
    llm: str = "llm.yaml"


class ServersConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Postgres and Redis. Empty: the embedded servers below `home` are used."""

    postgres_dsn: str = ""
    redis_url: str = ""
    home: str = ".edgewise"

    def __post_init__(self) -> None:
        _check_addresses(self.postgres_dsn, self.redis_url)


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where Prometheus finds the engine. Port 0 takes a free one; loopback unless said otherwise."""

    host: str = "127.0.0.1"
    port: Port = 9464


class TracingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where spans of decision cycles and requests go, by OTLP over HTTP. An empty address: none are made.

    What is not here (certificates, resource attributes) is read from the variables OTEL_* by the SDK.
    """

    otlp_endpoint: Annotated[str, Meta(pattern=r"^(https?://.+)?$")] = ""  # without /v1/traces
    headers: dict[str, str] = {}


class SlowLogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From how long on a query of Postgres, and a command of Redis, is logged; never with its values."""

    sql: Duration = Duration(0.5)
    redis: Duration = Duration(0.25)


class ApiConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The read-only HTTP service. Its database and Redis users cannot write (but its own cache keys)."""

    host: str = "127.0.0.1"
    port: Port = 8642
    postgres_dsn: str = ""  # empty: as the engine's
    redis_url: str = ""
    cors_origins: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()  # empty: no token is asked for
    rate_limit_per_s: Annotated[float, Meta(ge=0)] = 20.0  # a client elsewhere, by address; 0: no limit
    rate_limit_burst: Annotated[int, Meta(ge=1)] = 100
    header_timeout: Duration = Duration(15)  # for a whole request, and between two

    def __post_init__(self) -> None:
        _check_addresses(self.postgres_dsn, self.redis_url)


class KeepConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long rows are kept, engine time; 0 for ever. Whole months go, and signals that woke nobody."""

    klines: Duration = Duration(0)
    indicators: Duration = Duration(90 * 86400)
    signals: Duration = Duration(0)
    trader_performance: Duration = Duration(0)
    account_checks: Duration = Duration(90 * 86400)
    balance_snapshots: Duration = Duration(0)


class JournalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is written beside the trading itself.

    A balance of the account is skipped when its equity has moved by less than both thresholds since the
    last one that was kept. Older than `whole_performance`, of an hour of a trader only the last row of
    trader_performance stays, with those of its lowest and its highest equity; 0: all of them, for ever.
    """

    decisions_mb: Annotated[int, Meta(ge=0, le=1_000_000)] = 512  # of decision files a trader; 0: none
    spool_mb: Annotated[int, Meta(ge=1, le=100_000)] = 256  # on disk, while Postgres is away
    balance_min_usd: Annotated[Decimal, Meta(ge=0)] = Decimal(1)
    balance_min_pct: Annotated[Decimal, Meta(ge=0, le=100)] = Decimal("0.01")
    whole_performance: Duration = Duration(7 * 86400)
    keep: KeepConfig = KeepConfig()


class ClockConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Engine time. A speed other than 1 is refused unless the venue is the local simulator or paper."""

    speed: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    epoch_ns: int = 0
    wall_epoch_ns: int = 0


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    name: str = "edgewise"
    env: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,24}$")] = "dev"  # names streams and keys
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    files: FilesConfig = FilesConfig()
    servers: ServersConfig = ServersConfig()
    metrics: MetricsConfig = MetricsConfig()
    tracing: TracingConfig = TracingConfig()
    slow_log: SlowLogConfig = SlowLogConfig()
    api: ApiConfig = ApiConfig()
    clock: ClockConfig = ClockConfig()
    journal: JournalConfig = JournalConfig()
