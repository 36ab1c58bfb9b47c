"""What a learner behind which there is no registry has learned, and what waits there for its labels."""

from collections.abc import Mapping, Sequence

from service.domain.stream.events import Decoded, EventId
from service.domain.stream.pending import WaitingRow
from service.domain.stream.position import Run
from service.learning.engine.work_items import Waiter, id_of, key_of, packed, unpacked
from service.learning.learner.learner import Learner
from service.learning.learner.outcomes import Outcome, Pending

SWEPT_FIRST = 10_000


class WaitingHere:
    """Stands for the table `pending`: a learner is supplied from it, and what it keeps waiting is written to it."""

    def __init__(self, rows: Sequence[WaitingRow] = ()) -> None:
        self._rows = {id_of(row.key): row for row in rows}
        self._swept_at = SWEPT_FIRST
        self.order: list[Run] = []

    @property
    def rows(self) -> list[WaitingRow]:
        """All that wait, and of those whose time is past at most as many again."""
        return list(self._rows.values())

    def learn(self, learner: Learner, decoded: Decoded) -> Outcome:
        """Learn one run as if it were committed at once."""
        outcome = learner.learn(decoded, supplied=self._found(learner, decoded))
        self.take(learner)
        return outcome

    def take(self, learner: Learner) -> None:
        """What the learner has learned and keeps waiting since the last time."""
        pending = learner.take_pending()
        self.order += pending.order
        self._take(learner, pending)

    def _found(self, learner: Learner, decoded: Decoded) -> Mapping[EventId, Waiter]:
        if learner.waiting is None or not self._rows:
            return {}
        asked = learner.waiting.unknown(decoded.events, decoded.truths)
        rows = [self._rows[key] for key in asked if key in self._rows]
        return {id_of(row.key): unpacked(row.key, row.kind, row.ts, row.payload) for row in rows}

    def _take(self, learner: Learner, pending: Pending) -> None:
        if learner.waiting is None or pending.waiting is None:
            return
        for key in pending.waiting.resolved:
            self._rows.pop(key, None)
        for key, waiter in pending.waiting.created.items():
            self._rows[key] = WaitingRow(key_of(key), *packed(waiter))
        learner.waiting.landed()
        if len(self._rows) > self._swept_at:
            self._rows = {key: row for key, row in self._rows.items() if row.ts >= pending.waiting.border_ms}
            self._swept_at = max(2 * len(self._rows), SWEPT_FIRST)
