"""A Valkey server that a test may kill."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import redis

from engine.embedded.valkey import find_binary


class Valkey:
    """A server that a test may kill and start again, with or without what it held."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{folder}/v.sock"
        self.client = redis.Redis.from_url(self.url, protocol=3)

    def start(self, *options: str) -> None:
        settings = ["--port", "0", "--unixsocket", f"{self._folder}/v.sock", "--dir", str(self._folder)]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._process = subprocess.Popen(
            [find_binary(), *settings, *durable, *options], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.client.ping()
            except redis.exceptions.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """What a restart on another machine's disk would be."""
        for path in sorted(self._folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
