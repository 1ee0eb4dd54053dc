"""Avro's int and long: zigzag, seven bits in a byte, lowest bits first (Avro 1.12 specification, "Binary encoding")."""


def varint(value: int) -> bytes:
    """`value`, which must fit an int64, as Avro encodes it."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)
