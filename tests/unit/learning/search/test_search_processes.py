"""Trials in child processes: results do not depend on races, and record every death and stop."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from service.domain.specification.candidates import CandidateSpec, SearchBudget
from service.domain.stream.events import Task
from service.errors import ArtifactError
from service.learning.estimators.candidates import ModelContext
from service.learning.search.search import SearchPlan, search_candidates
from service.learning.search.trials import SearchEnd, SearchProgress, TrialState
from tests.unit.learning.search.searched import CONDITIONAL, HERE, SEARCHED, course, logistic, plan, stream, told

EVENTS = stream(600)


@pytest.mark.slow
def test_processes_make_the_same_trials_whatever_the_race() -> None:
    """Two runs with two processes are equal, trial by trial, pruned ones included."""
    given = plan(SEARCHED, CONDITIONAL, trials=16)
    first, again = (search_candidates(given, course(stream(3000))) for _ in range(2))
    assert told(first) == told(again)
    assert TrialState.PRUNED in {one.outcome.state for one in first.trials}


@pytest.mark.slow
def test_a_trial_that_kills_its_process_fails_alone() -> None:
    """A process that dies fails its own trial, and the next trial gets another process."""
    ground = ModelContext(Task.BINARY, 42, factory=f"{HERE}:Killer")
    given = [CandidateSpec(name="own"), CandidateSpec(name="sound", estimator=logistic({"choice": [0.1, 0.2, 0.3]}))]
    result = search_candidates(SearchPlan(given, SearchBudget(processes=1), 1), course(EVENTS, model_context=ground))
    assert [one.outcome.state for one in result.trials] == [TrialState.FAILED, *[TrialState.COMPLETE] * 3]
    assert result.trials[0].outcome.reason == "its process ended with exit code 9"


@pytest.mark.slow
def test_events_that_cannot_be_loaded_end_the_search() -> None:
    """If no process can load the events, the search ends with the reason."""
    lost = replace(course(EVENTS), load=partial(Path.open, Path("nowhere.arrow")))
    with pytest.raises(ArtifactError, match=r"cannot load \(FileNotFoundError"):
        search_candidates(plan(SEARCHED), lost)


@pytest.mark.slow
def test_a_stop_is_heeded_at_once() -> None:
    """A stop ends running trials at once, keeps those that were complete, and is recorded in the result."""
    seen: list[SearchProgress] = []
    asked: list[float] = []

    def stop() -> bool:
        if seen[-1].done >= 1 and not asked:
            asked.append(time.monotonic())
        return bool(asked)

    slow = {"forest.ARFClassifier": {"n_models": {"int": [20, 40]}, "lambda_value": {"int": [3, 30]}}}
    given = plan(logistic(0.1), slow, trials=6)
    result = search_candidates(given, course(stream(20_000)), stop=stop, progress=seen.append)
    assert time.monotonic() - asked[0] < 20
    assert result.ended is SearchEnd.STOPPED
    assert result.require_best().recipe.candidate == "c0"
    assert {one.outcome.state for one in result.trials[1:]} == {TrialState.STOPPED}
    assert result.trials[1].outcome.reason == "the search was stopped"
    assert seen[0] == SearchProgress(0, 6)
    assert seen[-1].done == len(result.trials)
