"""Decision files: one self-contained record a cycle, in files that need no database to be read.

A trader has a folder; in it are files of JSON lines, each line a zstd frame of its own, so that
`zstdcat FILE` shows them. Every record carries the hash of the one before it: a record that was changed,
taken out or put in breaks the chain. What became of a cycle's trade comes later, as a record of its own.

    {"n":7,"kind":"cycle","cycle_id":"…","ts":…,"prev":"<hash of 6>","hash":"…","body":{…}}
    hash = sha256(prev, n, kind, cycle_id, ts, one a line; then the bytes of body as they are in the file)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
import zstandard

_NAME: Final = "decisions-{:010}.jsonl.zst"  # the number of its first record
_PATTERN: Final = "decisions-*.jsonl.zst"
_ROTATE_BYTES: Final = 4 * 2**20
_LEVEL: Final = 9
_MAGIC: Final = b"\x28\xb5\x2f\xfd"


class RecordKind(StrEnum):
    CYCLE = "cycle"
    OUTCOME = "outcome"  # the trade that a cycle opened has ended


class FiledRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One link of a trader's chain. `ts` is engine time in ns; `body` is JSON."""

    n: int
    kind: RecordKind
    cycle_id: str
    ts: int
    prev: str
    hash: str
    body: msgspec.Raw

    def computed_hash(self) -> str:
        """What `hash` must be."""
        head = f"{self.prev}\n{self.n}\n{self.kind}\n{self.cycle_id}\n{self.ts}\n"
        return hashlib.sha256(head.encode() + bytes(self.body)).hexdigest()


class Broken(msgspec.Struct, frozen=True):
    """Why the rest of a file cannot be read. `offset`: how many bytes before it can.

    `torn`: the end is missing, as a crash leaves it.
    """

    path: Path
    offset: int
    why: str
    torn: bool = False


def link(before: FiledRecord | None, kind: RecordKind, cycle_id: str, ts: int, body: bytes) -> FiledRecord:
    """The record that follows `before`; None: the first one."""
    record = FiledRecord(
        n=before.n + 1 if before else 1,
        kind=kind,
        cycle_id=cycle_id,
        ts=ts,
        prev=before.hash if before else "",
        hash="",
        body=msgspec.Raw(body),
    )
    return msgspec.structs.replace(record, hash=record.computed_hash())


def files_in(folder: Path) -> list[Path]:
    """A trader's files, oldest first."""
    return sorted(folder.glob(_PATTERN))


def records_of(path: Path) -> Iterator[FiledRecord | Broken]:
    """The records of a file in order; at most one Broken, at its end."""
    data, offset = path.read_bytes(), 0
    while offset < len(data):
        frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            # Most frames are far smaller than the file: what follows one is not copied each time.
            end = data.find(_MAGIC, offset + len(_MAGIC))
            line = frame.decompress(data[offset : end if end > 0 else len(data)])
            while not frame.eof and end > 0:  # those four bytes may well be within a frame
                start, end = end, data.find(_MAGIC, end + len(_MAGIC))
                line += frame.decompress(data[start : end if end > 0 else len(data)])
            if not frame.eof:
                yield Broken(path, offset, "the last record was not written to its end", torn=True)
                return
            record = msgspec.json.decode(line, type=FiledRecord)
        except (zstandard.ZstdError, msgspec.MsgspecError) as error:
            yield Broken(path, offset, f"not readable: {error}")
            return
        yield record
        offset = (end if end > 0 else len(data)) - len(frame.unused_data)


class TraderFiles:
    """Appends to one trader's files. Blocks for a disk's moment: use it in a thread.

    Rule for full: the oldest file goes when all together are larger than `max_bytes`.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # prompts are nobody else's business
        self._path: Path | None = None  # the file that is written to
        self.last: FiledRecord | None = None
        self._open_last()

    def _open_last(self) -> None:
        """Go on in the newest file; a record that a crash left unfinished is cut off."""
        for path in reversed(files_in(self._folder)):
            for found in records_of(path):
                if isinstance(found, FiledRecord):
                    self.last, self._path = found, path
                elif found.torn:
                    os.truncate(path, found.offset)
                else:  # somebody was here: not a byte of it is touched
                    self._path = None
            if self.last is not None:
                return

    def append(self, record: FiledRecord) -> None:
        """Write the record that follows `last`, so that it survives a power cut.

        Raises OSError; nothing of it is there then.
        """
        path = self._path
        if path is None or path.stat().st_size >= _ROTATE_BYTES:
            path = self._folder / _NAME.format(record.n)
        line = msgspec.json.encode(record) + b"\n"
        frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(line)
        size = path.stat().st_size if path.exists() else 0
        try:
            with path.open("ab") as file:
                file.write(frame)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                os.truncate(path, size)
            raise
        self._path, self.last = path, record
        self._drop_oldest()

    def continue_after(self, record: FiledRecord) -> None:
        """Go on in a new file after a record that is not here any more: the gap shows for ever."""
        self.last, self._path = record, None

    def _drop_oldest(self) -> None:
        paths = files_in(self._folder)
        size = sum(path.stat().st_size for path in paths)
        for path in paths[:-1]:
            if size <= self._max_bytes:
                return
            size -= path.stat().st_size
            path.unlink()
