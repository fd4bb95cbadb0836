"""Data frames to whoever reads their channel. A data frame is told by its first bytes, without parsing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from engine.core.errors import CodecError
from engine.exchange.okx.frames import HEAD, Event, classify, push_channel

FrameReader = Callable[[bytes, int], None]  # a data frame and when it was received; raises CodecError
_MOST_HEADS: Final = 4096


class Dispatch:
    """The frames of one connection that are plain data.

    `reader` finds who reads a channel, and raises CodecError where nobody does; it is asked once for each
    beginning of a frame, which names channel and symbol. `bad` is told of what did not parse.
    """

    def __init__(self, reader: Callable[[str], FrameReader], bad: Callable[[str, CodecError], None]) -> None:
        self._reader, self._bad = reader, bad
        self._readers: dict[bytes, FrameReader] = {}  # by the first HEAD bytes

    def take(self, frames: Sequence[bytes], begin: int, ts_recv: int) -> int:
        """Hand over frames from number `begin` on; the number of the first one that is no plain data."""
        readers = self._readers
        for at in range(begin, len(frames)):
            frame = frames[at]
            try:
                read = readers.get(frame[:HEAD])
                if read is None:
                    read = self._learn(frame)
                    if read is None:
                        return at
                read(frame, ts_recv)
            except CodecError as error:
                if _is_event(frame):
                    return at
                self._bad(push_channel(frame) or "", error)
        return len(frames)

    def _learn(self, frame: bytes) -> FrameReader | None:
        """The reader of a frame that begins like none before; None: it is no data as OKX writes it."""
        channel = push_channel(frame)
        if channel is None:
            return None
        read = self._reader(channel)
        if len(self._readers) < _MOST_HEADS:
            self._readers[frame[:HEAD]] = read
        return read


def _is_event(frame: bytes) -> bool:
    try:
        return isinstance(classify(frame), Event)
    except CodecError:
        return False
