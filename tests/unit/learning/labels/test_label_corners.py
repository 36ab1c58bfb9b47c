"""Label outcomes do not depend on where runs or commits fall, in cases where they once did."""

from collections.abc import Sequence
from typing import Any

import pytest

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Event, Features, Label, LabelRecord
from service.learning.labels.recent_labels import RecentLabels
from tests.unit.learning.engine.test_delayed_labels import LOGISTIC, copies, learn, spec_of

DAY_MS = 86_400_000


def event(offset: int, key: int | str, **others: Any) -> Event:
    """Return an event whose one feature is its offset."""
    return Event(offset, key, others.pop("ts", offset), {"a": float(offset)}, **others)


def outcomes(spec: ModelSpec, records: Sequence[Event | LabelRecord], sizes: Sequence[int]) -> tuple[Any, Any]:
    """Return label outcomes and counts, with a commit after each run."""
    anew = [
        one if isinstance(one, LabelRecord) else event(one.offset, one.id, ts=one.ts, weight=one.weight)
        for one in records
    ]
    learner, _ = learn(spec, anew, sizes=sizes, commit_every=1)
    return learner.labels(), +learner.counts


def test_an_id_that_comes_again_while_its_first_event_waits() -> None:
    """A label is learned once, also where the first event's row lies in the registry."""
    spec = spec_of("binary", LOGISTIC, dedupe={"events": 2})
    records = [
        event(0, 1),
        event(1, 2),
        event(2, 3),
        event(3, 1),
        LabelRecord(4, 1, 4, y=True),
        LabelRecord(5, 1, 5, y=True),
    ]
    assert outcomes(spec, records, [1000]) == outcomes(spec, records, [3, 2, 1])


def test_a_weight_that_the_estimator_does_not_take() -> None:
    """The label of a refused event waits, in the same run or another."""
    spec = spec_of("binary", ["preprocessing.StandardScaler", "linear_model.PAClassifier"])
    records = [event(0, 1, weight=2.0), LabelRecord(1, 1, 1, y=True)]
    assert outcomes(spec, records, [1000]) == outcomes(spec, records, [1])


class Refusing:
    """An estimator that raises when it predicts one event."""

    def predict_one(self, x: Features) -> Label:
        """Raise for 13, else predict True."""
        if x["a"] == 13.0:
            raise ValueError
        return True

    def learn_one(self, x: Features, y: Label) -> None:
        """Accept anything."""


@pytest.mark.parametrize("sizes", [[1000], [1], [14, 1]])
def test_an_event_that_cannot_be_predicted(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is refused, and its label waits as if the event had not come."""
    monkeypatch.setattr(
        "tests.unit.learning.engine.test_delayed_labels.build_estimator",
        lambda _spec: (Refusing(), frozenset({(__name__, "Refusing")})),
    )
    spec = spec_of("binary", LOGISTIC)
    records = [*(event(n, n) for n in range(14)), LabelRecord(14, 13, 14, y=True), LabelRecord(15, 5, 15, y=True)]
    labels, counts = outcomes(spec, records, sizes)
    assert (labels["joined"], labels["early"], labels["waiting"], labels["pending"]) == (1, 1, 1, 12)
    assert counts == {"predicted": 13, "learned": 1, "dead": 1}


def test_what_was_settled_survives_a_restart() -> None:
    """Restored recent labels keep their ages, also where a newer label of the same id has left a gap."""
    first = RecentLabels(4)
    for key in ("b", "a", "c", "a"):
        first.add(key, y=True)
    second = RecentLabels(4, first.state())
    for one in (first, second):
        one.add("d", y=True)
    assert first.get("b") == second.get("b")


def test_most_that_may_wait_is_obeyed_wherever_runs_end() -> None:
    """Labels that begin to wait inside a run count against `pending.events` too."""
    records: list[Event | LabelRecord] = [Event(n, f"x{n}", DAY_MS, {"a": 1.0}, y=True) for n in range(64)]
    records += [LabelRecord(64 + n, f"e{n}", DAY_MS - 3_000_000, y=True) for n in range(10)]
    records += [Event(74 + n, n, DAY_MS, {"a": 1.0}) for n in range(64)]
    spec = spec_of("binary", LOGISTIC, pending={"events": 70}, label_ttl=86_400)
    one, _ = learn(spec, copies(records), sizes=[64, 74], commit_every=1)
    other, _ = learn(spec, copies(records), sizes=[64, 1], commit_every=1)
    assert one.labels() == other.labels()
