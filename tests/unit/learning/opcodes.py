"""Pickles put together by hand, opcode by opcode, as an attacker would."""

import struct
from typing import Any

Code = bytes


def text(value: str) -> Code:
    """A string."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def constant(value: Any) -> Code:
    """A plain value."""
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    return text(value)


def named(module: str, name: str) -> Code:
    """What a module names, dotted or not."""
    return text(module) + text(name) + b"\x93"


def items(*values: Code) -> Code:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def mapping(**values: Code) -> Code:
    """A dictionary with these keys."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def called(function: Code, *arguments: Code) -> Code:
    """REDUCE."""
    return function + items(*arguments) + b"R"


def made(kind: Code, *arguments: Code) -> Code:
    """NEWOBJ."""
    return kind + items(*arguments) + b"\x81"


def built(value: Code, state: Code) -> Code:
    """BUILD."""
    return value + state + b"b"


def altered(value: Code, **attributes: Code) -> Code:
    """BUILD with attributes to be set, which works on classes and functions, too."""
    return built(value, items(b"N", mapping(**attributes)))


def program(code: Code) -> Code:
    """The whole pickle."""
    return b"\x80\x05" + code + b"."
