"""Look-ups of pending keys come in few different lengths."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from service.storage.checkpoints.pending import MAX_KEYS_PER_QUERY, key_batches


@given(st.integers(0, 3 * MAX_KEYS_PER_QUERY))
def test_nothing_is_asked_that_was_not_given(count: int) -> None:
    """All keys are looked up, and no others, none of them in a statement that is too long."""
    keys = [b"i%d" % number for number in range(count)]
    found = list(key_batches(keys))
    assert set(chain.from_iterable(found)) == set(keys)
    assert max(map(len, found), default=0) <= MAX_KEYS_PER_QUERY


def test_statements_do_not_pile_up() -> None:
    """However many keys are looked up, a connection prepares a dozen statements, not one for every number."""
    lengths = {len(some) for count in range(2 * MAX_KEYS_PER_QUERY) for some in key_batches([b"k"] * count)}
    assert len(lengths) <= 12
