"""Monitors find what river's detectors find in any batches, and continue from where a checkpoint left them."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift, metrics

from service.domain.specification.monitor import MonitorSpec, MonitorState
from service.domain.stream.events import Task
from service.errors import SpecificationError
from service.learning.monitors import MonitorBatch, MonitorSet
from service.learning.pickling import codec

SHORT = {name: name for name in ("ADWIN", "KSWIN", "PageHinkley")}
BINARY = {"DDM": "DDM", "EDDM": "EDDM", "HDDM_A": "HDDMA", "HDDM_W": "HDDMW"}
HOLD = 300
ERRORS = [Random(number).random() < (0.1 if number // 700 % 2 else 0.6) for number in range(2000)]


def rivers(name: str) -> Any:
    """Return the plain detector, seeded as the monitor's is."""
    if name == "KSWIN":
        return drift.KSWIN(seed=5)
    return getattr(drift.binary, BINARY[name])() if name in BINARY else getattr(drift, name)()


def watching(name: str) -> MonitorSpec:
    """Return a monitor on the error."""
    detector: Any = {"KSWIN": {"seed": 5}} if name == "KSWIN" else name
    return MonitorSpec(name="errors", detector=detector, window=HOLD)


def monitors_of(*specs: MonitorSpec, task: Task = Task.BINARY) -> MonitorSet:
    """Return new monitors."""
    return MonitorSet(specs, task=task, seed=42)


def first_of_each(hits: Sequence[int]) -> list[int]:
    """Return the detections that do not belong to the drift before."""
    return [hit for before, hit in zip([-HOLD, *hits], hits, strict=False) if hit - before >= HOLD]


def wrong(errors: Sequence[bool]) -> MonitorBatch:
    """Return events with these errors."""
    return MonitorBatch([True] * len(errors), [not error for error in errors])


@pytest.mark.parametrize("name", [*SHORT, *BINARY])
@pytest.mark.parametrize("size", [7, 2000])
def test_signals_are_those_of_river(name: str, size: int) -> None:
    """A drift is signalled at the event at which river's own detector first detects it, in batches of any size."""
    plain, expected = rivers(name), []
    for index, error in enumerate(ERRORS):
        plain.update(error)
        if plain.drift_detected:
            expected.append(index)
    monitors, found = monitors_of(watching(name)), []
    for start in range(0, len(ERRORS), size):
        hits = monitors.update(wrong(ERRORS[start : start + size]), at_arrival=False)
        found += [start + hit.index for _, hit in hits]
    assert expected
    assert found == first_of_each(expected)
    assert monitors.report()[0]["signals"] == len(found)


@pytest.mark.parametrize("count", range(1, 2000, 97))
def test_state_is_that_of_river_after_any_event(count: int) -> None:
    """After any number of events, also when the last one signals, the detector's estimate and flag are river's."""
    plain, probe, hits = drift.ADWIN(), drift.ADWIN(), []
    for index, error in enumerate(ERRORS):
        probe.update(error)
        if probe.drift_detected:
            hits.append(index)
    count = hits[count % len(hits)] + 1 if count % 2 else count
    for error in ERRORS[:count]:
        plain.update(error)
    monitors = monitors_of(watching("ADWIN"))
    monitors.update(wrong(ERRORS[:count]), at_arrival=False)
    kept = monitors.objects()["detectors"]["errors"]["detector"]
    assert (kept.estimation, kept.width, kept.drift_detected) == (plain.estimation, plain.width, plain.drift_detected)


@pytest.mark.parametrize("name", ["KSWIN", "PageHinkley", *BINARY])
def test_a_detector_detects_where_its_value_passes_its_limit(name: str) -> None:
    """The shown value and threshold are what the detector compares, except that ADWIN compares many pairs."""
    spec = watching(name)
    for count in range(40, 1000, 53):
        monitors = monitors_of(spec)
        monitors.update(wrong(ERRORS[:count]), at_arrival=False)
        detector = monitors.objects()["detectors"]["errors"]["detector"]
        shown = monitors.report()[0]
        if shown["value"] is not None and shown["threshold"] is not None:
            falling = name in {"EDDM", "KSWIN"}
            passed = shown["value"] <= shown["threshold"] if falling else shown["value"] >= shown["threshold"]
            assert passed >= detector.drift_detected


def test_a_drift_ends_after_a_quiet_window() -> None:
    """The state is drift until a whole window of values has brought no detection."""
    monitors = monitors_of(watching("ADWIN"))
    errors = [False] * 500 + [True] * 200
    while not monitors.update(wrong(errors), at_arrival=False):
        errors = [True] * 32
    assert monitors.report()[0]["state"] == MonitorState.DRIFT
    for _ in range(40):
        monitors.update(wrong([True] * 32), at_arrival=False)
    assert monitors.report()[0]["state"] == MonitorState.QUIET


