"""Wrong input, and markup in the data, give a sentence and an exit code, never a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.cli.app import app
from service.cli.context import say, show
from service.storage.schema import upgrade

HOSTILE = ("[/q] closes what nobody opened", "[bold]not bold[/bold]", "headrace[librdkafka]", "\\[red]")


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """Return a folder that `headrace init` has made."""
    path = tmp_path / "headrace.yaml"
    assert command(path, "init").exit_code == 0
    return path


def command(configuration: Path, *arguments: str, **given: Any) -> Result:
    """Run one command to its end; raise its exception if the command did not explain it."""
    return CliRunner().invoke(app, [*arguments, "--config", str(configuration)], catch_exceptions=False, **given)


@pytest.mark.parametrize("text", HOSTILE)
def test_data_is_no_markup(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Reasons, features and messages are shown as they are, in tables, lines and sentences."""
    show([{"reason": text}], as_json=False, columns=("reason",))
    show({"reason": text}, as_json=False)
    say(text)
    assert capsys.readouterr().out.count(text) == 3


def test_a_reason_is_shown_as_it_was_given(configuration: Path) -> None:
    """A user's reason stands in the history with its brackets."""
    assert command(configuration, "stream", "publish", "phishing", "river:Phishing").exit_code == 0
    assert command(configuration, "learn", "--until-end", env={"HEADRACE_LEARNER__PORT": "0"}).exit_code == 0
    assert command(configuration, "model", "freeze", "phishing", "--reason", HOSTILE[0]).exit_code == 0
    assert HOSTILE[0] in command(configuration, "model", "history", "phishing").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("stream", "publish", "phishing", "river:Phishing", "--rate", "0"), 2, "--rate"),
        (("stream", "publish", "phishing", "river:Phishing", "--rate", "-5"), 2, "--rate"),
        (("stream", "tail", "phishing", "-n", "-3"), 2, "-n"),
        (("stream", "tail", "nope"), 1, "expected one of: phishing"),
        (("registry", "downgrade", "0000", "--yes"), 1, "no revision '0000'"),
        (("model", "rollback", "phishing", "--to", "1"), 1, "headrace learn"),
        (("model", "diff", "phishing", "1", "2"), 1, "headrace learn"),
        (("deadletter", "show", "phishing", "1"), 1, "headrace deadletter list"),
        (("registry", "import", "headrace.yaml"), 2, "does not exist"),
    ],
)
def test_a_slip_is_explained(configuration: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    """The message names what was found, what was expected, or which command helps."""
    found = command(configuration, *arguments)
    assert (found.exit_code, says in found.output) == (code, True), found.output


@pytest.mark.parametrize("url", ["garbage", "oracle://x/y", "postgresql://me:secret@db/x", "mysql+pymysql://x/y"])
def test_an_address_of_no_database(configuration: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """`check` refuses other databases and drivers, names the known ones, and shows no password."""
    monkeypatch.setenv("HEADRACE_STORAGE__URL", url)
    found = command(configuration, "check")
    assert found.exit_code == 1
    assert "storage.url" in found.output
    assert "postgresql+psycopg://" in found.output
    assert "secret" not in found.output


def test_downgrading_asks(configuration: Path) -> None:
    """Tables are not dropped before the user confirms."""
    url = f"sqlite:///{configuration.parent / 'var/headrace.db'}"
    assert command(configuration, "registry", "downgrade", "base", input="n\n").exit_code == 1
    assert upgrade.current_revision(url) == upgrade.newest_revision()
    assert command(configuration, "registry", "downgrade", "base", input="y\n").exit_code == 0
    assert upgrade.current_revision(url) is None


def test_tail(configuration: Path) -> None:
    """`tail` prints the newest events as lines or as JSON objects, and nothing for an empty range."""
    assert command(configuration, "stream", "publish", "phishing", "river:Phishing").exit_code == 0
    lines = command(configuration, "stream", "tail", "phishing", "-n", "2").stdout.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["0:1248", "0:1249"]
    rows = [
        json.loads(line)
        for line in command(configuration, "stream", "tail", "phishing", "-n", "2", "--json").stdout.splitlines()
    ]
    assert [(row["partition"], row["offset"], json.loads(row["value"])["id"]) for row in rows] == [
        (0, 1248, "Phishing-1248"),
        (0, 1249, "Phishing-1249"),
    ]
    assert command(configuration, "stream", "tail", "phishing", "-n", "0").stdout == ""
