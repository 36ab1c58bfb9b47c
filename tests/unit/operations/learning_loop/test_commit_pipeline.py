"""One checkpoint at a time is written for a session, and a failed one blocks what would follow it."""

from concurrent.futures import Future
from typing import Any

import pytest

from service.domain.specification.model import ModelSpec
from service.errors import UnavailableError
from service.operations.learning_loop.commit_pipeline import CommitPipeline

SPEC = ModelSpec(
    name="m",
    task="binary",
    events="m.events",
    estimator="linear_model.LogisticRegression",
    checkpoint={"every": 0.001},
)


class Writer:
    """A committer whose futures the test settles."""

    def __init__(self) -> None:
        self.commits: list[Future[Any]] = []
        self.polls: list[Future[Any]] = []

    def submit(self, _draft: Any) -> "Future[Any]":
        """A commit that is not done."""
        self.commits.append(Future())
        return self.commits[-1]

    def poll_commands(self, _model: str) -> "Future[Any]":
        """A poll that is not done."""
        self.polls.append(Future())
        return self.polls[-1]


@pytest.fixture
def writer() -> Writer:
    """Nothing was submitted yet."""
    return Writer()


@pytest.fixture
def pipeline(writer: Writer) -> CommitPipeline:
    """A pipeline over the writer."""
    return CommitPipeline(writer, SPEC)


def test_nothing_is_due_while_a_checkpoint_is_written(pipeline: CommitPipeline, writer: Writer) -> None:
    """A checkpoint that is being written holds the next one back until it has been taken."""
    pipeline.submit("draft", serialize_s=0.0)
    assert not pipeline.is_due
    assert pipeline.landed(wait=False) is None
    writer.commits[0].set_result("committed")
    assert pipeline.landed(wait=False) == "committed"
    assert pipeline.landed(wait=False) is None


def test_a_failed_commit_stays(pipeline: CommitPipeline, writer: Writer) -> None:
    """A commit that failed is raised each time, so that nothing can be committed after the journals that it lost."""
    pipeline.submit("draft", serialize_s=0.0)
    writer.commits[0].set_exception(UnavailableError("the database is away"))
    for _ in range(2):
        with pytest.raises(UnavailableError):
            pipeline.landed(wait=True)
    assert not pipeline.is_due


def test_one_poll_at_a_time(pipeline: CommitPipeline, writer: Writer) -> None:
    """Commands are asked for once until the answer was taken."""
    pipeline.poll_commands()
    pipeline.poll_commands()
    assert len(writer.polls) == 1
    writer.polls[0].set_result(["rollback"])
    assert pipeline.polled(wait=False) == ["rollback"]
    assert pipeline.polled(wait=False) is None
