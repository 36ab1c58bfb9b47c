"""Curves from the score journals of both databases: the champions' scores in order, and reports of what is missing."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import insert, update

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.metric_history import ExclusionMark, HistoryQuery, MetricHistory
from service.domain.registry.registry import Lease, LineageRole, VersionKind
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Task, TopicPartition
from service.domain.stream.position import OffsetRange
from service.errors import ConfigurationError, NotFoundError, RefusedError
from service.learning.metrics.journal import ScoreJournal, encode_segment
from service.learning.metrics.prequential import PrequentialMetrics
from service.operations.monitoring.metric_history import metric_history
from service.storage.registry import Registry
from service.storage.schema import registry as tables
from tests.contract.registry_values import AT, NAME, commit, founding, state, succession

NAMES = ("Accuracy", "ROCAUC")
SPEC = ModelSpec(name=NAME, task=Task.BINARY, events="events", estimator="x", metrics=NAMES, window=20)
Rows = Sequence[tuple[bool, bool, float | None]]


def rows(count: int, seed: int = 1) -> Rows:
    """Return label, prediction and probability of the given number of events."""
    chance = random.Random(seed)
    found = [(chance.random() < 0.5, chance.random()) for _ in range(count)]
    return [(truth, p > 0.5, p) for truth, p in found]


class Writer:
    """Commits rows to a model's lineages as a learner does, and keeps the scores beside them."""

    def __init__(self, registry: Registry, spec: ModelSpec = SPEC) -> None:
        self.registry, self.spec = registry, spec
        self.scores = PrequentialMetrics(spec.metrics, task=spec.task, window=spec.window, seed=spec.seed)
        values = founding()
        values = replace(values, spec=spec.model_dump(mode="json"), spec_digest=spec.digest(), state=self.state())
        champion = registry.models.register(values).champion
        assert champion is not None
        self.lease = registry.leases.acquire(champion, holder="here", ttl_s=600)
        self.sequence, self.offset = 0, 0

    def state(self) -> Any:
        """Return a state with the present metrics."""
        return replace(
            state(repr(self.scores.report()).encode()), metrics=CheckpointMetrics.from_json(self.scores.report())
        )

    def learn(self, values: Rows, *, lease: Lease | None = None, offset: int | None = None) -> None:
        """Commit once; a commit under another lease than the champion's leaves position and scores alone."""
        first = self.offset if offset is None else offset
        truths, labels, given = ([row[i] for row in values] for i in range(3))
        journal = ScoreJournal(self.spec.task)
        offsets = range(first, first + len(values))
        journal.append(AT, offsets, truths=truths, labels=labels, probabilities=None if None in given else given)
        self.sequence += 1
        metrics = CheckpointMetrics()
        if lease is None:
            self.scores.update(truths, labels, None if None in given else given)
            self.offset, metrics = first + len(values), CheckpointMetrics.from_json(self.scores.report())
        self.registry.checkpoints.commit(
            commit(
                lease or self.lease,
                self.sequence,
                order=[OffsetRange(AT.topic, AT.partition, first, first + len(values))],
                scores=encode_segment(journal.take()),
                scored=len(values),
                metrics=metrics,
            )
        )

    def roll_back(self) -> None:
        """Restore version 1 as a new lineage, whose metrics continue."""
        change = succession(self.lease, state=self.state(), spec=self.spec.model_dump(mode="json"))
        _, self.lease = self.registry.changes.install_successor(change)

    def history(self, excluded: Sequence[OffsetRange] = (), **query: Any) -> MetricHistory:
        """Return the model's metric history."""
        registry, model = self.registry, self.registry.models.get(NAME)
        return metric_history(
            registry.history, registry.checkpoints, model=model, query=HistoryQuery(**query), excluded_runs=excluded
        )


@pytest.fixture
def writer(registry: Registry) -> Writer:
    """Return a writer of a model that has learned nothing."""
    return Writer(registry)


