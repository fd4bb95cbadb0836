"""What the demo runs: processes, ports, and a clock that goes on where the last demo stopped."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec

from engine.clock import Clock, ScaledClock, SystemClock
from engine.core.errors import ConfigError
from engine.core.times import NS_PER_S
from engine.embedded import ServerAddresses, in_use
from engine.files import writing
from engine.supervise import ProcessSpec

_STOPPING_S: Final = 5.0  # real time that the market may have gone on after the newest note
_ACCOUNT_USDT: Final = 120_000  # holds what etc/manager.yaml promises, and a reserve


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for. `run_for_s` 0 runs until it is stopped; real seconds."""

    home: Path
    etc: Path
    port: int
    speed: float
    run_for_s: float
    seed: int
    replay: Path | None
    fresh: bool


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    api: int
    simulator: int
    model: int
    metrics: int


class Account(msgspec.Struct, frozen=True, array_like=True):
    """What the engine signs in with at the simulator."""

    key: str
    secret: str
    passphrase: str


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """Where engine time stood at a moment of wall time; every process of a demo is given the same."""

    epoch_ns: int
    wall_epoch_ns: int
    speed: float

    def clock(self) -> ScaledClock:
        return ScaledClock(self.speed, self.epoch_ns, self.wall_epoch_ns)


def prepare_home(options: DemoOptions) -> Path:
    """The demo's folder; emptied first for `--fresh`.

    Raises ConfigError when a demo runs in it, or it cannot be made.
    """
    if options.fresh and options.home.exists():
        if in_use(options.home / "servers"):
            raise ConfigError(f"{options.home} is in use by another demo; stop it first")
        with writing(options.home):
            shutil.rmtree(options.home)
    with writing(options.home):
        (options.home / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
    return options.home


def next_epoch(options: DemoOptions) -> Epoch:
    """Engine time starts at the wall's, or later where an earlier, faster demo had come further."""
    wall_ns = SystemClock().now_ns()
    saved = _epoch_file(options.home)
    reached = 0
    if saved.exists():
        last = msgspec.json.decode(saved.read_bytes(), type=Epoch)
        reached = last.epoch_ns + int(_STOPPING_S * last.speed * NS_PER_S)
    return Epoch(epoch_ns=max(wall_ns, reached), wall_epoch_ns=wall_ns, speed=options.speed)


def save_reached(options: DemoOptions, now_ns: int) -> None:
    """Note how far engine time has come: the next demo does not go back, and others know its time."""
    reached = Epoch(epoch_ns=now_ns, wall_epoch_ns=SystemClock().now_ns(), speed=options.speed)
    part = _epoch_file(options.home).with_suffix(".part")
    part.write_bytes(msgspec.json.encode(reached))
    part.replace(_epoch_file(options.home))


def clock_in(home: Path) -> Clock:
    """Engine time of the demo that runs in this folder; real time where none has noted its own."""
    saved = _epoch_file(home)
    return msgspec.json.decode(saved.read_bytes(), type=Epoch).clock() if saved.exists() else SystemClock()


def _epoch_file(home: Path) -> Path:
    return home / "clock.json"


def choose_ports(options: DemoOptions) -> Ports:
    """The API's port as asked for, the others free ones.

    Raises ConfigError when it is taken: whoever has it would be shown as this demo.
    """
    if options.port and not _is_free(options.port):
        raise ConfigError(
            f"port {options.port} is taken, by another demo perhaps; choose another with --port"
        )
    free = _free_ports(4)
    return Ports(api=options.port or free[0], simulator=free[1], model=free[2], metrics=free[3])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just given up is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def processes(
    options: DemoOptions, ports: Ports, epoch: Epoch, servers: ServerAddresses
) -> tuple[ProcessSpec, ...]:
    """The children, in the order in which they must be ready."""
    account = _account(options.home)
    env = _environment(options, ports, epoch, account) | servers.environment()
    arguments = {
        "simulator": _simulator(options, ports, epoch, account),
        "model-server": ["model-server", "--port", str(ports.model)],
        "engine": ["engine", "--etc", str(options.etc)],
        "api": ["api", "--etc", str(options.etc)],
    }
    return tuple(
        ProcessSpec(
            name=name,
            argv=(sys.executable, "-m", "engine.cli.main", *words),
            log=options.home / "logs" / f"{name}.log",
            env=env,
            ready="ready",
        )
        for name, words in arguments.items()
    )


def _environment(options: DemoOptions, ports: Ports, epoch: Epoch, account: Account) -> dict[str, str]:
    """This process's own, without a key of a real account; models are asked where it says, else here."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OKX_")}
    env |= {
        "EDGEWISE_ENV": "demo",
        "EDGEWISE_HOME": str(options.home),
        "EDGEWISE_EXCHANGE": "okx_simulator",
        "EDGEWISE_SIMULATOR_URL": f"http://127.0.0.1:{ports.simulator}",
        "EDGEWISE_SIMULATOR_WS": f"ws://127.0.0.1:{ports.simulator}",
        "EDGEWISE_SIMULATOR_KEY": account.key,
        "EDGEWISE_SIMULATOR_SECRET": account.secret,
        "EDGEWISE_SIMULATOR_PASSPHRASE": account.passphrase,
        "EDGEWISE_SIMULATOR_LIMITS": "false",
        "EDGEWISE_METRICS_PORT": str(ports.metrics),
        "EDGEWISE_API_PORT": str(ports.api),
        "EDGEWISE_SPEED": str(epoch.speed),
        "EDGEWISE_EPOCH_NS": str(epoch.epoch_ns),
        "EDGEWISE_WALL_EPOCH_NS": str(epoch.wall_epoch_ns),
        "PYTHONUNBUFFERED": "1",
    }
    if not env.get("EDGEWISE_LLM_BASE_URL"):
        env["EDGEWISE_LLM_BASE_URL"] = f"http://127.0.0.1:{ports.model}/v1"
        env["EDGEWISE_LLM_API_KEY"] = "local"
    return env


def _simulator(options: DemoOptions, ports: Ports, epoch: Epoch, account: Account) -> list[str]:
    replayed = ["--replay", str(options.replay)] if options.replay is not None else []
    return [
        "simulator",
        *("--port", str(ports.simulator)),
        *("--account", f"{account.key}:{account.secret}:{account.passphrase}:{_ACCOUNT_USDT}"),
        *("--seed", str(options.seed)),
        *("--speed", str(epoch.speed)),
        *("--epoch", str(epoch.epoch_ns)),
        *("--wall-epoch", str(epoch.wall_epoch_ns)),
        *("--state", str(options.home / "simulator")),
        "--no-rate-limit",
        *replayed,
    ]


def _account(home: Path) -> Account:
    """The simulated account; made once, kept with the demo."""
    kept = home / "account.json"
    if not kept.exists():
        made = Account(*(secrets.token_hex(12) for _ in range(3)))
        kept.touch(mode=0o600)
        kept.write_bytes(msgspec.json.encode(made))
    return msgspec.json.decode(kept.read_bytes(), type=Account)
