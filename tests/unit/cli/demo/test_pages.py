"""Tests of what reading commands print for people, with a real model and with rare values."""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from service.cli.app import app
from service.cli.demo.screen import champion_table, monitor_text, saved
from service.cli.printing.model_page import evidence_words, lags, print_model_page
from service.domain.registry.checkpoint_metrics import MonitorStatus
from service.domain.specification.monitor import MonitorState

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
READING = (
    ("model", "list"),
    ("model", "show", "phishing"),
    ("model", "history", "phishing"),
    ("model", "diff", "phishing", "1", "2"),
    ("job", "list"),
    ("job", "show", "1"),
    ("drift", "show", "phishing"),
    ("deadletter", "list", "phishing"),
    ("deadletter", "show", "phishing", "1"),
    ("exclusion", "list", "phishing"),
    ("token", "list"),
    ("registry", "verify"),
    ("doctor",),
)
FOUND: dict[str, Any] = {
    "name": "fraud",
    "frozen": True,
    "champion": {"version": 7, "kind": "promotion", "digest": "f00d", "since": "2026-01-31T11:57:00+00:00"},
    "position": {"fraud.events": {"0": 3000, "1": 2000}},
    "events": {"learned": 4900, "predicted": 0, "dead": 3, "duplicate": 1, "pending": 0},
    "labels": {},
    "metrics": {
        "cumulative": {"Accuracy": 0.91},
        "window": {"Accuracy": 0.95},
        "baseline": {"cumulative": {"Accuracy": 0.5}, "window": {"Accuracy": 0.6}},
    },
    "challengers": [
        {
            "version": 8,
            "lineage": 3,
            "stage": "shadow",
            "since": "2026-01-31T11:00:00+00:00",
            "behind": 12,
            "failures": 0,
            "reason": "",
            "evidence": {
                "verdict": "undecided",
                "reason": "",
                "loss": "zero_one",
                "events": 1200,
                "champion_loss": 0.3,
                "challenger_loss": 0.2,
                "difference": 0.1,
                "lower": -0.01,
                "upper": 0.21,
            },
        }
    ],
    "replays": [],
    "drift": [],
    "dead_letters": {"out_of_range": 3},
    "checkpoint": {"id": 4, "at": "2026-01-31T11:59:30+00:00", "bytes": 32854},
    "writer": {"holder": "db1/boot/space/4711/17/nonce", "epoch": 2, "until": "2026-01-31T12:00:08+00:00"},
}


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model that has learned, refused events, a snapshot, an exclusion, a job and a token."""
    path = tmp_path_factory.mktemp("pages") / "headrace.yaml"
    assert run(path, "init").exit_code == 0
    bad = path.parent / "bad.jsonl"
    bad.write_text('{"id": "x", "y": true, "x": 3}\n', encoding="utf-8")
    for arguments in (
        ("stream", "publish", "phishing", "river:Phishing"),
        ("stream", "publish", "phishing", str(bad)),
        ("learn", "--until-end"),
        ("model", "snapshot", "phishing", "--as", "before-sale", "--reason", "a reason that takes up " * 6),
        ("exclusion", "add", "phishing", "10..20", "--reason", "labels of a broken sensor"),
        ("job", "start", "phishing"),
        ("token", "create", "--name", "ci", "--role", "operator", "--expires", "30d"),
    ):
        done = run(path, *arguments)
        assert done.exit_code == 0, done.output
    return path


def run(configuration: Path, *arguments: str) -> Any:
    """Run one command to its end."""
    port = {"HEADRACE_LEARNER__PORT": "0"}
    return CliRunner().invoke(app, [*arguments, "--config", str(configuration)], catch_exceptions=False, env=port)


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_pages_fit_and_are_no_dictionaries(configuration: Path, arguments: tuple[str, ...]) -> None:
    """Lines have 80 columns unless one word is longer, and none is a dictionary or a Python object."""
    text = run(configuration, *arguments).stdout
    assert text
    for line in text.splitlines():
        path = str(configuration.parent) in line
        assert len(line) <= 80 or path or line.startswith("{"), line
        assert line == line.rstrip()
        assert not re.search(r"\w+\(\w+=|\{'|: None|T\d\d:\d\d:\d\d\.", line) or line.startswith("{"), line


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_json_is_structured(configuration: Path, arguments: tuple[str, ...]) -> None:
    """`--json` prints JSON in which no value is a printed Python object."""

    def strings(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [one for inner in value.values() for one in strings(inner)]
        if isinstance(value, list):
            return [one for inner in value for one in strings(inner)]
        return [value] if isinstance(value, str) else []

    found = json.loads(run(configuration, *arguments, "--json").stdout)
    assert [one for one in strings(found) if re.search(r"\w+=\S+ \w+=|\{'", one)] == []


def test_a_model_is_told_in_words() -> None:
    """The page of a model has version, state, freshness, writer, baseline, refusals and evidence."""
    out = Console(file=io.StringIO(), width=80)
    print_model_page(out, FOUND, now=NOW)
    text = " ".join(out.file.getvalue().split())
    for told in (
        "serves version 7 (promotion), since 2026-01-31 11:57 UTC, 3 min ago",
        "frozen",
        "checkpoint 2026-01-31 11:59 UTC, 30 s ago (32.9 kB)",
        "writer process 4711 on db1; lease until 2026-01-31 12:00 UTC, in 8 s",
        "Accuracy 0.95 0.6 0.91 0.5",
        "refused 3 as dead letters: out of range 3",
        "version 8 shadow, since 2026-01-31 11:00 UTC, 1 h ago",
        "behind 12 records",
        "undecided after 1,200 events: zero one loss 0.2 against the champion's 0.3",
    ):
        assert told in text


def test_evidence_before_there_is_any() -> None:
    """A challenger that was not compared yet has no evidence."""
    assert evidence_words({}) == "none yet"


def test_how_far_behind() -> None:
    """The lag is shown in total, and for each partition that lags."""
    ends = {("fraud.events", 0): 3010, ("fraud.events", 1): 2000}
    assert lags(FOUND["position"], ends)[0][1] == "10 records (fraud.events[0] 10)"
    assert "nothing" in lags(FOUND["position"], {("fraud.events", 0): 3000})[0][1]


def test_the_demonstration_fits() -> None:
    """The table of the demonstration fits 80 columns with the longest values it can have."""
    monitor = monitor_text(MonitorStatus("quality", value=0.945, threshold=0.7, state=MonitorState.WARNING))
    values = {"learned": "115,100", "events/s": "12,345", "accuracy": "0.945", "no change": "0.512"}
    table = champion_table({**values, "monitor": monitor, "saved": saved(300.2), "versions": "12"})
    out = Console(file=io.StringIO(), width=80)
    assert out.measure(table, options=out.options.update(width=200)).maximum <= 80
