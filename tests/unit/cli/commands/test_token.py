"""`headrace token` on the command line."""

import json
from pathlib import Path

from typer.testing import CliRunner

from service.cli.app import app
from tests.acceptance.harness import Deployment


def headrace(deployment: Deployment, *arguments: str) -> tuple[int, str, str]:
    """Return the exit code, standard output and standard error of a command."""
    done = CliRunner().invoke(app, [*arguments, "--config", str(deployment.folder / "headrace.yaml")])
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


def test_a_token_is_printed_once(tmp_path: Path) -> None:
    """`create` prints the token alone; no other command and no audit entry shows it again."""
    deployment = Deployment(tmp_path)
    code, printed, _ = headrace(deployment, "token", "create", "--name", "ci", "--role", "operator", "--expires", "30d")
    text = printed.strip()
    assert (code, len(text), text[:4]) == (0, 64, "hrt_")
    _, listed, _ = headrace(deployment, "token", "list", "--json")
    (row,) = json.loads(listed)
    assert (row["name"], row["role"], row["models"], text.startswith(row["begins_with"])) == (
        "ci",
        "operator",
        None,
        True,
    )
    assert text[21:] not in listed + headrace(deployment, "token", "list")[1]
    assert headrace(deployment, "token", "revoke", "ci", "--reason", "lost")[0] == 0
    assert json.loads(headrace(deployment, "token", "list", "--json")[1]) == []
    assert len(json.loads(headrace(deployment, "token", "list", "--all", "--json")[1])) == 1
    with deployment.app() as app_:
        made, gone = app_.registry.history.audit("")
    assert [made.action, gone.action, gone.reason] == ["token_create", "token_revoke", "lost"]
    assert made.actor.startswith("cli")


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    """An unknown model, a reserved name or an invalid lifetime is refused with what was expected."""
    deployment = Deployment(tmp_path)
    given = ("token", "create", "--role", "viewer", "--name")
    code, _, said = headrace(deployment, *given, "ci", "--models", "phising")
    assert (code, "found no model phising" in said) == (1, True)
    code, _, said = headrace(deployment, *given, "trainer")
    assert (code, "expected one like deploy-eu" in said) == (1, True)
    code, _, said = headrace(deployment, *given, "ci", "--expires", "soon")
    assert (code, "30d" in said) == (2, True)
    code, _, said = headrace(deployment, "token", "revoke", "ci")
    assert (code, "found no token 'ci' in force" in said) == (1, True)
