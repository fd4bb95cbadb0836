"""Data frames to whoever reads their subscription, told by the bytes of `arg` without parsing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from engine.core.errors import CodecError
from engine.exchange.okx.frames import Arg, Event, classify, push_arg

FrameReader = Callable[[bytes, int], None]  # a data frame and when it was received; raises CodecError
HEAD: Final = 64  # bytes of a frame that hold its `arg` and as little of its data as may be
_MOST_HEADS: Final = 4096


class Dispatch:
    """The frames of one connection that are plain data.

    `reader` finds who reads a subscription, and raises CodecError where nobody does; it is asked once for
    each. `bad` is told of what did not parse, with its channel.
    """

    def __init__(self, reader: Callable[[Arg], FrameReader], bad: Callable[[str, CodecError], None]) -> None:
        self._reader, self._bad = reader, bad
        self._readers: dict[bytes, FrameReader] = {}  # by the first HEAD bytes, where these hold `arg`

    def take(self, frames: list[bytes], begin: int, ts_recv: int) -> int:
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
                arg = push_arg(frame)
                self._bad("" if arg is None else arg.channel, error)
        return len(frames)

    def _learn(self, frame: bytes) -> FrameReader | None:
        """The reader of a frame that begins like none before; None: it is no data as OKX writes it."""
        arg = push_arg(frame)
        if arg is None:
            return None
        read = self._reader(arg)
        if b"}" in frame[:HEAD]:
            if len(self._readers) >= _MOST_HEADS:
                self._readers.clear()
            self._readers[frame[:HEAD]] = read
        return read


def _is_event(frame: bytes) -> bool:
    try:
        return isinstance(classify(frame), Event)
    except CodecError:
        return False
