"""The commits of one session: at most one checkpoint is being written, and commands are polled between them."""

from collections.abc import Sequence
from concurrent.futures import Future

from service.domain.registry.registry import Command
from service.domain.specification.model import ModelSpec
from service.operations.learning_loop.checkpoint import CheckpointDraft, CheckpointSchedule, CommittedCheckpoint
from service.operations.learning_loop.committer import Committer


class CommitPipeline:
    """Hands drafts to the writer thread and takes back what has landed; never waits unless asked to."""

    def __init__(self, committer: Committer, spec: ModelSpec) -> None:
        self._committer = committer
        self._model = spec.name
        self._schedule = CheckpointSchedule(spec.checkpoint)
        self._commit: Future[CommittedCheckpoint] | None = None
        self._poll: Future[Sequence[Command]] | None = None

    @property
    def is_due(self) -> bool:
        """Return whether a checkpoint is due and none is being written."""
        return self._commit is None and self._schedule.is_due()

    def count_events(self, events: int) -> None:
        """Count learned events towards the next checkpoint."""
        self._schedule.count_events(events)

    def submit(self, draft: CheckpointDraft, *, serialize_s: float) -> None:
        """Begin to write a checkpoint whose serialization took `serialize_s` seconds."""
        self._schedule.restart(serialize_s)
        self._commit = self._committer.submit(draft)

    def poll_commands(self) -> None:
        """Look for commands where there is nothing to write, unless that is under way."""
        if self._poll is None:
            self._schedule.restart(0.0)
            self._poll = self._committer.poll_commands(self._model)

    def landed(self, *, wait: bool) -> CommittedCheckpoint | None:
        """Return the checkpoint that has landed since the last call; raise what writing it raised, each time."""
        if self._commit is None or not (wait or self._commit.done()):
            return None
        # A commit that failed stays: its journals were taken from the learner, so nothing may be committed after it.
        committed = self._commit.result()
        self._commit = None
        return committed

    def polled(self, *, wait: bool) -> Sequence[Command] | None:
        """Return the commands that a poll has found since the last call, or None without a finished poll."""
        if self._poll is None or not (wait or self._poll.done()):
            return None
        commands = self._poll.result()
        self._poll = None
        return commands
