"""Builds pickles by hand, opcode by opcode, as an attacker would."""

import struct
from typing import Any

Code = bytes


def text(value: str) -> Code:
    """Return code that pushes a string."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def constant(value: Any) -> Code:
    """Return code that pushes a plain value."""
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
    """Return code that pushes what a module names, dotted or not."""
    return text(module) + text(name) + b"\x93"


def items(*values: Code) -> Code:
    """Return code that pushes a tuple."""
    return b"(" + b"".join(values) + b"t"


def mapping(**values: Code) -> Code:
    """Return code that pushes a dictionary with these keys."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def called(function: Code, *arguments: Code) -> Code:
    """Return code that calls the function (REDUCE)."""
    return function + items(*arguments) + b"R"


def made(kind: Code, *arguments: Code) -> Code:
    """Return code that makes an instance (NEWOBJ)."""
    return kind + items(*arguments) + b"\x81"


def built(value: Code, state: Code) -> Code:
    """Return code that sets the value's state (BUILD)."""
    return value + state + b"b"


def altered(value: Code, **attributes: Code) -> Code:
    """Return code that sets attributes with BUILD, which works on classes and functions, too."""
    return built(value, items(b"N", mapping(**attributes)))


def program(code: Code) -> Code:
    """Return the whole pickle."""
    return b"\x80\x05" + code + b"."