def stream(count: int, *, seed: int = 3) -> tuple[list[Any], ...]:
    """Return truths, labels, probabilities, ages and countries, all of which change in the middle."""
    rng = Random(seed)
    late = [number >= count // 2 for number in range(count)]
    truths = [rng.random() < (0.7 if one else 0.4) for one in late]
    chances = [min(max(rng.gauss(0.7 if truth else 0.3, 0.2), 0.0), 1.0) for truth in truths]
    chances = [1 - chance if one and rng.random() < 0.3 else chance for chance, one in zip(chances, late, strict=True)]
    labels = [chance > 0.5 for chance in chances]
    ages = [None if rng.random() < 0.02 else rng.gauss(50 if one else 40, 10) for one in late]
    countries = [rng.choice("abcxyz" if one else "abc") for one in late]
    return truths, labels, chances, ages, countries


ALL = [
    MonitorSpec(name="adwin", window=HOLD),
    MonitorSpec(name="ddm", detector="DDM", window=HOLD),
    MonitorSpec(name="error psi", metric="psi", threshold=0.1, window=200, reference={"events": 300}),
    MonitorSpec(name="age psi", on="feature:age", metric="psi", threshold=0.25, window=200, reference={"events": 300}),
    MonitorSpec(name="age ks", on="feature:age", metric="ks", threshold=0.2, window=200, reference={"events": 300}),
    MonitorSpec(name="age mean", on="feature:age", metric="mean_shift", threshold=0.5, window=200),
    MonitorSpec(name="age hinkley", on="feature:age", detector={"PageHinkley": {"threshold": 400}}, window=HOLD),
    MonitorSpec(name="country", on="feature:country", metric="psi", threshold=0.2, reference={"events": 300}),
    MonitorSpec(
        name="new", on="feature:country", metric="new_category_share", threshold=0.2, reference={"events": 300}
    ),
    MonitorSpec(
        name="said",
        on="prediction",
        metric="ks",
        threshold=0.2,
        window=200,
        reference={"events": 300, "after": 250},
    ),
    MonitorSpec(name="labels", on="label", metric="mean_shift", threshold=0.3, window=200, reference={"events": 300}),
    MonitorSpec(name="accuracy", on="metric:Accuracy", below=0.8, window=200),
    MonitorSpec(name="auc", on="metric:ROCAUC", below=0.85, window=200),
    MonitorSpec(name="loss", on="metric:LogLoss", above=0.8, window=200),
]
COLUMNS = stream(2400)


def batch_of(columns: Sequence[Sequence[Any]], start: int, end: int) -> MonitorBatch:
    """Return the events from `start` to before `end`."""
    truths, labels, chances, ages, countries = (column[start:end] for column in columns)
    values = {"age": ages, "country": countries}
    return MonitorBatch(truths, labels, chances, lambda name: values[name])


def fed(monitors: MonitorSet, borders: Sequence[int], *, first: int = 0) -> list[tuple[str, int, float]]:
    """Return every signal as monitor, event and value."""
    found = []
    for start, end in zip([first, *borders], borders, strict=False):
        batch = batch_of(COLUMNS, start, end)
        for at_arrival in (True, False):
            found += [(n, start + h.index, h.value) for n, h in monitors.update(batch, at_arrival=at_arrival)]
    return sorted(found)


WHOLE = monitors_of(*ALL)
EXPECTED = fed(WHOLE, [len(COLUMNS[0])])


def test_all_monitors_see_the_change() -> None:
    """All monitors signal after the middle, except the one whose reference is still being collected."""
    late = {name for name, event, _ in EXPECTED if event >= len(COLUMNS[0]) // 2}
    assert late == {spec.name for spec in ALL} - {"age mean"}
    assert next(one for one in WHOLE.report() if one["name"] == "age mean")["waits_for"].startswith("2,400 of 5,000")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 2399), max_size=12), st.integers(1, 2399))
def test_no_division_into_batches_changes_anything(borders: list[int], stop: int) -> None:
    """Signals, values and states are the same whatever the division, and whenever a checkpoint is restored."""
    ends = sorted({*borders, stop, len(COLUMNS[0])})
    monitors = monitors_of(*ALL)
    found = fed(monitors, [end for end in ends if end <= stop])
    kept = codec.loads(codec.dumps(monitors.objects()))
    again = MonitorSet.restore(ALL, task=Task.BINARY, seed=42, objects=kept)
    assert again.report() == monitors.report()
    found += fed(again, [end for end in ends if end > stop], first=stop)
    assert sorted(found) == EXPECTED
    assert again.report() == WHOLE.report()


def test_a_windowed_metric_is_rivers() -> None:
    """Accuracy, area and loss over the last events are those of river's metrics fed with just these."""
    truths, labels, chances = (column[-200:] for column in COLUMNS[:3])
    plain = {"accuracy": metrics.Accuracy(), "auc": metrics.ROCAUC(), "loss": metrics.LogLoss()}
    for truth, label, chance in zip(truths, labels, chances, strict=True):
        plain["accuracy"].update(truth, label)
        for name in ("auc", "loss"):
            plain[name].update(truth, {True: chance, False: 1 - chance})
    shown = {one["name"]: one["value"] for one in WHOLE.report()}
    assert {name: shown[name] for name in plain} == {name: one.get() for name, one in plain.items()}


