"""The retraining policy, as a table of situations and decisions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.domain.registry.checkpoint_metrics import MonitorStatus
from service.domain.registry.registry import ModelName
from service.domain.specification.monitor import MonitorState
from service.domain.specification.retrain import RetrainSpec
from service.domain.training.jobs import Job, JobCause, JobId, JobState
from service.operations.retraining.policy import (
    MonitorReading,
    RetrainingSituation,
    decide,
    decision_evidence,
    events_since,
    monitor_readings,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SPEC = RetrainSpec(cooldown=3600, min_new_events=100)
DRIFT = MonitorReading("errors", MonitorState.DRIFT, 0.4, 0.3, signal=3, answered_signal=2)
QUIET = MonitorReading("age", MonitorState.QUIET, 0.1, 0.25)
PLAIN = RetrainingSituation(ModelName("m"), SPEC, NOW, readings=[DRIFT, QUIET], learned=1000)


def job(state: JobState, *, ended_s_ago: float | None = None, learned: int = 0) -> Job:
    """Return a job of the model, in this state, that ended so many seconds ago."""
    finished = None if ended_s_ago is None else NOW - timedelta(seconds=ended_s_ago)
    evidence = decision_evidence([replace(DRIFT, signal=2)], learned=learned)
    return Job(
        JobId(7),
        ModelName("m"),
        state,
        SPEC,
        JobCause.DRIFT,
        "trainer",
        "",
        NOW,
        evidence=evidence,
        finished_at=finished,
    )


CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("a new drift", {}, "drift", "errors drift at 0.4 of 0.3"),
    ("no policy", {"spec": None}, "no_policy", "headrace job start m"),
    ("no monitor", {"readings": []}, "quiet", "none of them has a value yet"),
    ("quiet", {"readings": [QUIET]}, "quiet", "age quiet at 0.1 of 0.25"),
    ("a warning", {"readings": [replace(DRIFT, state=MonitorState.WARNING, signal=2)]}, "quiet", "warning"),
    ("answered", {"readings": [replace(DRIFT, answered_signal=3)]}, "answered", "answered before"),
    ("over, and nobody answered", {"readings": [replace(DRIFT, state=MonitorState.QUIET)]}, "drift", "errors quiet"),
    ("signals that began anew", {"readings": [replace(DRIFT, signal=1, answered_signal=9)]}, "drift", "errors"),
    ("all, one quiet", {"spec": SPEC.model_copy(update={"when": "all"})}, "not_all", "waits for every monitor"),
    (
        "all drift",
        {
            "spec": SPEC.model_copy(update={"when": "all"}),
            "readings": [DRIFT, replace(DRIFT, name="age", answered_signal=3)],
        },
        "drift",
        "errors",
    ),
    ("frozen", {"frozen": True}, "frozen", "m is frozen"),
    ("an open job", {"open": job(JobState.TRAINING)}, "open", "job 7 is open (Training)"),
    (
        "just ended",
        {"last": job(JobState.COMPLETED, ended_s_ago=3599)},
        "cooldown",
        "after job 7 lasts until 2026-01-31 12:00:01",
    ),
    ("just failed", {"last": job(JobState.FAILED, ended_s_ago=60)}, "cooldown", "after job 7"),
    ("ended long ago", {"last": job(JobState.COMPLETED, ended_s_ago=3600)}, "drift", "errors"),
    ("just rolled back", {"changed_at": NOW - timedelta(seconds=1)}, "cooldown", "newest rollback or exclusion"),
    (
        "rolled back after a job",
        {"last": job(JobState.STOPPED, ended_s_ago=9000), "changed_at": NOW - timedelta(seconds=60)},
        "cooldown",
        "rollback or exclusion lasts until 2026-01-31 12:59:00",
    ),
    ("few events", {"learned": 99}, "few_events", "99 events are new, and min_new_events is 100"),
    ("few since", {"last": job(JobState.COMPLETED, ended_s_ago=9000, learned=950)}, "few_events", "50 events"),
    ("the schedule", {"readings": [QUIET], "cron_due": True}, "cron", "asks for it"),
    ("the schedule, cooling", {"cron_due": True, "changed_at": NOW}, "cooldown", "asks for it, but"),
]


@pytest.mark.parametrize(("changes", "code", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_decisions(changes: dict[str, Any], code: str, words: str) -> None:
    """Each situation has its decision, with a sentence that says why."""
    found = decide(replace(PLAIN, **changes))
    assert found.code == code
    assert words in found.explanation
    assert found.retrain == (code in {"drift", "cron"})
    assert found.evidence["learned"] == changes.get("learned", 1000)


def test_one_drift_asks_once() -> None:
    """A signal that a job was requested for counts as answered, and the next signal requests another job."""
    told = MonitorStatus("errors", state=MonitorState.DRIFT, value=0.4, threshold=0.3, signals=3)
    asked = decide(replace(PLAIN, readings=monitor_readings([told], None)))
    assert asked.cause is JobCause.DRIFT
    done = replace(job(JobState.COMPLETED, ended_s_ago=9000), evidence=asked.evidence)
    again = replace(PLAIN, readings=monitor_readings([told], done), last=done, learned=5000)
    assert decide(again).code == "answered"
    louder = replace(told, signals=4)
    assert decide(replace(again, readings=monitor_readings([louder], done))).code == "drift"


def test_a_detector_without_a_state_of_its_own() -> None:
    """A monitor that only counts signals drifts by its signals."""
    (found,) = monitor_readings([MonitorStatus("errors", value=0.1, signals=2)], None)
    assert (found.state, found.signal, found.is_drifting) == (MonitorState.QUIET, 2, True)
    assert monitor_readings([], None) == []


def test_counts_that_begin_anew() -> None:
    """Events are counted from zero for a champion that has learned less than at the last job's request."""
    last = job(JobState.COMPLETED, ended_s_ago=1, learned=500)
    assert [events_since(one, learned=learned) for one, learned in [(None, 7), (last, 520), (last, 30)]] == [7, 20, 30]