def test_the_newest_point_is_what_the_checkpoint_says(writer: Writer) -> None:
    """Through commits of any size and a rollback, the newest point equals the checkpoint's metrics."""
    for i, size in enumerate((7, 1, 30, 4)):
        writer.learn(rows(size, i))
    writer.roll_back()
    for i, size in enumerate((3, 11)):
        writer.learn(rows(size, 10 + i))
        found, said = writer.history(metrics=NAMES), writer.scores.report()
        assert (found.points[-1].event, found.scored, found.emptied) == (said["n"], said["n"], 0)
        assert found.points[-1].metrics == said["window"]
        assert found.points[-1].baseline == said["baseline"]["window"]


def test_the_curve_shows_the_first_metric_and_its_versions(writer: Writer) -> None:
    """By default the curve shows the first metric over the model's window, with versions where they were made."""
    writer.learn(rows(40))
    writer.roll_back()
    writer.learn(rows(10, 2))
    found = writer.history()
    assert (found.metrics, found.window, len(found.points)) == (["Accuracy"], 20, 49)
    assert [(mark.number, mark.kind, mark.event) for mark in found.versions] == [
        (1, VersionKind.INITIAL, 0),
        (2, VersionKind.ROLLBACK, 40),
    ]


def test_a_long_history_is_thinned(writer: Writer) -> None:
    """A long history has some hundreds of points at even distances, with the newest event among them."""
    writer.learn(rows(3000))
    events = [point.event for point in writer.history().points]
    assert len(events) <= 400
    assert len({b - a for a, b in pairwise(events)}) == 1
    assert events[-1] == 3000


def test_what_retention_has_emptied_is_said(writer: Writer, registry: Registry) -> None:
    """Windows begin where all their events are kept; versions in the part that retention deleted have no place."""
    for i in range(6):
        writer.learn(rows(10, i))
    lost = tables.journals.c.sequence <= 3
    with registry.database.write_transaction() as connection:
        connection.execute(update(tables.journals).where(lost).values(scores=b""))
        connection.execute(tables.journals.delete().where(tables.journals.c.sequence == 1))
    found = writer.history(metrics=NAMES)
    assert (found.scored, found.emptied, found.points[0].event) == (60, 30, 51)
    assert found.points[-1].metrics == writer.scores.report()["window"]
    assert found.points[-1].baseline == writer.scores.report()["baseline"]["window"]
    assert [mark.event for mark in found.versions] == [None]
    with pytest.raises(NotFoundError, match=r"found 30 scores .* expected 31 .* emptied the first 30; .* --window"):
        writer.history(window=31)


def test_a_lineage_that_has_caught_up_counts_from_its_take_over(writer: Writer, registry: Registry) -> None:
    """The curve leaves out what a replaying lineage predicted, and repeats nothing that the old champion had scored."""
    writer.learn(rows(40))
    plain = succession(writer.lease, kind=VersionKind.RETRAIN, role=LineageRole.REPLAYING, state=writer.state())
    _, replaying = registry.changes.install_successor(plain)
    writer.learn(rows(25, 7), lease=replaying, offset=0)
    before = [point.metrics for point in writer.history().points]
    crowned(registry, replaying)
    writer.learn([(True, True, 0.9)] * 30, lease=replaying, offset=25)
    found = writer.history(metrics=("Accuracy",))
    assert [point.metrics for point in found.points[:39]] == before
    assert (found.scored, found.points[-1].metrics) == (55, {"Accuracy": accuracy([*rows(40)[-5:], *WON])})


WON: Rows = [(True, True, 0.9)] * 15


def accuracy(values: Rows) -> float:
    """Return the share of correct predictions."""
    return sum(truth == label for truth, label, _ in values) / len(values)


def crowned(registry: Registry, lease: Lease) -> None:
    """Make the lineage champion, with an audit entry and a version of its own."""
    with registry.database.write_transaction() as connection:
        now = registry.database.now(connection)
        connection.execute(update(tables.models).values(champion=lease.lineage))
        connection.execute(
            insert(tables.audit).values(
                model=NAME,
                at=now,
                actor="ann",
                action="promote",
                reason="caught up",
                from_version=1,
                to_version=2,
                evidence={},
            )
        )


