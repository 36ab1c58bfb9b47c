"""States come back as they were, and corrupted ones raise nothing but ArtifactError."""

import functools
import random
import resource
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from river import compose, datasets, drift, linear_model, metrics, preprocessing

from service.errors import ArtifactError
from service.learning.pickling import codec


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit memory to four gigabytes, because random opcodes may ask for any amount."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@settings(max_examples=150, deadline=None)
@given(
    np_st.arrays(
        st.sampled_from(["f8", "f4", "i8", "u2", "?", "U3", "S4", "c16", "M8[s]"]),
        np_st.array_shapes(min_dims=0, min_side=0),
    )
)
def test_arrays_survive(value: Any) -> None:
    """Type, shape, layout and bytes of an array come back, and it can be written to."""
    for one in (value, value.T, value[..., ::2] if value.ndim else value):
        found = codec.loads(codec.dumps(one))
        assert (found.dtype, found.shape) == (one.dtype, one.shape)
        assert found.tobytes() == one.tobytes()
        assert found.flags.writeable
        assert found.flags.f_contiguous == one.flags.f_contiguous or not one.flags.contiguous


def test_arrays_of_objects_survive() -> None:
    """An array that holds objects comes back with them, in its shape."""
    value = np.array([["a", None, [1]], [2.5, {"b": 1}, (3,)]], dtype=object)
    found = codec.loads(codec.dumps(value))
    assert found.shape == (2, 3)
    assert found.tolist() == value.tolist()


@pytest.mark.parametrize("value", [np.float64(0.1), np.int64(-3), np.bool_(True), np.str_("né"), np.float32(0.1)])
def test_scalars_survive(value: Any) -> None:
    """NumPy's scalars keep value and type."""
    found = codec.loads(codec.dumps(value))
    assert (type(found), found) == (type(value), value)


def test_random_generators_go_on_where_they_were() -> None:
    """Old and new generators draw the same numbers after they were written and read."""
    old, new, plain = np.random.RandomState(3), np.random.default_rng(3), random.Random(3)
    old.normal()
    new.integers(10, dtype=np.uint8)
    plain.gauss(0, 1)
    one, other, third = codec.loads(codec.dumps((old, new, plain)))
    assert one.normal(size=700).tolist() == old.normal(size=700).tolist()
    assert other.normal(size=7).tolist() == new.normal(size=7).tolist()
    assert other.integers(10, dtype=np.uint8) == new.integers(10, dtype=np.uint8)
    assert third.gauss(0, 1) == plain.gauss(0, 1)


def test_partials_survive_twice() -> None:
    """A partial over a listed class can be read, called, written and read again."""
    value = functools.partial(linear_model.LogisticRegression, l2=0.5)
    found = codec.loads(codec.dumps(codec.loads(codec.dumps(value))))
    assert isinstance(found, functools.partial)
    assert found().l2 == 0.5


def trained() -> Any:
    """Return a model with some state."""
    model = compose.Pipeline(preprocessing.StandardScaler(), linear_model.PAClassifier())
    for x, y in islice(datasets.Phishing(), 50):
        model.learn_one(x, y)
    return {"model": model, "drift": drift.ADWIN(), "metric": metrics.RollingROCAUC()}


GOOD = codec.dumps(trained())


def test_a_good_state_is_read() -> None:
    """A restored model predicts as before."""
    model, found = trained()["model"], codec.loads(GOOD)["model"]
    assert [found.predict_one(x) for x, _ in islice(datasets.Phishing(), 50)] == [
        model.predict_one(x) for x, _ in islice(datasets.Phishing(), 50)
    ]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_state_is_an_artifact_error(length: int) -> None:
    """However much is missing, the message says what to do."""
    with pytest.raises(ArtifactError, match="headrace registry verify"):
        codec.loads(GOOD[:length])


@pytest.mark.usefixtures("little_memory")
def test_random_bytes_raise_nothing_but_artifact_errors() -> None:
    """Random bytes, and good states with bytes changed, are read or refused and raise nothing else.

    Bytes that announce more than there is memory raise MemoryError, which says nothing against an artifact: no
    checkpoint is given up because of it.
    """

    @settings(max_examples=400, deadline=None)
    @given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda tail: b"\x80\x05" + tail), spoilt()))
    def holds(data: bytes) -> None:
        with suppress(MemoryError):
            _read(data)

    holds()


def spoilt() -> st.SearchStrategy[bytes]:
    """Return the good state with some bytes changed."""
    places = st.dictionaries(st.integers(0, len(GOOD) - 1), st.integers(0, 255), min_size=1, max_size=4)
    return places.map(lambda changes: bytes(changes.get(at, byte) for at, byte in enumerate(GOOD)))


def test_a_panic_of_compiled_code_is_an_artifact_error() -> None:
    """River's compiled detectors panic on corrupted state, which is no Exception; the caller sees an ArtifactError."""
    data = codec.dumps(drift.ADWIN())
    refused = 0
    for at in range(60, len(data) - 1):
        refused += not _read(data[:at] + b"\xff" + data[at + 1 :])
    assert refused > 10


def _read(data: bytes) -> bool:
    try:
        codec.loads(data)
    except ArtifactError:
        return False
    return True
