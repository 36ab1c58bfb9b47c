"""Search spaces within expressions: their syntax, values and names."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.specification import search_spaces
from service.domain.specification.search_spaces import ChoiceSpace, FloatRange, IntRange, SearchSpace
from service.errors import SpecificationError

FLOATS = st.floats(min_value=1e-6, max_value=1e6)
PLAIN = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["tanh", "optim.losses.Log"])


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, Any]:
    """Return any range as a file has it."""
    kind = draw(st.sampled_from(["uniform", "log_uniform", "int", "log_int"]))
    values = st.integers(1, 40) if kind.endswith("int") else FLOATS
    low, high = sorted(draw(st.lists(values, min_size=2, max_size=2, unique=True)))
    step = [draw(st.integers(1, 50))] if kind == "int" and draw(st.booleans()) else []
    return {kind: [low, high, *step]}


def holders(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return any value that may hold spaces."""
    return (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["optim.SGD", "lr", "model"]), inner, max_size=3)
        | st.builds(lambda options: {"choice": options}, st.lists(inner, min_size=1, max_size=3))
    )


EXPRESSIONS = st.recursive(PLAIN | ranges(), holders, max_leaves=8)


def first(_name: str, space: SearchSpace) -> Any:
    """Pick the lowest number, or the first option."""
    return 0 if isinstance(space, ChoiceSpace) else space.low


@given(ranges())
def test_a_space_is_written_as_it_was_read(node: dict[str, Any]) -> None:
    """A space survives being written and read again."""
    found = search_spaces.parse_space(node, path="lr")
    assert found is not None
    assert search_spaces.parse_space(search_spaces.to_expression(found), path="lr") == found


@given(EXPRESSIONS, st.data())
def test_nothing_is_left_to_decide(node: Any, data: st.DataObject) -> None:
    """However spaces are decided, the resulting expression has none, and each decision is reported by name."""
    names = dict(search_spaces.iter_spaces(node, path="estimator"))

    def pick(name: str, space: SearchSpace) -> Any:
        assert names[name] == space
        if isinstance(space, ChoiceSpace):
            return data.draw(st.integers(0, len(space.options) - 1))
        if isinstance(space, IntRange):
            return data.draw(st.sampled_from(range(space.low, space.high + 1, space.step)))
        return data.draw(st.floats(space.low, space.high))

    found, decided = search_spaces.fill_spaces(node, path="estimator", pick=pick)
    assert list(search_spaces.iter_spaces(found, path="estimator")) == []
    assert decided.keys() <= names.keys()


@given(EXPRESSIONS)
def test_variants_try_every_option_and_both_ends(node: Any) -> None:
    """Variants have no spaces, are no more than options and ends together, and include both ends of every range."""
    found = search_spaces.covering_expressions(node, path="estimator")
    known = dict(search_spaces.iter_spaces(node, path="estimator"))
    leaves = sum(2 if not isinstance(one, ChoiceSpace) else len(one.options) for one in known.values())
    assert 1 <= len(found) <= max(1, leaves)
    assert all(list(search_spaces.iter_spaces(one.value, path="")) == [] for one in found)


@given(EXPRESSIONS)
def test_an_expression_without_spaces_is_one_expression(node: Any) -> None:
    """An expression has a count of one exactly if nothing is left to decide, and filling it changes nothing."""
    if not any(True for _ in search_spaces.iter_spaces(node, path="")):
        assert search_spaces.expression_count(node, path="") == 1
        assert search_spaces.fill_spaces(node, path="", pick=first) == (node, {})


WRITTEN = {
    "uniform": ({"uniform": [0, 1]}, FloatRange(0.0, 1.0)),
    "log_uniform": ({"log_uniform": [0.1, 10]}, FloatRange(0.1, 10.0, log=True)),
    "int": ({"int": [3, 12]}, IntRange(3, 12)),
    "int in steps": ({"int": [0, 100, 25]}, IntRange(0, 100, step=25)),
    "log_int": ({"log_int": [1, 1000]}, IntRange(1, 1000, log=True)),
    "choice": ({"choice": ["a", None]}, ChoiceSpace(("a", None))),
    "a class": ({"optim.SGD": {"lr": 0.1}}, None),
    "a mapping of the user's own": ({"spam": 2.0}, None),
    "a list": ([1, 2], None),
    "two keys": ({"int": [1, 2], "log_int": [1, 2]}, None),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_spaces_can_be_written(name: str) -> None:
    """Each kind of space has one form, and values that are no space are left alone."""
    node, space = WRITTEN[name]
    assert search_spaces.parse_space(node, path="p") == space


REFUSED = {
    "one end": ({"uniform": [1]}, "expected the lowest and the highest"),
    "ends the wrong way": ({"uniform": [0.1, 0.01]}, "the lower one first"),
    "equal ends": ({"int": [3, 3]}, "the lower one first"),
    "no numbers": ({"uniform": ["a", "b"]}, "expected the lowest and the highest"),
    "not finite": ({"uniform": [0, math.inf]}, "expected the lowest and the highest"),
    "a boolean": ({"int": [False, True]}, "expected the lowest and the highest"),
    "a logarithm of zero": ({"log_uniform": [0, 1]}, "expected ends above zero"),
    "a logarithm of zero in integers": ({"log_int": [0, 9]}, "expected ends above zero"),
    "integers that are none": ({"int": [1, 2.5]}, "expected integers"),
    "a step of nothing": ({"int": [1, 9, 0]}, "expected integers"),
    "nothing to choose": ({"choice": []}, "expected a list of options"),
    "a choice of one thing": ({"choice": "optim.SGD"}, "expected a list of options"),
    "a slip": ({"log_unifrom": [0.1, 1]}, "did you mean log_uniform?"),
    "within a choice": ({"choice": [1, {"optim.SGD": {"lr": {"uniform": [2, 1]}}}]}, r"p.choice\[1\].optim.SGD.lr: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_spaces_are_refused_where_they_stand(name: str) -> None:
    """A malformed space is refused with its place, what was found and what was expected."""
    node, message = REFUSED[name]
    with pytest.raises(SpecificationError, match=message):
        list(search_spaces.iter_spaces(node, path="p"))


def test_sizes_are_counted() -> None:
    """Counts of children multiply, counts of options add up, and a range of floats is infinite."""
    node = [{"a.B": {"n": {"int": [1, 10, 3]}, "m": {"choice": [1, {"int": [1, 2]}]}}}, 5]
    assert search_spaces.expression_count(node, path="") == 4 * 3
    assert search_spaces.expression_count([*node, {"uniform": [0, 1]}], path="") == math.inf


def test_a_variant_knows_where_it_came_from() -> None:
    """A place in an expression without spaces is mapped back to the option in the file."""
    node = [{"m.A": {"o": {"choice": ["x", {"o.B": {"loss": {"choice": [{"l.C": {"k": 1}}]}}}]}}}]
    found = search_spaces.covering_expressions(node, path="e")
    assert [one.value for one in found] == [
        [{"m.A": {"o": "x"}}],
        [{"m.A": {"o": {"o.B": {"loss": {"l.C": {"k": 1}}}}}}],
    ]
    assert found[1].original_path("e[0].m.A.o.o.B.loss.l.C.k") == "e[0].m.A.o.choice[1].o.B.loss.choice[0].l.C.k"
    assert found[0].original_path("e[0].m.A.other") == "e[0].m.A.other"
