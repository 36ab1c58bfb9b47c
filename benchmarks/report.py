"""Claims as a terminal and as a page show them."""

from collections.abc import Mapping, Sequence

from benchmarks.claims import Claim

HEAD = ["", "measured", "lowest .. highest", "target", ""]

PAGE = """\
# Benchmarks

`make bench` measured this. A ratio compares two things measured in turn in the same run, each in a
process of its own and never two at once; it is the median over the rounds, with the extremes beside
it. Work: {events:,} events of river's Phishing features as JSON, `StandardScaler | LogisticRegression`.
The bare loop is `predict_one`, accuracy, ADWIN and `learn_one` on dictionaries that are already
decoded.

{machine}
"""


def table(title: str, claims: Sequence[Claim]) -> str:
    """Columns for a terminal."""
    rows = [HEAD, *(claim.row() for claim in claims)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"  {claim.name}: {claim.note}" for claim in claims if claim.note]
    return "\n".join([f"\n{title}", *lines, *notes])


def listed(machine: Mapping[str, str]) -> str:
    """One line a fact."""
    return "\n".join(f"{name:20} {value}" for name, value in machine.items())


def page(machine: Mapping[str, str], found: Mapping[str, Sequence[Claim]], *, events: int) -> str:
    """A Markdown page."""
    parts = [
        PAGE.format(
            events=events, machine="\n".join(_row(pair) for pair in (("", ""), ("---", "---"), *machine.items()))
        )
    ]
    for name, claims in found.items():
        rows = "\n".join(_row(claim.row()) for claim in claims)
        notes = "".join(f"\n\n{claim.name}: {claim.note}." for claim in claims if claim.note)
        parts.append(f"## {name.capitalize()}\n\n{_row(HEAD)}\n{_row(['---'] * len(HEAD))}\n{rows}{notes}\n")
    return "\n".join(parts)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
