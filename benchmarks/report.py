"""Format claims for a terminal and for a page."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from benchmarks.claims import Claim

HEAD = ["", "measured", "lowest .. highest", "target", ""]

PAGE = """\
# Benchmarks

`make bench` measured this; `python -m benchmarks --only kafka --write docs/benchmarks.md` measures one part anew.
A ratio compares two things measured in turn in the same run, each in a process of its own and never two
at once; it is the median over the rounds, with the extremes beside it. Work: river's Phishing features as
JSON, `StandardScaler | LogisticRegression`. The bare loop is `predict_one`, accuracy, ADWIN and `learn_one`
on dictionaries that are already decoded.

"""


def table(title: str, claims: Sequence[Claim]) -> str:
    """Return the claims as columns for a terminal."""
    rows = [HEAD, *(claim.row() for claim in claims)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"  {claim.name}: {claim.note}" for claim in claims if claim.note]
    return "\n".join([f"\n{title}", *lines, *notes])


def listed(machine: Mapping[str, str]) -> str:
    """Return one line per fact about the machine."""
    return "\n".join(f"{name:20} {value}" for name, value in machine.items())


def page(before: str, machine: Mapping[str, str], found: Mapping[str, Sequence[Claim]], *, events: int) -> str:
    """Return a Markdown page; sections that were not measured this time are taken from the page `before`."""
    sections = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", before, re.MULTILINE | re.DOTALL))
    for name, claims in found.items():
        sections[name.capitalize()] = _section(claims, events=events)
    facts = "\n".join(_row(pair) for pair in (("", ""), ("---", "---"), *machine.items()))
    sections.pop("Machine", None)
    return (
        PAGE
        + "\n".join(f"## {name}\n{text.rstrip()}\n" for name, text in sections.items())
        + (f"\n## Machine\n\nOf the part that was measured last.\n\n{facts}\n")
    )


def _section(claims: Sequence[Claim], *, events: int) -> str:
    rows = "\n".join(_row(claim.row()) for claim in claims)
    notes = "".join(f"\n\n{claim.name}: {claim.note}." for claim in claims if claim.note)
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {events:,} events."
    return f"\n{when}\n\n{_row(HEAD)}\n{_row(['---'] * len(HEAD))}\n{rows}{notes}\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
