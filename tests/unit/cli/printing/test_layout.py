"""Facts and tables fit the width and cut no word."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from service.cli.printing.layout import Column, facts, table

COLUMNS = (Column("id", right=True), Column("name"), Column("at", "at (UTC)", time=True), Column("reason"))
ROW = {"id": "1", "name": "phishing", "at": "2026-01-31 12:00 UTC, 3 min ago", "reason": "labels of a broken sensor"}
words = st.text(alphabet="abcdefghijklmnop-_.[]", min_size=1, max_size=30)
texts = st.lists(words, max_size=12).map(" ".join)


def printed(rows: list[dict[str, str]], *, width: int = 80) -> str:
    """Return the table as it is printed without a terminal."""
    out = Console(file=io.StringIO(), width=width)
    table(out, rows, COLUMNS)
    return out.file.getvalue()


def test_a_table_that_fits_is_one_line_a_row() -> None:
    """With enough room a row is one line, including how long ago a time was, without trailing spaces."""
    assert printed([ROW]).splitlines() == [
        "id  name      at (UTC)                     reason",
        " 1  phishing  2026-01-31 12:00, 3 min ago  labels of a broken sensor",
    ]


def test_a_time_is_broken_first() -> None:
    """With less room a time is broken before how long ago it was, then between day and hour."""
    assert printed([ROW], width=60).splitlines()[1:] == [
        " 1  phishing  2026-01-31 12:00  labels of a broken sensor",
        "              3 min ago",
    ]
    assert printed([ROW], width=46).splitlines()[2:] == [
        " 1  phishing  2026-01-31  labels of a broken",
        "              12:00       sensor",
        "              3 min ago",
    ]


def test_what_does_not_fit_is_one_below_the_other() -> None:
    """If not even that fits, each row is printed as facts."""
    assert printed([ROW], width=30).splitlines()[:2] == ["id        1", "name      phishing"]


@given(
    rows=st.lists(
        st.fixed_dictionaries({"id": words, "name": words, "at": st.just(ROW["at"]), "reason": texts}),
        min_size=1,
        max_size=3,
    ),
    width=st.integers(20, 100),
)
def test_no_word_is_cut(rows: list[dict[str, str]], width: int) -> None:
    """Every word of every cell is printed whole, whatever the width."""
    found = set(printed(rows, width=width).split())
    for row in rows:
        assert set(f"{row['id']} {row['name']} {row['reason']}".split()) <= found


@given(value=texts, width=st.integers(20, 100))
def test_facts_cut_no_word(value: str, width: int) -> None:
    """Facts cut no word either; a line exceeds the width only if a word does."""
    out = Console(file=io.StringIO(), width=width)
    facts(out, [("name", value)])
    lines = out.file.getvalue().splitlines()
    assert set(value.split()) <= set(" ".join(lines).split())
    longest = max(map(len, value.split()), default=0)
    assert all(len(line) <= width for line in lines) or longest > width - 6


@pytest.mark.parametrize("hostile", ["[bold]x[/bold]", "[/q]", "\\[red]"])
def test_markup_is_no_markup(hostile: str) -> None:
    """Markup in the data is printed as it is."""
    assert hostile in printed([{**ROW, "reason": hostile}])


def test_an_empty_column_is_left_out() -> None:
    """A column without a value takes no room."""
    assert "reason" not in printed([{**ROW, "reason": ""}])