def test_a_changed_monitor_begins_anew() -> None:
    """A monitor that watches something else now starts anew; new limits alone leave its state as it is."""
    kept = WHOLE.objects()
    moved = ALL[3].model_copy(update={"threshold": 0.5})
    other = ALL[4].model_copy(update={"window": 100})
    found = MonitorSet.restore([moved, other], task=Task.BINARY, seed=42, objects=kept).report()
    before = {one["name"]: one for one in WHOLE.report()}
    assert found[0]["value"] == before["age psi"]["value"]
    assert found[0]["threshold"] == 0.5
    assert found[1]["value"] is None


def test_the_state_is_bounded() -> None:
    """Ten thousand categories and a long stream leave a state of a few kilobytes."""
    spec = MonitorSpec(name="ids", on="feature:id", metric="psi", threshold=0.2, reference={"events": 20_000})
    monitors = monitors_of(spec)
    for start in range(0, 60_000, 1000):
        values = [f"user-{number}" for number in range(start, start + 1000)]
        monitors.update(MonitorBatch(feature_values={"id": values}.__getitem__), at_arrival=True)
    assert len(codec.dumps(monitors.objects())) < 40_000


@pytest.mark.parametrize("spec", [ALL[4], ALL[6]], ids=["ks", "PageHinkley"])
def test_strings_are_no_numbers(spec: MonitorSpec) -> None:
    """A monitor that needs numbers says so when it meets strings, and stays quiet; learning goes on."""
    monitors = monitors_of(spec)
    for _ in range(20):
        assert monitors.update(MonitorBatch(feature_values=lambda _: ["red"] * 100), at_arrival=True) == []
    shown = monitors.report()[0]
    assert "found strings in feature:age, expected numbers" in shown["problem"]
    assert shown["state"] == MonitorState.QUIET


def test_training_data_become_the_reference() -> None:
    """A monitor that refers to the champion's data gets its reference at once; others collect their own."""
    given_ = ALL[5]
    own = MonitorSpec(name="own", on="feature:age", metric="psi", threshold=0.2, reference={"events": 300})
    monitors = monitors_of(given_, own)
    assert monitors.set_references(batch_of(COLUMNS, 0, 1000)) == ["age mean"]
    monitors.update(batch_of(COLUMNS, 1200, 1450), at_arrival=True)
    shown = {one["name"]: one for one in monitors.report()}
    assert shown["age mean"]["value"] == pytest.approx(1.0, abs=0.3)
    assert shown["own"]["value"] is None
    assert monitors_of(given_).set_references(batch_of(COLUMNS, 0, 40)) == []


@pytest.mark.parametrize(
    ("given_", "task", "message"),
    [
        ({"detector": "DDM"}, Task.REGRESSION, "takes 0 and 1 only"),
        ({"on": "feature:age", "detector": "EDDM"}, Task.BINARY, "takes 0 and 1 only"),
        ({"on": "label", "detector": "ADWIN"}, Task.MULTICLASS, "which are no numbers"),
        ({"on": "prediction", "metric": "ks", "threshold": 0.1}, Task.MULTICLASS, "which are no numbers"),
        ({"on": "label", "metric": "new_category_share", "threshold": 0.1}, Task.BINARY, "which has no categories"),
        ({"on": "metric:Acuracy", "below": 0.1}, Task.BINARY, "did you mean Accuracy"),
        ({"on": "metric:F1", "below": 0.1}, Task.REGRESSION, "fits a regression task"),
        ({"detector": "drift.ADWINN"}, Task.BINARY, "did you mean drift.ADWIN"),
        ({"detector": {"drift.ADWIN": {"delt": 1}}}, Task.BINARY, "found no such parameter"),
        ({"detector": "linear_model.LogisticRegression"}, Task.BINARY, "expected a drift detector"),
    ],
)
def test_monitors_fit_the_task(given_: dict[str, Any], task: Task, message: str) -> None:
    """A monitor that does not fit the task is refused before anything is learned."""
    with pytest.raises(SpecificationError, match=message):
        monitors_of(MonitorSpec(name="one", **given_), task=task)


def test_a_state_of_the_last_release_is_read() -> None:
    """A checkpoint that holds bare detectors is continued."""
    detector = drift.ADWIN()
    for error in ERRORS[:50]:
        detector.update(error)
    objects = {"detectors": {"errors": detector}, "signals": {"errors": 3}}
    found = MonitorSet.restore([watching("ADWIN")], task=Task.BINARY, seed=42, objects=objects).report()[0]
    assert (found["value"], found["signals"]) == (detector.estimation, 3)
