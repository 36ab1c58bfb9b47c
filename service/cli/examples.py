"""An example for each command and group, with which its help ends."""

import typer

EXAMPLES = {
    "run": "headrace run --config headrace.yaml",
    "learn": "headrace learn phishing --until-end",
    "replay": "headrace replay --until-done",
    "archive": "headrace archive --until-end",
    "train": "headrace train --wait-for-lease",
    "serve": "headrace serve --port 8080 --workers 2",
    "init": "headrace init --config headrace.yaml",
    "check": "headrace check --config headrace.yaml",
    "doctor": "headrace doctor --json",
    "demo": "headrace demo --folder demo-output",
    "stream": "headrace stream tail phishing",
    "stream publish": "headrace stream publish phishing river:Phishing --rate 500",
    "stream tail": "headrace stream tail phishing -n 3 --follow",
    "model": "headrace model show phishing",
    "model list": "headrace model list --json",
    "model show": "headrace model show phishing",
    "model history": "headrace model history phishing --plot --metric F1",
    "model report": "headrace model report phishing 7 --html report.html",
    "model diff": "headrace model diff phishing 3 4",
    "model snapshot": "headrace model snapshot phishing --as before-sale",
    "model freeze": "headrace model freeze phishing --reason 'sensor in repair'",
    "model unfreeze": "headrace model unfreeze phishing",
    "model apply": "headrace model apply phishing --reason 'another step size'",
    "model promote": "headrace model promote phishing 5 --reason 'better on recent fraud'",
    "model rollback": "headrace model rollback phishing --to 3 --dry-run",
    "model replay": "headrace model replay phishing --spec other.yaml --from 3",
    "model delete": "headrace model delete phishing --reason 'no longer used'",
    "job": "headrace job list phishing",
    "job list": "headrace job list phishing --limit 5",
    "job show": "headrace job show 12",
    "job logs": "headrace job logs 12",
    "job start": "headrace job start phishing --wait",
    "job stop": "headrace job stop 12 --reason 'wrong window'",
    "exclusion": "headrace exclusion list phishing",
    "exclusion add": "headrace exclusion add phishing 1000..2000 --reason 'labels were inverted'",
    "exclusion list": "headrace exclusion list phishing --all",
    "exclusion remove": "headrace exclusion remove phishing 4",
    "drift": "headrace drift show phishing",
    "drift show": "headrace drift show phishing --limit 3",
    "drift check": "headrace drift check phishing --calibrate",
    "deadletter": "headrace deadletter list phishing",
    "deadletter list": "headrace deadletter list phishing --reason out_of_range",
    "deadletter show": "headrace deadletter show phishing 17",
    "deadletter replay": "headrace deadletter replay phishing 17",
    "token": "headrace token list",
    "token create": "headrace token create --name ci --role operator --expires 30d",
    "token list": "headrace token list --all",
    "token revoke": "headrace token revoke ci --reason 'laptop lost'",
    "registry": "headrace registry verify",
    "registry upgrade": "headrace registry upgrade",
    "registry downgrade": "headrace registry downgrade 0008",
    "registry prune": "headrace registry prune --json",
    "registry export": "headrace registry export phishing 3 phishing-3.hr",
    "registry import": "headrace registry import phishing-3.hr --as phishing-eu",
    "registry backfill": "headrace registry backfill phishing 2024.parquet 2025.parquet",
    "registry verify": "headrace registry verify --json",
}


def add_examples(app: typer.Typer, *, before: str = "") -> None:
    """Add its example to the help of every command and group of the app."""
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        command.epilog = _with_example(f"{before}{name}")
    for group in app.registered_groups:
        group.epilog = _with_example(f"{before}{group.name}")
        if group.typer_instance is not None:
            add_examples(group.typer_instance, before=f"{before}{group.name} ")


def _with_example(name: str) -> str:
    return f"Example: {EXAMPLES[name]}"
