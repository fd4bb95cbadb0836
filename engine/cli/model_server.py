"""`edgewise model-server`: a stand-in for a language model, made of rules."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer


def model_server(
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8643,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve an OpenAI-compatible endpoint whose answers come from rules: no language model is behind it.

    Traders with `model: demo` use it by default. A model name with faults (`rules-only-demo+nan`,
    `rules-only-demo+slow:5`) makes it misbehave on purpose.
    """
    from engine.modelserver.rules import MODEL
    from engine.modelserver.serve import serve

    def ready(url: str) -> None:
        print(f"model-server ready: {url} ({MODEL}: rules, no language model)", flush=True)

    try:
        asyncio.run(serve(host, port, ready))
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error.strerror}", file=sys.stderr)
        raise typer.Exit(1) from error
