"""Training data from an archive that the program itself has written, held to the events that were published."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import polars as pl
import pytest

from service.domain.specification.split import CvSpec, SplitSpec, WindowSpec
from service.domain.stream.exclusion import Exclusion
from service.domain.stream.position import OffsetRange, Position
from service.errors import TrainingDataError
from service.learning.datasets.dataset import TrainingData
from service.learning.datasets.folds import make_folds
from service.learning.datasets.leakage import require_no_leak
from service.learning.datasets.splits import DataSplit, split_data
from service.operations.training_data.load import load_training_data
from service.operations.training_data.window import WindowRequest
from tests.acceptance.harness import PHISHING, Deployment, phishing_events

ROOT = Path(__file__).parents[2]
GROUPS = 60
ROWS = [
    {**msgspec.json.decode(event), "group": f"user{number * 7 % GROUPS}"}
    for number, event in enumerate(phishing_events(1250))
]
LABELLED = [row for row in ROWS if row["id"] % 10]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Events on two partitions, the first hundred sent twice; labels of nine in ten on a topic of their own."""
    found = Deployment(
        tmp_path_factory.mktemp("training"), model={**PHISHING, "labels": "phishing.labels"}, archive={"range": 300}
    )
    events = [msgspec.json.encode({name: row[name] for name in ("id", "x", "group")}) for row in ROWS]
    keys = [row["group"].encode() for row in ROWS]
    found.publish(events, partitions=2, keys=keys)
    found.publish(events[:100], keys=keys[:100])
    labels = [msgspec.json.encode({"id": row["id"], "y": row["y"]}) for row in LABELLED]
    found.publish(labels, topic="phishing.labels")
    found.command("archive", "--until-end")
    return found


@contextmanager
def read(deployment: Deployment, window: dict[str, object], **asked: object) -> Iterator[TrainingData]:
    """The model's data."""
    with deployment.app() as app:
        yield load_training_data(
            app.services, app.spec("phishing"), WindowRequest(WindowSpec.model_validate(window), **asked)
        )


def test_what_was_published_comes_back_once_with_its_label(deployment: Deployment) -> None:
    """Every labelled event once, equal in id, features, group and label, and all others are counted."""
    with read(deployment, {"events": 5000, "duplicates": "id"}) as data:
        found = {event.id: (event.x, event.y, event.group) for event in data.events()}
    assert found == {row["id"]: (row["x"], row["y"], row["group"]) for row in LABELLED}
    counts = data.counts
    assert (counts.read, counts.same_id, counts.missing_labels) == (1350, 100, 125)
    assert data.end.to_json()["phishing.labels"] == {"0": len(LABELLED)}
    assert data.begin.to_json() == {"phishing.events": {"0": 0, "1": 0}, "phishing.labels": {"0": 0}}
    assert sum(data.end.to_json()["phishing.events"].values()) == 1350


def test_what_is_not_archived_yet_comes_from_the_stream(tmp_path: Path) -> None:
    """A window reaches the present, and is the same one when all of it has been archived."""
    found = Deployment(tmp_path / "young", model={**PHISHING, "labels": "phishing.labels"}, archive={"range": 300})
    events = [msgspec.json.encode({name: row[name] for name in ("id", "x", "group")}) for row in ROWS]
    labels = [msgspec.json.encode({"id": row["id"], "y": row["y"]}) for row in LABELLED]
    odd = [b"no JSON", msgspec.json.encode({"id": 9_000, "x": {"a_new_one": "text"}, "y": True})]
    windows = []
    for some, told in ((events[:500], labels[:400]), ([*events[500:], *odd], labels[400:])):
        found.publish(some, partitions=2, keys=[str(number).encode() for number in range(len(some))])
        found.publish(told, topic="phishing.labels")
        with read(found, {"events": 1000}) as data:
            windows.append(data)
        found.command("archive", "--until-end")
    with read(found, {"events": 1000}) as data:
        assert data.table.equals(windows[-1].table.select(data.table.columns))
        assert (data.counts, data.end, data.begin) == (windows[-1].counts, windows[-1].end, windows[-1].begin)
        assert data.counts.undecodable == 1
    assert len(windows[0]) > 300


