"""Duplicates within the window of accepted ids."""

from hypothesis import given
from hypothesis import strategies as st

from service.learning.learner.dedupe import IdDeduplicator

IDS = st.lists(st.one_of(st.integers(0, 12), st.sampled_from("123abc")), max_size=60)


def _by_definition(ids: list[int | str], window: int) -> list[bool]:
    accepted: list[int | str] = []
    found = []
    for one in ids:
        new = not window or one not in accepted[-window:]
        found.append(new)
        if new:
            accepted.append(one)
    return found


def _verdicts(dedupe: IdDeduplicator, ids: list[int | str]) -> list[bool]:
    fresh = dedupe.mark_new(ids)
    return [True] * len(ids) if fresh is None else fresh


@given(IDS, st.integers(0, 8), st.integers(1, 20))
def test_batches_of_any_size_follow_the_definition(ids: list[int | str], window: int, size: int) -> None:
    """An id is a duplicate exactly if it is among the last N accepted ids, through restores too."""
    dedupe = IdDeduplicator(window)
    found: list[bool] = []
    for start in range(0, len(ids), size):
        found += _verdicts(dedupe, ids[start : start + size])
        dedupe = IdDeduplicator.restore(window, dedupe.state())
    assert found == _by_definition(ids, window)


def test_a_number_is_not_its_spelling() -> None:
    """The integer 1 and the string 1 are two ids."""
    assert IdDeduplicator(10).mark_new([1, "1"]) is None


def test_a_smaller_window_keeps_the_newest() -> None:
    """Restoring with a smaller window forgets the oldest ids."""
    dedupe = IdDeduplicator(10)
    dedupe.mark_new([1, 2, 3])
    assert IdDeduplicator.restore(2, dedupe.state()).mark_new([1, 3]) == [True, False]
