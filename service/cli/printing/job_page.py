"""Print training jobs."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from service.cli.printing.layout import Column, facts, table, title
from service.cli.printing.wording import count, duration, number, size, when, words, writer
from service.domain.jsonable import to_jsonable
from service.domain.training.jobs import FINAL_STATES, Job

NO_JOBS = "no jobs; `headrace job start` makes one"
JOBS = (
    Column("id", right=True),
    Column("model"),
    Column("state"),
    Column("cause"),
    Column("attempt", right=True),
    Column("progress"),
    Column("created", "created (UTC)", time=True),
    Column("ended", "ended (UTC)", time=True),
    Column("version", right=True),
)
STATES = (Column("state"), Column("since", "since (UTC)", time=True), Column("reason"))
MONITORS = (
    Column("name", "monitor"),
    Column("value", right=True),
    Column("threshold", right=True),
    Column("state"),
)


def structured(job: Job) -> dict[str, Any]:
    """Return a job with its specification as plain values."""
    return {**to_jsonable(job), "spec": job.spec.model_dump(mode="json")}


def row(job: Job) -> dict[str, str]:
    """Return a job as a row of `JOBS`."""
    return {
        "id": str(job.id),
        "model": job.model,
        "state": job.state.value,
        "cause": job.cause.value,
        "attempt": str(job.attempt),
        "progress": _progress(to_jsonable(job.progress)) if job.state not in FINAL_STATES else "",
        "created": when(job.created_at),
        "ended": when(job.finished_at) if job.finished_at else "",
        "version": "" if job.version is None else str(job.version),
    }


def print_job_page(out: Console, found: Mapping[str, Any]) -> None:
    """Print what `job_details` has returned."""
    title(out, f"Job {found['id']} of {found['model']}: {found['state']}", first=True)
    facts(out, [one for one in _course(found) if one[1]], indent=2)
    title(out, "States")
    rows = [{**one, "since": when(one["at"], seconds=True)} for one in found["transitions"]]
    table(out, rows, STATES, indent=2)
    title(out, "Limits")
    facts(out, _limits(found["spec"]), indent=2)
    if monitors := found["evidence"].get("monitors"):
        title(out, "Monitors when it was asked for")
        table(out, monitors, MONITORS, indent=2)
    results = {key: one for key, one in found["evidence"].items() if key != "monitors"}
    if results:
        title(out, "Evidence")
        facts(out, _flat(results), indent=2)


def _course(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    retry = f", after job {found['retry_of']}" if found["retry_of"] else ""
    return [
        ("asked for by", f"{found['requested_by']} ({found['cause']}), {when(found['created_at'])}"),
        ("because", found["reason"]),
        ("attempt", f"{found['attempt']}{retry}"),
        ("process", writer(found["process"]) if found["process"] else ""),
        ("started", _time(found["started_at"])),
        ("last sign", _time(found["heartbeat_at"])),
        ("progress", _progress(found["progress"])),
        ("ended", _time(found["finished_at"])),
        ("failure", words(found["failure"] or "")),
        ("result", f"version {found['version']}" if found["version"] else ""),
        ("test part", f"read {when(found['test_opened']['at'])}" if found["test_opened"] else "not read"),
        ("log", found["log"]),
    ]


def _time(at: str | None) -> str:
    return when(at) if at else ""


def _progress(progress: Mapping[str, Any]) -> str:
    share = f"{number(progress['done'])} of {number(progress['total'])}" if progress["total"] else ""
    return ", ".join(one for one in (share, progress["note"]) if one)


def _limits(spec: Mapping[str, Any]) -> list[tuple[str, Any]]:
    budget = spec["budget"]
    return [
        ("time", duration(budget["max_runtime"])),
        ("memory", size(budget["memory"])),
        ("trials", f"{number(budget['trials'])} in {count(budget['processes'], 'process', 'processes')}"),
        ("attempts", number(spec["retries"] + 1)),
        ("candidates", number(len(spec["candidates"])) if spec["candidates"] else "the champion's own estimator"),
        ("training data", _window(spec["window"])),
    ]


def _window(window: Mapping[str, Any] | None) -> str:
    if window is None:
        return "all history"
    if window.get("events") is not None:
        return f"the newest {count(window['events'], 'event')}"
    return f"the newest {number(window['days'])} days"


def _flat(found: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Return nested values as facts, each named by all the keys that lead to it."""
    pairs: list[tuple[str, Any]] = []
    for key, value in found.items():
        name = f"{before} {words(key)}".strip()
        pairs += _flat(value, name) if isinstance(value, Mapping) and value else [(name, value)]
    return pairs