def test_a_window_knows_where_its_own_records_begin(deployment: Deployment) -> None:
    """The first event of each partition, and the first label that belongs to one of the events."""
    with read(deployment, {"events": 5000}) as everything:
        cut = Position({at: end // 2 for at, end in everything.end.offsets.items()})
    with read(deployment, {"events": 200, "duplicates": "id"}, until=cut) as data:
        ids = {event.id for event in data.events()}
        first = next(place for place, row in enumerate(LABELLED) if row["id"] in ids)
    assert data.begin.to_json()["phishing.labels"] == {"0": first}
    least = data.table.group_by("partition").agg(pl.col("offset").min()).rows()
    assert all(data.begin.to_json()["phishing.events"][str(one)] <= offset for one, offset in least)
    assert first > 0


def test_equal_contents_are_one_event_unless_it_is_said_otherwise(deployment: Deployment) -> None:
    """As many are left as there are combinations of features and label."""
    with read(deployment, {"events": 5000}) as data:
        pass
    assert len(data) == len({(tuple(row["x"].items()), row["y"]) for row in LABELLED})
    assert data.counts.same_content == len(LABELLED) - len(data)


@pytest.mark.parametrize("kind", ["time", "random", "stratified"])
def test_no_split_and_no_fold_of_it_leaks(deployment: Deployment, kind: str) -> None:
    """Ids, contents and groups are in one part, whatever the kind; groups are in one side of a fold."""
    opened: list[str] = []
    with read(deployment, {"events": 5000}) as data:
        spec = SplitSpec.model_validate({"kind": kind, "train": 0.6, "validation": 0.2, "test": 0.2})
        if kind == "time":
            with pytest.raises(TrainingDataError, match="have groups of an earlier part"):
                split_data(data, spec, seed=1, on_open=lambda: opened.append("x"))
            return
        parts: DataSplit = split_data(data, spec, seed=1, on_open=lambda: opened.append("x"))
        require_no_leak({"train": parts.train, "validation": parts.validation, "test": parts.test.open()})
        assert opened == ["x"]
        for fold in make_folds(parts.train, CvSpec(kind="stratified_group_kfold"), seed=1):
            require_no_leak({"train": parts.train.take(fold.train), "test": parts.train.take(fold.test)})


def test_the_next_retraining_does_not_see_what_was_excluded(deployment: Deployment) -> None:
    """Exclusions in the registry are obeyed from then on."""
    with deployment.app() as app:
        deployment.command("learn", "--until-end")
        hidden = OffsetRange("phishing.events", 0, 100, 300)
        made = app.registry.exclusions.add("phishing", Exclusion(hidden, "swapped", "test"))
    with read(deployment, {"events": 5000, "duplicates": "id"}) as data:
        places = data.table.select("partition", "offset").rows()
        assert not {(0, offset) for offset in range(100, 300)} & set(places)
        assert data.counts.excluded == 200
    with deployment.app() as app:
        app.registry.exclusions.remove("phishing", made.id, actor="test", reason="")


def test_a_window_ends_at_a_position(deployment: Deployment) -> None:
    """Neither events nor labels from behind it are seen."""
    with read(deployment, {"events": 5000}) as everything:
        ends = dict(everything.end.offsets)
    cut = Position({at: end // 2 for at, end in ends.items()})
    with read(deployment, {"events": 5000, "duplicates": "id"}, until=cut) as data:
        assert data.end == cut
        known = {row["id"] for row in LABELLED[: len(LABELLED) // 2]}
        assert {event.id for event in data.events()} <= known


def test_the_command_line_starts_without_the_batch_libraries() -> None:
    """Splitters and estimators for batches are imported by training jobs only."""
    heavy = [
        "sklearn.model_selection",
        "lightgbm",
        "optuna",
        "service.learning.datasets.splits",
        "service.learning.datasets.folds",
    ]
    code = f"import sys, service.cli.app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.strip() == "[]"
