"""Looking into versions, and learning a lineage again from its artifact and its order journal."""

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from service.bootstrap import App
from service.domain.registry.registry import Version
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import Position
from service.learning.learner.learner import Learner
from tests.acceptance.harness import Deployment, State, predict_probes


def with_opposite_labels(values: list[bytes]) -> list[bytes]:
    """The same events with the opposite labels."""
    events = [msgspec.json.decode(value) for value in values]
    return [msgspec.json.encode({**event, "y": not event["y"]}) for event in events]


def versions(deployment: Deployment) -> list[Version]:
    """Oldest first."""
    with deployment.app() as app:
        return list(app.registry.history.versions("phishing"))


def probe_predictions(deployment: Deployment, digest: str) -> list[Any]:
    """The predictions of an artifact on a probe set."""
    with deployment.app() as app:
        return predict_probes(open_learner_of(app, digest))


def open_learner_of(app: App, digest: str) -> Learner:
    """The learner that an artifact holds."""
    return Learner(app.spec("phishing"), payload(app, digest))


def payload(app: App, digest: str) -> bytes:
    """The state in an artifact."""
    return bytes(app.services.states.sealer.open(app.registry.history.artifact(digest)).payload)


def whole_stream(app: App, topics: Sequence[str]) -> dict[TopicPartition, list[tuple[int, int, bytes]]]:
    """Offset, timestamp and value of every record, read again from the start."""
    source = app.source("again")
    bounds = source.bounds(topics)
    source.assign(Position({at: found.start for at, found in bounds.items()}))
    rows: dict[TopicPartition, list[tuple[int, int, bytes]]] = defaultdict(list)
    left = {at for at, found in bounds.items() if found.end > found.start}
    while left:
        for run in source.poll(timeout_s=1, limit=5000):
            rows[run.at] += zip(run.offsets, run.timestamps, run.values, strict=True)
            left -= {run.at} if run.next_offset >= bounds[run.at].end else set()
    source.close()
    return rows


class Rederived:
    """A lineage learned again in this process: its version's artifact, its order journal, the same stream."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._spec = ModelSpec.model_validate(app.registry.models.get("phishing").spec)
        self._stream = whole_stream(app, [self._spec.events])

    def lineage(self, origin: Version) -> bytes:
        """Learn what the lineage that began with this version learned; its state."""
        deque(self.commits(origin), maxlen=0)
        return self.learner.state()

    def commits(self, origin: Version) -> Iterator[Position]:
        """The same, as it was at the start and after each commit: the positions it stood at then."""
        self.learner = Learner(self._spec, payload(self._app, origin.digest))
        position = origin.position
        yield position
        decoder = self._app.decoder(self._spec)
        for segment in self._app.registry.checkpoints.journal(origin.lineage, scores=False):
            for run in segment.order:
                at = TopicPartition(run.topic, run.partition)
                stream = self._stream[at]
                first, last = (bisect_left(stream, (offset,)) for offset in (run.first, run.last))
                rows = stream[first:last]
                columns = zip(*rows, strict=True) if rows else ([], [], [])
                self.learner.learn(decoder.decode(Records(at, *map(list, columns), run.last)))
                position = position.advanced({at: run.last})
            yield position

    def same_as(self, state: State) -> bool:
        """Whether counts, metrics and predictions are exactly those."""
        assert dict(+self.learner.counts) == state.counts
        assert self.learner.report() == state.report
        assert predict_probes(self.learner) == state.probes
        return True