def test_a_deleted_models_audit_is_another_story(writer: Writer, registry: Registry) -> None:
    """A new model of the same name has a history of its own."""
    writer.learn(rows(30))
    first = writer.lease
    writer.roll_back()
    for lease in (first, writer.lease):
        registry.leases.release(lease)
    registry.models.delete(NAME, actor="ann", reason="anew")
    again = Writer(registry)
    again.learn(rows(12))
    found = again.history()
    assert (found.scored, found.emptied, [mark.number for mark in found.versions]) == (12, 0, [1])


def test_excluded_offsets_are_marked(writer: Writer) -> None:
    """Excluded offsets appear as spans of scored events; those of other partitions match none."""
    for i in range(4):
        writer.learn(rows(10, i))
    runs = [
        OffsetRange("events", 0, 5, 12),
        OffsetRange("events", 0, 12, 15),
        OffsetRange("events", 0, 30, 99),
        OffsetRange("events", 1, 0, 9),
    ]
    assert writer.history(excluded=runs).exclusions == [ExclusionMark(6, 15), ExclusionMark(31, 40)]


def test_a_range_is_of_times_or_of_events(writer: Writer) -> None:
    """A range of times or events is applied to the curve; windows at its start include events before it."""
    writer.learn(rows(30))
    whole = {point.event: point for point in writer.history().points}
    part = writer.history(since="11", until="21").points
    assert [point.event for point in part] == list(range(11, 21))
    assert all(point == whole[point.event] for point in part)
    assert writer.history(since="2020-01-01").points == list(whole.values())


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        ({"metrics": ("Acuracy",)}, ConfigurationError, r"'Acuracy', expected .* binary task; did you mean Accuracy\?"),
        ({"metrics": ("MAE",)}, ConfigurationError, "'MAE', expected one of river.metrics that fits a binary task"),
        ({"metrics": ("FBeta",)}, ConfigurationError, "beta.*--metric"),
        ({"since": "2100-01-01T00:00Z"}, NotFoundError, "no scores .* --from 2100.* events 1 to 30, committed from"),
        ({"until": "1"}, NotFoundError, "no scores .* --to 1"),
        ({"since": "soon"}, ConfigurationError, "--from 'soon', expected an RFC 3339 time"),
    ],
)
def test_what_cannot_be_drawn_says_why(
    writer: Writer, query: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """A request that cannot be drawn is refused with what was found, what was expected and a suggestion."""
    writer.learn(rows(30))
    with pytest.raises(kind, match=message):
        writer.history(**query)


def test_a_model_that_has_scored_nothing_says_so(writer: Writer) -> None:
    """A model that has scored nothing yet says so."""
    with pytest.raises(NotFoundError, match="found no scores of phishing, expected some"):
        writer.history()


def test_probabilities_that_were_never_given_are_not_invented(registry: Registry) -> None:
    """ROC AUC of a model without probabilities is refused; a metric of labels is not."""
    writer = Writer(registry)
    writer.learn([(truth, label, None) for truth, label, _ in rows(30)])
    with pytest.raises(RefusedError, match="ROCAUC, which needs probabilities, and phishing has given none"):
        writer.history(metrics=("ROCAUC",))
    assert writer.history().points[-1].metrics["Accuracy"] == writer.scores.report()["window"]["Accuracy"]


def test_two_partitions_keep_their_order(writer: Writer) -> None:
    """Events stand in the order in which they were scored, whatever their partitions."""
    journal = ScoreJournal(Task.BINARY)
    values = rows(40)
    for start in range(0, 40, 5):
        at = TopicPartition("events", start // 5 % 2)
        part = values[start : start + 5]
        columns = [[row[i] for row in part] for i in range(3)]
        journal.append(at, range(5), truths=columns[0], labels=columns[1], probabilities=columns[2])
    writer.scores.update(*([row[i] for row in values] for i in range(3)))
    writer.registry.checkpoints.commit(
        commit(
            writer.lease,
            1,
            scores=encode_segment(journal.take()),
            scored=40,
            metrics=CheckpointMetrics.from_json(writer.scores.report()),
        )
    )
    assert writer.history(metrics=NAMES).points[-1].metrics == writer.scores.report()["window"]
