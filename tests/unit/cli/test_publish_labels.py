"""`stream publish --labels` appends to the topic of labels in a form that the learner reads as labels."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from service.cli.app import app
from tests.unit.cli.test_wrong_input import command

MAPPED = {"fields": {"id": "$.tx.id", "x": ["$.amount"]}, "label_fields": {"id": "tx", "y": "fraud"}}
CSV_LABELS = {"label_fields": {"format": "csv", "columns": ["key", "truth"], "id": "key", "y": "truth"}}


def configured(folder: Path, **model: Any) -> Path:
    """Return a folder that `headrace init` has made, with these keys in its model."""
    path = folder / "headrace.yaml"
    assert command(path, "init").exit_code == 0
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings["models"][0].update(model)
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def published(path: Path, file: str, text: str, *options: str) -> Result:
    """Publish the file as labels."""
    (path.parent / file).write_text(text, encoding="utf-8")
    arguments = ["stream", "publish", "phishing", str(path.parent / file), "--labels", *options]
    return CliRunner().invoke(app, [*arguments, "--config", str(path)], catch_exceptions=False)


def learned(path: Path) -> dict[str, int]:
    """Return the learner's nonzero counts of events and labels."""
    environment = {"HEADRACE_LEARNER__PORT": "0"}
    assert command(path, "learn", "--until-end", env=environment).exit_code == 0
    shown = json.loads(command(path, "model", "show", "phishing", "--json").stdout)
    found = {**shown["events"], **shown["labels"]}
    return {name: count for name, count in found.items() if count}


@pytest.mark.parametrize(
    ("topic", "model", "file", "text"),
    [
        ("truths", {}, "labels.jsonl", '{"id": "a", "y": true}\n{"id": "b", "y": false}\n'),
        ("truths", {}, "labels.csv", "id,y\na,true\nb,0\n"),
        ("events", {}, "labels.csv", "id,y\na,true\nb,0\n"),
        ("truths", MAPPED, "labels.csv", "tx,fraud\na,true\nb,0\n"),
        ("truths", CSV_LABELS, "labels.csv", "key,truth\na,true\nb,0\n"),
    ],
)
def test_rows_are_labels(tmp_path: Path, topic: str, model: dict[str, Any], file: str, text: str) -> None:
    """JSON lines and table rows become labels, whichever topic they go to, and pass `--check`."""
    path = configured(tmp_path, events="events", labels=topic, **model)
    done = published(path, file, text, "--check")
    assert done.exit_code == 0, done.output
    assert f"2 labels are in {topic}" in done.stdout
    assert learned(path) == {"early": 2, "waiting": 2}


def test_check_refuses_what_is_no_label(tmp_path: Path) -> None:
    """`--check` sends nothing if a line has no label, or one that does not fit the task."""
    path = configured(tmp_path, labels="truths")
    done = published(path, "labels.jsonl", '{"id": "a", "y": true}\n{"id": "b", "y": "yes"}\n', "--check")
    assert done.exit_code == 3
    assert "found 1 of 2" in done.output
    assert "bad_label" in done.output


def test_a_model_without_a_topic_of_labels(tmp_path: Path) -> None:
    """The message says that `labels:` is missing in the configuration."""
    path = configured(tmp_path)
    done = published(path, "labels.jsonl", '{"id": "a", "y": true}\n')
    assert done.exit_code == 1
    assert "labels:" in done.output


def test_later_rounds_have_ids_of_their_own(tmp_path: Path) -> None:
    """`--repeat` renames the labels' id field if it differs from the events'."""
    path = configured(tmp_path, labels="truths", **MAPPED)
    assert published(path, "labels.jsonl", '{"tx": "a", "fraud": true}\n', "--repeat", "3").exit_code == 0
    assert learned(path) == {"early": 3, "waiting": 3}
