"""`python -m benchmarks.false_alarms`: print how often each monitor signals if nothing changes, as Markdown."""

from collections.abc import Mapping
from random import Random
from typing import Any

from service.domain.specification.monitor import MonitorSpec
from service.domain.stream.events import Task
from service.learning.monitors import MonitorBatch
from service.learning.monitors.false_alarms import CalibrationSettings, MonitoredModel, RecordedBatch, calibrate_monitor

RECORDED, SEED = 100_000, 42
WRONG = 0.1
TRIAL = CalibrationSettings(events=200_000, target=100_000, seed=SEED)
MONITORS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"detector": name} for name in ("ADWIN", "DDM", "EDDM", "HDDM_A", "HDDM_W", "PageHinkley", "KSWIN")},
    "KSWIN on numbers": {"on": "feature:x", "detector": "KSWIN"},
    "psi": {"on": "feature:x", "metric": "psi", "threshold": 0.1},
    "ks": {"on": "feature:x", "metric": "ks", "threshold": 0.05},
    "mean_shift": {"on": "feature:x", "metric": "mean_shift", "threshold": 0.1},
    "Accuracy": {"on": "metric:Accuracy", "below": 0.88},
}


def main() -> None:
    """Print one row per monitor, with river's defaults or a rather loose threshold."""
    history = _history()
    print("| monitor | limit | false alarms in 100,000 events | share of the time in drift | at most one |")
    print("|---|---|---|---|---|")
    for name, given in MONITORS.items():
        spec = MonitorSpec(name=name, **given)
        one = calibrate_monitor(spec, history, model=MonitoredModel(Task.BINARY, SEED), settings=TRIAL)
        limit, suggested = (f"`{one.parameter}: {value:g}`" for value in (one.value or 0, one.suggested or 0))
        shown = suggested if one.suggested is not None else one.note
        print(f"| {name} | {limit} | {one.per_100000:.4g} | {one.in_drift:.1%} | {shown} |", flush=True)


def _history() -> RecordedBatch:
    """Return a history with an error rate of one in ten and a normally distributed feature."""
    rng = Random(SEED)
    truths = [rng.random() < 0.5 for _ in range(RECORDED)]
    labels = [truth != (rng.random() < WRONG) for truth in truths]
    values = {"x": [rng.gauss(0, 1) for _ in range(RECORDED)]}
    return RecordedBatch(MonitorBatch(truths, labels, None, values.__getitem__), RECORDED)


if __name__ == "__main__":
    main()
