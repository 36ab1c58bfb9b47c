"""Types of CSV cells, by one rule for the learned stream and for prediction requests."""

from collections.abc import Mapping

from service.domain.stream.events import Scalar

LONGEST_INTEGER = 400
"""Longer rows of digits are read as a float, which is infinite, because Python limits how long an integer may be."""
_WORDS: Mapping[str, Scalar] = {"true": True, "false": False, "": None}


def cell_value(text: str) -> Scalar:
    """Return a number, True or False, None for an empty cell, or the unchanged text.

    Only ASCII numbers count, as in JSON; Python would also accept digits of other scripts and underscores. Blanks
    around a number or a word are ignored. `nan` and `inf` become floats, which the guard refuses.
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
    """Return whether a number consists of a sign, if any, and digits."""
    digits = cell[1:] if cell[0] in "+-" else cell
    return digits.isdigit() and len(digits) <= LONGEST_INTEGER
