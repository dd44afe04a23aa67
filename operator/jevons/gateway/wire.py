"""The one message that every request needs, in protobuf's wire format, written by hand.

A `ProcessingResponse` with forty metadata fields is some hundred protobuf objects; joined bytes cost a fraction of their time.
Everything else (refusals, model lists) goes through the generated classes, and a property test holds this module against them. Numbers are those
of Envoy's and Google's .proto files, which never change their meaning.

Lengths are far below the 2 GiB that a field may have; names and values are text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct

_DOUBLE = Struct("<d")
_OVERWRITE = b"\x18\x02"
"""HeaderValueOption.append_action (3) = OVERWRITE_IF_EXISTS_OR_ADD."""


def routed(body: bytes, metadata: Mapping[str, Mapping[str, object]]) -> bytes:
    """A ProcessingResponse to a request body: the body as it goes on with its length, and dynamic metadata by namespace.

    Metadata values are str, bool, int or float (all numbers are doubles on the wire).
    """
    length = field(1, field(1, _LENGTH + field(3, b"%d" % len(body))) + _OVERWRITE)  # HeaderMutation.set_headers: a HeaderValueOption
    common = field(2, length) + field(3, field(1, body))  # CommonResponse: header_mutation, body_mutation
    return field(3, field(1, common)) + field(8, _struct(metadata))  # request_body.response, dynamic_metadata


def field(number: int, payload: bytes) -> bytes:
    """One length-delimited field; `number` below 16. Example: number 1 and b"a" give the bytes 0a 01 61."""
    size = len(payload)
    if size < 128:
        return bytes((number << 3 | 2, size)) + payload
    return bytes((number << 3 | 2,)) + _varint(size) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _struct(metadata: Mapping[str, Mapping[str, object]]) -> bytes:
    return b"".join([_entry(name, field(5, b"".join([_pair(*pair) for pair in values.items()]))) for name, values in metadata.items()])


def _entry(name: str, value: bytes) -> bytes:
    """Struct.fields: a map entry of key and Value."""
    return field(1, _key(name) + field(2, value))


@lru_cache(maxsize=2048, typed=True)
def _pair(name: str, value: object) -> bytes:
    """An entry of a name and a plain value; most are those of the request before. Typed: 1, 1.0 and True are equal and yet not the same value."""
    return _entry(name, _value(value))


def _value(value: object) -> bytes:
    """google.protobuf.Value."""
    if isinstance(value, str):
        return field(3, value.encode())
    if isinstance(value, bool):
        return b"\x20\x01" if value else b"\x20\x00"
    if isinstance(value, int | float):
        return b"\x11" + _DOUBLE.pack(value)
    raise TypeError(f"{type(value).__name__} is no metadata value")


@lru_cache(maxsize=256)
def _key(name: str) -> bytes:
    """Field 1 of a map entry or of a HeaderValue: one of our own few names."""
    return field(1, name.encode())


_LENGTH = _key("content-length")
