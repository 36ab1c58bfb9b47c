"""The prediction log: served predictions as records of the models' events topics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET

from service.domain.registry.registry import LineageId
from service.domain.registry.served_prediction import ServedEvent, encode_served_record, global_lineage_id
from service.domain.stream import events
from service.domain.stream.events import Features, Label, Task
from service.errors import UnavailableError
from service.learning.inference.predictor import PredictionResult, Predictor, label_name
from service.operations.inference.ingest import RecordIngestor, record_key
from service.operations.inference.model_cache import ServedModel
from service.operations.services import Services


@dataclass(frozen=True, slots=True)
class PredictionLogBatch:
    """Records for a topic, with their keys."""

    topic: str
    values: Sequence[bytes]
    keys: Sequence[bytes]


@dataclass
class PredictionLog:
    """Makes records of predictions; the global id of each lineage is read from the registry once."""

    services: Services
    ingest: RecordIngestor
    _lineage_uids: dict[LineageId, str] = field(default_factory=dict)
    _labels_by_name: dict[str, tuple[Predictor, dict[str, Label]]] = field(default_factory=dict)

    def is_logged(self, served_model: ServedModel) -> bool:
        """Return whether predictions of this state are logged: those of a champion whose stored specification says so.

        The configuration file may say so earlier, until `headrace model apply` has applied it.
        """
        return served_model.checkpoint is not None and served_model.predictor.spec.log_predictions

    def has_lineage(self, served_model: ServedModel) -> bool:
        """Return whether `batch` can run without reading the registry."""
        return served_model.lineage in self._lineage_uids

    def batch(
        self, served_model: ServedModel, xs: Sequence[Features], answers: Sequence[PredictionResult]
    ) -> PredictionLogBatch:
        """Return a record for each prediction that has an id; raise UnavailableError without the registry."""
        lineage_uid = self._lineage_uid(served_model)
        values: list[bytes] = []
        keys: list[bytes] = []
        for x, answer in zip(xs, answers, strict=True):
            if answer.id is not UNSET:
                values.append(
                    encode_served_record(
                        ServedEvent(answer.id, x), self._served_prediction(served_model, lineage_uid, x, answer)
                    )
                )
                keys.append(record_key(answer.id))
        return PredictionLogBatch(served_model.predictor.spec.events, values, keys)

    def _served_prediction(
        self, served_model: ServedModel, lineage_uid: str, x: Features, answer: PredictionResult
    ) -> events.ServedPrediction:
        pairs = None
        if answer.probabilities is not UNSET:
            named = self._labels(served_model, x, answer.probabilities)
            pairs = [(named[name], chance) for name, chance in answer.probabilities.items()]
        identity = (served_model.model, lineage_uid, served_model.version, served_model.checkpoint or 0)
        return events.ServedPrediction(*identity, answer.prediction, pairs)

    def _labels(self, served_model: ServedModel, x: Features, names: Mapping[str, float]) -> Mapping[str, Label]:
        """Return the labels by the names in `probabilities`: the name "1" may stand for the text or the number."""
        predictor, labels = self._labels_by_name.get(served_model.model, (None, {}))
        if predictor is not served_model.predictor:
            binary = served_model.predictor.spec.task is Task.BINARY
            labels = {label_name(label): label for label in (False, True)} if binary else {}
            self._labels_by_name[served_model.model] = (served_model.predictor, labels)
        if not labels.keys() >= names.keys():
            labels |= served_model.predictor.labels_by_name(x)
        return labels

    def _lineage_uid(self, served_model: ServedModel) -> str:
        if served_model.lineage not in self._lineage_uids:
            lineages = self.services.registry.history.lineages(served_model.model)
            self._lineage_uids |= {one.id: global_lineage_id(one) for one in lineages}
        if served_model.lineage not in self._lineage_uids:
            msg = (
                f"found no lineage {served_model.lineage} of {served_model.model} any more, expected the one that "
                "predicted; ask again, another one serves by then"
            )
            raise UnavailableError(msg)
        return self._lineage_uids[served_model.lineage]
