"""Operations on orders of learning equal those on lists of single offsets."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from service.domain.stream.offset_ranges import (
    in_order_of,
    offset_count,
    overlaps,
    prefix_covering,
    remainder_after,
    starts_with,
    subtract_ranges,
    union_ranges,
)
from service.domain.stream.position import OffsetRange, merge_ranges

Offset = tuple[str, int, int]


def listed(runs: Sequence[OffsetRange]) -> list[Offset]:
    """Return every offset by itself."""
    return [(run.topic, run.partition, offset) for run in runs for offset in range(run.first, run.last)]


@st.composite
def a_run(draw: st.DrawFn) -> OffsetRange:
    """Return a short run of one of three partitions."""
    first = draw(st.integers(0, 30))
    return OffsetRange(
        draw(st.sampled_from(["a", "b"])), draw(st.integers(0, 1)), first, first + draw(st.integers(0, 8))
    )


@st.composite
def an_order(draw: st.DrawFn) -> list[OffsetRange]:
    """Return an order as a learner writes it: offsets of a partition ascend, with gaps, in any interleaving."""
    at = {("a", 0): 0, ("a", 1): 0, ("b", 0): 0}
    found = []
    for where in draw(st.lists(st.sampled_from(sorted(at)), max_size=12)):
        first = at[where] + draw(st.sampled_from([0, 0, 0, 2]))
        at[where] = first + draw(st.integers(0, 6))
        found.append(OffsetRange(*where, first, at[where]))
    return merge_ranges(found)


runs = st.lists(a_run(), max_size=8)


@given(an_order(), runs)
def test_leaving_out(order: list[OffsetRange], holes: list[OffsetRange]) -> None:
    """Excluded offsets are removed and the order stays; exclusions may overlap."""
    gone = set(listed(holes))
    left = subtract_ranges(order, holes)
    assert listed(left) == [one for one in listed(order) if one not in gone]
    assert overlaps(order, holes) is bool(gone & set(listed(order)))
    assert not overlaps(left, holes)
    assert offset_count(left) == len(listed(left))


@given(runs)
def test_union(found: list[OffsetRange]) -> None:
    """The union has every offset once, sorted, however the runs overlap."""
    assert listed(union_ranges(found)) == sorted(set(listed(found)))


@given(an_order(), st.data())
def test_a_beginning_is_found_by_what_it_has_learned(order: list[OffsetRange], data: st.DataObject) -> None:
    """The offsets of a beginning identify it; what follows is the remainder, and no other order begins so."""
    offsets = listed(order)
    cut = data.draw(st.integers(0, len(offsets)))
    learned = union_ranges([OffsetRange(*one, one[2] + 1) for one in offsets[:cut]])
    begun = prefix_covering(order, learned)
    assert listed(begun) == offsets[:cut]
    assert starts_with(order, begun)
    assert listed(remainder_after(order, begun)) == offsets[cut:]


@given(an_order(), an_order())
def test_beginning_with(order: list[OffsetRange], other: list[OffsetRange]) -> None:
    """One order begins with another if its first offsets are those of the other."""
    assert starts_with(order, other) is (listed(order)[: offset_count(other)] == listed(other))


@given(an_order(), st.data())
def test_offsets_without_a_record_do_not_matter(order: list[OffsetRange], data: st.DataObject) -> None:
    """A replay that did not see some offsets of its beginning continues behind the last that it saw."""
    offsets = listed(order)
    cut = data.draw(st.integers(0, len(offsets)))
    seen = [one for one in offsets[:cut] if data.draw(st.booleans())]
    done = merge_ranges(OffsetRange(*one, one[2] + 1) for one in seen)
    last = offsets.index(seen[-1]) + 1 if seen else 0
    assert listed(remainder_after(order, done)) == offsets[last:]


def test_a_dead_letter_learned_later_is_learned_again_at_its_place() -> None:
    """An offset that is twice in an order is two steps of it."""
    order = [OffsetRange("a", 0, 0, 100), OffsetRange("a", 0, 57, 58), OffsetRange("a", 0, 100, 200)]
    assert remainder_after(order, [OffsetRange("a", 0, 0, 100)]) == order[1:]
    assert remainder_after(order, [OffsetRange("a", 0, 0, 100), OffsetRange("a", 0, 57, 58)]) == order[2:]
    assert starts_with(order, order[:2])
    assert subtract_ranges(order, [OffsetRange("a", 0, 50, 60)]) == [
        OffsetRange("a", 0, 0, 50),
        OffsetRange("a", 0, 60, 200),
    ]


@given(an_order(), st.lists(a_run(), max_size=4))
def test_what_is_wanted_comes_in_the_order_of_another(order: list[OffsetRange], wanted: list[OffsetRange]) -> None:
    """Each wanted offset appears once, in the order of the first; partitions keep their own order."""
    found = listed(in_order_of(order, wanted))
    assert sorted(found) == sorted(set(listed(wanted)))
    both = [one for one in listed(order) if one in set(found)]
    assert [one for one in found if one in set(both)] == both
    for at in {one[:2] for one in found}:
        mine = [offset for *place, offset in found if tuple(place) == at]
        assert mine == sorted(mine)
