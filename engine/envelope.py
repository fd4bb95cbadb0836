"""What surrounds a message on the wire: version, trace id, time of publication, then the body.

MessagePack of the array [version, trace_id, ts_published, body]; the body is the msgspec encoding of the
topic's type, in which a Decimal travels as its text and so survives exactly. Messages that are published
together share an envelope: its version is 2 and its body an array of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import msgspec

from engine.bus import Message, Topic
from engine.core.errors import CodecError

T = TypeVar("T")
VERSION: Final = 1
TOGETHER: Final = 2  # the version of an envelope around several messages
# msgspec lets the last two through, for text that is no UTF-8 and for values nested too deep.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """The wire form. `version` is raised when a body of an older version can no longer be read."""

    version: int
    trace_id: str
    ts_published: int
    body: msgspec.Raw


_ENCODER: Final = msgspec.msgpack.Encoder()
_ENVELOPES: Final = msgspec.msgpack.Decoder(Envelope)


class EnvelopeCodec(Generic[T]):
    """Messages of one topic as bytes and back."""

    def __init__(self, topic: Topic[T]) -> None:
        self._bodies: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(topic.type)
        self._together: msgspec.msgpack.Decoder[list[T]] = msgspec.msgpack.Decoder(list[topic.type])  # type: ignore[name-defined] # a type at run time

    def encode(self, body: T, trace_id: str, ts_published: int) -> bytes:
        """The bytes of one message; `ts_published` is engine time."""
        return _ENCODER.encode((VERSION, trace_id, ts_published, body))

    def encode_together(self, bodies: Sequence[T], trace_id: str, ts_published: int) -> bytes:
        """The bytes of several messages, in order."""
        return _ENCODER.encode((TOGETHER, trace_id, ts_published, bodies))

    def decode(self, payload: bytes, message_id: str, deliveries: int = 1) -> list[Message[T]]:
        """The messages in `payload`, in order; of several each has its number behind the id: `1-0.2`.

        Without a trace id a message is traced by its own id. Raises CodecError for bytes that are no
        envelope, for another version, for another body.
        """
        try:
            envelope = _ENVELOPES.decode(payload)
            trace_id, ts = envelope.trace_id, envelope.ts_published
            if envelope.version == VERSION:
                body = self._bodies.decode(envelope.body)
                return [Message(message_id, body, trace_id or message_id, ts, deliveries)]
            if envelope.version == TOGETHER:
                bodies = self._together.decode(envelope.body)
                ids = [f"{message_id}.{number}" for number in range(len(bodies))]
                return [
                    Message(each, body, trace_id or each, ts, deliveries)
                    for each, body in zip(ids, bodies, strict=True)
                ]
        except _UNREADABLE as error:
            raise CodecError(f"message does not decode: {error}", payload) from error
        raise CodecError(f"envelope version {envelope.version}, expected {VERSION} or {TOGETHER}", payload)
