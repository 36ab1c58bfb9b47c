"""Positions, and runs of the order journal."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from service.domain.stream.events import TopicPartition
from service.domain.stream.position import OffsetRange, Position, merge_ranges

TOPICS = st.sampled_from(["a", "b.c", "ü"])
PARTITIONS = st.integers(0, 3)
POSITIONS = st.dictionaries(st.builds(TopicPartition, TOPICS, PARTITIONS), st.integers(0, 2**62)).map(Position)
RUNS = st.lists(
    st.builds(
        lambda topic, partition, first, length: OffsetRange(topic, partition, first, first + length),
        TOPICS,
        st.integers(0, 1),
        st.integers(0, 6),
        st.integers(0, 3),
    ),
    max_size=30,
)


def steps(runs: list[OffsetRange]) -> list[tuple[str, int, int]]:
    """Return every offset in the order of learning."""
    return [(run.topic, run.partition, offset) for run in runs for offset in range(run.first, run.last)]


@given(POSITIONS)
def test_json_and_back(position: Position) -> None:
    """A position survives its JSON form."""
    assert Position.from_json(position.to_json()) == position


@given(POSITIONS, POSITIONS)
def test_advancing(position: Position, other: Position) -> None:
    """The given partitions move, the others stay, the original is untouched."""
    before = dict(position.offsets)
    found = position.advanced(other.offsets)
    assert all(found.offsets[at] == offset for at, offset in other.offsets.items())
    assert all(found.offsets[at] == offset for at, offset in before.items() if at not in other.offsets)
    assert position.offsets == before


def test_the_short_form() -> None:
    """A position is readable in a message."""
    assert str(Position({TopicPartition("t", 1): 5, TopicPartition("t", 0): 3})) == "t[0]@3, t[1]@5"
    assert str(Position()) == "nowhere"


@given(RUNS)
def test_merging_keeps_the_order(runs: list[OffsetRange]) -> None:
    """Merged runs contain the same offsets in the same order."""
    assert steps(merge_ranges(runs)) == steps(runs)


@given(RUNS)
def test_merging_leaves_nothing_to_merge(runs: list[OffsetRange]) -> None:
    """No empty run stays, no two neighbours touch, and merging again changes nothing."""
    found = merge_ranges(runs)
    assert all(run.first < run.last for run in found)
    for one, other in itertools.pairwise(found):
        assert (one.topic, one.partition, one.last) != (other.topic, other.partition, other.first)
    assert merge_ranges(found) == found


@given(RUNS, st.integers(0, 30))
def test_merging_in_parts(runs: list[OffsetRange], border: int) -> None:
    """Merging gives the same result wherever commits cut the journal."""
    assert merge_ranges([*merge_ranges(runs[:border]), *merge_ranges(runs[border:])]) == merge_ranges(runs)
