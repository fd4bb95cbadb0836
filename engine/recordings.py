"""Files of recorded lines: plain, `.gz`, `.zst`, or a folder of `.jsonl.zst` that `RecordingFolder` wrote.

A `.zst` file is a row of blocks, each compressed for itself, each of whole lines. So a file that a crash
cut short loses at most its last block, and what of that block is still whole is read.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import IO, Final

import structlog
import zstandard

from engine.core.errors import ConfigError
from engine.core.times import NS_PER_MS, NS_PER_S
from engine.files import writing

_PATTERN: Final = "*.jsonl.zst"
_CHUNK: Final = 1 << 20
_LEVEL: Final = 6
log = structlog.get_logger()


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file, or of a folder's files one after the other. Raises ConfigError."""
    if path.is_dir():
        files = sorted(path.glob(_PATTERN))
        if not files:
            raise ConfigError(f"{path} holds no recording ({_PATTERN})")
        for file in files:
            yield from read_lines(file)
        return
    try:
        if path.suffix == ".zst":
            yield from _unpacked(path)
            return
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as text:
            yield from text
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no recording: neither text nor packed as its name says") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except (EOFError, zstandard.ZstdError) as error:
        raise ConfigError(f"{path} cannot be unpacked: {error}") from error


def _unpacked(path: Path) -> Iterator[str]:
    """Whole lines; a last block or line that was cut is left out, and said so."""
    left, block, lines = b"", None, 0
    with path.open("rb") as file:
        for data in iter(lambda: file.read(_CHUNK), b""):
            while data:
                block = block or zstandard.ZstdDecompressor().decompressobj()
                *whole, left = (left + block.decompress(data)).split(b"\n")
                for line in whole:
                    lines += 1
                    yield line.decode() + "\n"
                data, block = (block.unused_data, None) if block.eof else (b"", block)  # noqa: PLW2901
    if block is not None or left:
        log.warning("recording was cut short", file=str(path), lines=lines, bytes_lost=len(left))


class RecordingFolder:
    """Appends lines to the newest file of a folder; begins a new file with every process.

    A file is left for another after `rotate_ns`, or when it is `largest` bytes long. The folder holds at
    most `keep` bytes: full, its oldest files go first. For one process; blocking, from any of its threads.
    """

    def __init__(self, folder: Path, prefix: str, *, rotate_ns: int, largest: int, keep: int) -> None:
        self._folder, self._prefix = folder, prefix
        self._rotate_ns, self._largest, self._keep = rotate_ns, largest, keep
        self._packer = zstandard.ZstdCompressor(level=_LEVEL)
        self._file: IO[bytes] | None = None
        self._until_ns = 0
        self._lock = Lock()
        self.written = 0  # bytes on disk, by this process
        self.files = 0

    def append(self, lines: bytes, now_ns: int) -> None:
        """Write whole lines as one block; given to the system when this returns. Raises ConfigError."""
        with self._lock:
            with writing(self._folder):
                file = self._current(now_ns)
                block = self._packer.compress(lines)
                file.write(block)
                file.flush()
            self.written += len(block)

    def close(self) -> None:
        """Finish the file."""
        with self._lock:
            self._leave()

    def _leave(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _current(self, now_ns: int) -> IO[bytes]:
        if self._file is not None and now_ns < self._until_ns and self._file.tell() < self._largest:
            return self._file
        self._leave()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._forget()
        self._until_ns = now_ns - now_ns % self._rotate_ns + self._rotate_ns
        moment = datetime.fromtimestamp(now_ns // NS_PER_S, UTC)
        name = f"{self._prefix}-{moment:%Y%m%dT%H%M%S}.{now_ns // NS_PER_MS % 1000:03d}Z.jsonl.zst"
        self._file = (self._folder / name).open("ab")
        self.files += 1
        return self._file

    def _forget(self) -> None:
        """Make room for one more file."""
        files = sorted(self._folder.glob(f"{self._prefix}-{_PATTERN}"))
        room = self._keep - self._largest - sum(file.stat().st_size for file in files)
        while files and room < 0:
            oldest = files.pop(0)
            room += oldest.stat().st_size
            oldest.unlink()
            log.warning("oldest recording deleted", file=str(oldest))
