"""What a CSV cell says: one rule for the stream that is learned and for the requests that are predicted."""

from collections.abc import Mapping

from service.domain.stream.events import Scalar

LONGEST_INTEGER = 400
"""Longer rows of digits are read as a float, which is infinite: Python refuses to convert integers without a bound."""
_WORDS: Mapping[str, Scalar] = {"true": True, "false": False, "": None}


def cell_value(text: str) -> Scalar:
    """Return a number, True or False, None for an empty cell, or the text as it stands.

    Numbers are written in ASCII, as JSON has them: Python also takes digits of other scripts, and underscores, for
    parts of a number. Blanks around a number or a word do not count. `nan` and `inf` are floats, to be refused.
    """
    cell = text.strip()
    try:
        number = float(cell)
    except ValueError:
        return _WORDS.get(cell.lower(), text)
    if not cell.isascii() or "_" in cell:
        return text
    return int(cell) if _is_integer(cell) else number


def _is_integer(cell: str) -> bool:
    """Return whether a number has nothing but digits behind its sign."""
    digits = cell[1:] if cell[0] in "+-" else cell
    return digits.isdigit() and len(digits) <= LONGEST_INTEGER
