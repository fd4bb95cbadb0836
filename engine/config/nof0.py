"""A folder of the Go system nof0, taken as it is: `nof0.yaml` in place of `engine.yaml`.

Its other files are read as ours: their keys kept their names. As there, a variable that is not set is empty.
What a key of it does not do here is said in a line (`remarks`), never passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta, field

from engine.config.engine import ApiConfig, EngineConfig, FilesConfig, Port, ServersConfig, SlowLogConfig
from engine.config.loader import Duration, Secret

if TYPE_CHECKING:
    from engine.config.settings import Settings

MAIN_FILE: Final = "nof0.yaml"


class FileRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: str = field(name="File", default="")


class PostgresSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    data_source: Secret = field(name="DataSource", default=Secret(""))
    max_open: int | None = field(name="MaxOpen", default=None)
    max_idle: int | None = field(name="MaxIdle", default=None)
    max_lifetime: Duration | None = field(name="MaxLifetime", default=None)


class CacheNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Redis: `Host` with its port."""

    host: str = field(name="Host", default="")
    type: str = field(name="Type", default="node")
    password: Secret = field(name="Pass", default=Secret(""))
    tls: bool | str = field(name="Tls", default=False)  # text where its variable is not set

    @property
    def url(self) -> str:
        """Address in the form that engine.yaml takes; empty without a host."""
        if not self.host:
            return ""
        scheme = "rediss" if str(self.tls).lower() == "true" else "redis"
        secret = quote(self.password.reveal(), safe="")
        user = f":{secret}@" if secret else ""
        return f"{scheme}://{user}{self.host}/0"


class TtlSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds."""

    short: int = field(name="Short", default=10)
    medium: int = field(name="Medium", default=60)
    long: int = field(name="Long", default=300)


class SlowSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Milliseconds."""

    sql: Annotated[int, Meta(ge=0)] = field(name="SQL", default=10_000)
    redis: Annotated[int, Meta(ge=0)] = field(name="Redis", default=5_000)


class LoggingSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slow: SlowSection = field(name="SlowThreshold", default=SlowSection())
    verbose_sql: bool = field(name="VerboseSQL", default=False)
    verbose_llm: bool = field(name="VerboseLLM", default=False)


class Nof0Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of nof0.yaml."""

    name: str = field(name="Name", default="nof0")
    env: str = field(name="Env", default="dev")
    host: str = field(name="Host", default="127.0.0.1")
    port: Port = field(name="Port", default=8888)
    data_path: str = field(name="DataPath", default="")
    postgres: PostgresSection = field(name="Postgres", default=PostgresSection())
    cache: tuple[CacheNode, ...] = field(name="Cache", default=())
    ttl: TtlSection = field(name="TTL", default=TtlSection())
    logging: LoggingSection = field(name="Logging", default=LoggingSection())
    llm: FileRef = field(name="LLM", default=FileRef())
    executor: FileRef = field(name="Executor", default=FileRef())
    manager: FileRef = field(name="Manager", default=FileRef())
    exchange: FileRef = field(name="Exchange", default=FileRef())
    market: FileRef = field(name="Market", default=FileRef())

    def engine(self) -> EngineConfig:
        """The same as engine.yaml says it."""
        verbose = self.logging.verbose_sql or self.logging.verbose_llm
        return EngineConfig(
            name=self.name,
            env=self.env.lower(),
            log_level="debug" if verbose else "info",
            files=FilesConfig(
                market=self.market.file or "market.yaml",
                exchange=self.exchange.file or "exchange.yaml",
                executor=self.executor.file or "executor.yaml",
                manager=self.manager.file or "manager.yaml",
                llm=self.llm.file or "llm.yaml",
            ),
            servers=ServersConfig(
                postgres_dsn=self.postgres.data_source.reveal(),
                redis_url=self.cache[0].url if self.cache else "",
            ),
            slow_log=SlowLogConfig(
                sql=Duration(self.logging.slow.sql / 1000), redis=Duration(self.logging.slow.redis / 1000)
            ),
            api=ApiConfig(host=self.host, port=self.port),
        )


class UnsetIsEmpty(dict[str, str]):
    """Variables of which one that is not set is empty; `asked` keeps their names."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__(env)
        self.asked: dict[str, None] = {}

    def get(self, key: str, default: str | None = None) -> str:  # type: ignore[override]
        """The variable, or nothing."""
        if key not in self:
            self.asked[key] = None
            return default or ""
        return self[key]


def remarks(config: Nof0Config, unset: UnsetIsEmpty, settings: Settings) -> Iterator[str]:
    """What a key of nof0's files does not do here, and why; one line each."""
    yield from _of_main(config)
    manager, market = settings.manager, settings.market
    if manager.manager.state_storage_backend == "file" or manager.manager.state_storage_path:
        yield "manager.state_storage_backend, state_storage_path: state is in Postgres, exact across a crash"
    if any(trader.market_provider for trader in manager.traders) or market.providers:
        yield "market_provider and the providers of market.yaml: prices come from the venue that is traded"
    if settings.llm.log_level != "info":
        yield "log_level of llm.yaml: every call is in the journal, at any level"
    for name, provider in settings.exchange.providers.items():
        if provider.type == "hyperliquid":
            yield f"exchange provider {name}: type hyperliquid cannot trade yet; use one of type okx or sim"
        elif provider.type == "sim":
            yield f"exchange provider {name}: trades on the simulator of this machine (edgewise simulator)"
    for variable in unset.asked:
        yield f"variable {variable} is not set: taken as empty, as in nof0"


def _of_main(config: Nof0Config) -> Iterator[str]:
    if config.data_path:
        yield "DataPath: no files of nof0's are read; the journal holds everything"
    pool = config.postgres
    if not {pool.max_open, pool.max_idle, pool.max_lifetime} <= {None}:
        yield "Postgres.MaxOpen, MaxIdle, MaxLifetime: the pool of connections has its own bounds"
    if len(config.cache) > 1 or any(node.type != "node" for node in config.cache):
        yield "Cache: one Redis is used, the first; no cluster"
    if config.ttl != TtlSection():
        yield "TTL: answers of the API live until a write ends them; the times of nof0 do not apply"
