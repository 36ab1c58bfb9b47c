"""The states of a training job, and retraining policies."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.domain.registry.registry import ModelName
from service.domain.specification.retrain import RetrainSpec
from service.domain.training.jobs import (
    ALLOWED_TRANSITIONS,
    FINAL_STATES,
    Job,
    JobCause,
    JobEnding,
    JobFailure,
    JobId,
    JobState,
)

ORDER = (JobState.STARTING, JobState.LOADING, JobState.TRAINING, JobState.EVALUATING, JobState.REPLAYING)


@given(st.lists(st.sampled_from(list(JobState)), max_size=30))
def test_every_way_ends_for_good(wishes: list[JobState]) -> None:
    """Whatever is requested, a job only goes forward, ends once, and once told to stop can only stop."""
    state, way = JobState.STARTING, [JobState.STARTING]
    for wish in wishes:
        if wish in ALLOWED_TRANSITIONS[state]:
            state = wish
            way.append(state)
    assert len(set(way)) == len(way)
    stages = [ORDER.index(one) for one in way if one in ORDER]
    assert stages == list(range(len(stages)))
    assert len(FINAL_STATES & set(way)) <= 1
    if JobState.STOPPING in way:
        assert way[way.index(JobState.STOPPING) + 1 :] in ([], [JobState.STOPPED])
    if state is JobState.COMPLETED:
        assert JobState.EVALUATING in way
        assert JobState.STOPPING not in way


def test_the_table_is_whole() -> None:
    """Every state but an end has followers, Stopped comes only after Stopping, and each state can be reached."""
    assert set(ALLOWED_TRANSITIONS) == set(JobState)
    assert {state for state, after in ALLOWED_TRANSITIONS.items() if not after} == FINAL_STATES
    assert {state for state, after in ALLOWED_TRANSITIONS.items() if JobState.STOPPED in after} == {JobState.STOPPING}
    assert set().union(*ALLOWED_TRANSITIONS.values()) == set(JobState) - {JobState.STARTING}


@pytest.mark.parametrize("failure", list(JobFailure))
@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_which_failures_are_tried_again(failure: JobFailure, attempt: int) -> None:
    """An interrupted job is retried as often as the policy says; one that failed by itself is not."""
    spec = RetrainSpec(retries=2)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    job = Job(JobId(1), ModelName("m"), JobState.TRAINING, spec, JobCause.HAND, "ann", "", moment, attempt=attempt)
    wanted = failure is JobFailure.INTERRUPTED and attempt <= 2
    assert JobEnding(JobState.FAILED, "", failure).needs_retry(job) is wanted


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"when": "some"}, "when"),
        ({"cron": "0 3 * *"}, "five fields"),
        ({"cron": "0 3 1 * 1"}, "day of the month or a day of the week"),
        ({"cron": "0 3 * * 8"}, "weekday"),
        ({"cooldown": 0}, "cooldown"),
        ({"retries": -1}, "retries"),
        ({"budget": {"memory": "a lot"}}, "memory"),
        ({"budgets": {}}, "budgets"),
    ],
)
def test_wrong_policies_are_refused(given: dict[str, object], found: str) -> None:
    """An invalid policy is refused, with the key or what was expected."""
    with pytest.raises(ValidationError, match=found):
        RetrainSpec.model_validate(given)
