"""`edgewise model-server`: a stand-in for a language model, made of rules, or a very small real one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.startup import fail_clearly

_RULES_PORT = 8643
_LOCAL_PORT = 8644


def model_server(
    port: Annotated[
        int | None,
        typer.Option(help="Port; 0 takes a free one. 8643, or 8644 with --local.", min=0, max=65535),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    local: Annotated[
        bool,
        typer.Option("--local", help="Serve a real, very small model (extra local-model)."),
    ] = False,
    weights: Annotated[Path | None, typer.Option(help="Another model for --local, as a GGUF file.")] = None,
) -> None:
    """Serve an OpenAI-compatible endpoint whose answers come from rules: no language model is behind it.

    Traders with `model: demo` use it by default. A model name with faults (`rules-only-demo+nan`,
    `rules-only-demo+slow:5`) makes it misbehave on purpose. With --local a real model answers, for traders
    with `model: local`: it needs no key and no network, and its judgement is worthless.
    """
    from engine.core.errors import ConfigError

    with fail_clearly():
        if weights is not None and not local:
            raise ConfigError("--weights names a model for --local: give both")
        if local:
            _serve_local(host, _LOCAL_PORT if port is None else port, weights)
        else:
            _serve_rules(host, _RULES_PORT if port is None else port)


def _serve_rules(host: str, port: int) -> None:
    from engine.modelserver.rules import MODEL
    from engine.modelserver.serve import serve

    def ready(url: str) -> None:
        print(f"model-server ready: {url} ({MODEL}: rules, no language model)", flush=True)

    asyncio.run(serve(host, port, ready))


def _serve_local(host: str, port: int, weights: Path | None) -> None:
    from engine.modelserver.local import NOTICE, serve

    def ready(url: str) -> None:
        print(f"model-server ready: {url} ({NOTICE})", flush=True)

    serve(host, port, weights, ready)
