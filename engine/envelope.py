"""What surrounds a message on the wire: version, trace id, time of publication, then the body.

MessagePack of the array [version, trace_id, ts_published, body]; the body is the msgspec encoding of the
topic's type, in which a Decimal travels as its text and so survives exactly.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from engine.bus import Message, Topic
from engine.core.errors import CodecError

T = TypeVar("T")
VERSION: Final = 1
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

    def encode(self, body: T, trace_id: str, ts_published: int) -> bytes:
        """The bytes of one message; `ts_published` is engine time."""
        return _ENCODER.encode((VERSION, trace_id, ts_published, body))

    def decode(self, payload: bytes, message_id: str, deliveries: int = 1) -> Message[T]:
        """The message in `payload`. Without a trace id it is traced by its own id.

        Raises CodecError for bytes that are no envelope, for another version, for another body.
        """
        try:
            envelope = _ENVELOPES.decode(payload)
            if envelope.version != VERSION:
                raise CodecError(f"envelope version {envelope.version}, expected {VERSION}", payload)
            body = self._bodies.decode(envelope.body)
        except _UNREADABLE as error:
            raise CodecError(f"message does not decode: {error}", payload) from error
        return Message(message_id, body, envelope.trace_id or message_id, envelope.ts_published, deliveries)
