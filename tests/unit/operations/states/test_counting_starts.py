"""How many starts in a row have come to nothing."""

from service.operations.states.recovery import recover
from tests.learned_model import LearnedModel


def test_starts_without_a_commit_are_counted(model: LearnedModel) -> None:
    """Each start at the same position counts one more, and the first behind a commit begins anew."""

    def starts() -> int:
        return recover(model.services, model.champion, lease=model.lease()).starts_without_commit

    assert [starts() for _ in range(3)] == [1, 2, 3]
    model.learn(10)
    assert [starts() for _ in range(2)] == [1, 2]
