"""What a server answers, as records of the models' events topics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET

from service.domain.registry.registry import LineageId
from service.domain.registry.served_prediction import ServedEvent, served_record, stamp_of
from service.domain.stream import events
from service.domain.stream.events import Features, Label, Task
from service.errors import UnavailableError
from service.learning.inference.predictor import Answer, Answerer, name_of
from service.operations.inference.ingest import Ingest, key_of
from service.operations.inference.model_cache import Served
from service.operations.services import Services


@dataclass(frozen=True, slots=True)
class Batch:
    """Records for a topic, with their keys."""

    topic: str
    values: Sequence[bytes]
    keys: Sequence[bytes]


@dataclass
class ServedLog:
    """Makes records of answers; the stamps of lineages are read once each."""

    services: Services
    ingest: Ingest
    _stamps: dict[LineageId, str] = field(default_factory=dict)
    _named: dict[str, tuple[Answerer, dict[str, Label]]] = field(default_factory=dict)

    def keeps(self, served: Served) -> bool:
        """Whether answers of this state are logged: of a champion, where the specification that it learns by says so.

        The file may say so before `headrace model apply` has told the learner.
        """
        return served.checkpoint is not None and served.answerer.spec.log_predictions

    def knows(self, served: Served) -> bool:
        """Whether `batch` blocks no more."""
        return served.lineage in self._stamps

    def batch(self, served: Served, xs: Sequence[Features], answers: Sequence[Answer]) -> Batch:
        """A record for each answer that has an id; UnavailableError where the registry cannot be asked."""
        stamp = self._stamp(served)
        values: list[bytes] = []
        keys: list[bytes] = []
        for x, answer in zip(xs, answers, strict=True):
            if answer.id is not UNSET:
                values.append(served_record(ServedEvent(answer.id, x), self._said(served, stamp, x, answer)))
                keys.append(key_of(answer.id))
        return Batch(served.answerer.spec.events, values, keys)

    def _said(self, served: Served, stamp: str, x: Features, answer: Answer) -> events.Served:
        pairs = None
        if answer.probabilities is not UNSET:
            named = self._labels(served, x, answer.probabilities)
            pairs = [(named[name], chance) for name, chance in answer.probabilities.items()]
        place = (served.model, stamp, served.version, served.checkpoint or 0)
        return events.Served(*place, answer.prediction, pairs)

    def _labels(self, served: Served, x: Features, names: Mapping[str, float]) -> Mapping[str, Label]:
        """What the names of an answer's probabilities stand for: "1" may be the text or the number."""
        answerer, known = self._named.get(served.model, (None, {}))
        if answerer is not served.answerer:
            binary = served.answerer.spec.task is Task.BINARY
            known = {name_of(label): label for label in (False, True)} if binary else {}
            self._named[served.model] = (served.answerer, known)
        if not known.keys() >= names.keys():
            known |= served.answerer.labels(x)
        return known

    def _stamp(self, served: Served) -> str:
        if served.lineage not in self._stamps:
            lineages = self.services.history.lineages(served.model)
            self._stamps |= {one.id: stamp_of(one) for one in lineages}
        if served.lineage not in self._stamps:
            msg = f"found no lineage {served.lineage} of {served.model} any more; ask again, another one serves by then"
            raise UnavailableError(msg)
        return self._stamps[served.lineage]
