"""The histogram of label delays equals the one that prometheus-client counts one observation at a time."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.domain.registry.checkpoint_metrics import CheckpointMetrics, LabelCounts
from service.metrics.learner import DELAY_BOUNDS_S, LabelDelay, PrometheusTelemetry

NAME = "headrace_label_delay_seconds"
ON_A_BOUND = [int(bound * 1000) for bound in DELAY_BOUNDS_S]
delays = st.lists(st.integers(0, 10**10) | st.sampled_from(ON_A_BOUND), max_size=20)


def shown(registry: CollectorRegistry) -> Mapping[tuple[str, ...], float]:
    """Return every sample of the histogram by name, model and bound."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples = [one for family in families if family.name == NAME for one in family.samples]
    found = {(one.name, one.labels["model"], one.labels.get("le", "")): one.value for one in samples}
    return {key: value for key, value in found.items() if not key[0].endswith("_created")}


@given(st.lists(st.tuples(st.sampled_from(["one", "other"]), delays), max_size=6))
def test_equals_the_librarys_histogram(batches: list[tuple[str, list[int]]]) -> None:
    """However delays come in batches, buckets, sums and counts are those of one observation after another."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    delay = LabelDelay()
    ours.register(delay)
    known = Histogram(NAME, "From event to label.", ["model"], buckets=DELAY_BOUNDS_S, registry=theirs)
    for model, batch in batches:
        delay.observe(model, batch)
        for one in batch:
            known.labels(model).observe(one / 1000)
    found, expected = shown(ours), shown(theirs)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == value if key[0] != f"{NAME}_sum" else abs(found[key] - value) <= 1e-9 * value


def test_labels_are_counted_by_outcome() -> None:
    """Outcomes add up, those that did not occur are not shown, and the share and the number waiting are the newest."""
    registry = CollectorRegistry()
    telemetry = PrometheusTelemetry(registry)
    telemetry.labels_received("m", {"joined": 2, "late": 0}, [1500, 400])
    telemetry.labels_received("m", {"joined": 1, "early": 1}, [0])
    for pending in (7, 5):
        telemetry.checkpoint_metrics("m", CheckpointMetrics(labels=LabelCounts(pending=pending, share=pending / 10)))
    telemetry.checkpoint_metrics("without", CheckpointMetrics())

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"model": "m", **labels})

    assert value("headrace_labels_total", outcome="joined") == 3
    assert value("headrace_labels_total", outcome="early") == 1
    assert value("headrace_labels_total", outcome="late") is None
    assert value(f"{NAME}_count") == 3
    assert value(f"{NAME}_bucket", le="1.0") == 2
    assert (value("headrace_pending_labels"), value("headrace_labelled_share")) == (5, 0.5)
    assert registry.get_sample_value("headrace_pending_labels", {"model": "without"}) is None
