"""`headrace init`, `check` and `doctor`: set up and check an installation."""

import shutil
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from service.cli.context import ConfigOption, ExitCode, JsonOption, report_errors, say, show_json, show_rows
from service.cli.printing.layout import Column
from service.cli.printing.wording import count, size
from service.errors import ConfigurationError, HeadraceError
from service.lazy import lazy_imports

with lazy_imports():
    from service import bootstrap
    from service import config as configuration
    from service.bootstrap import streams, wiring
    from service.storage.checkpoints import signing
    from service.storage.schema import upgrade

EXAMPLE_CONFIGURATION = """\
storage:
  url: sqlite:///var/headrace.db
  key_file: var/headrace.key
models:
  - name: phishing
    task: binary
    events: phishing.events
    estimator:
      - preprocessing.StandardScaler
      - linear_model.LogisticRegression: {optimizer: {optim.SGD: {lr: 0.005}}}
"""


CHECKS = (Column("check"), Column("result"), Column("detail"))


def init(
    config: ConfigOption = None,
    keep: Annotated[bool, typer.Option(help="Keep an existing configuration.")] = False,
) -> None:
    """Write a configuration, make the key, and set up the registry."""
    path = configuration.configuration_path(config)
    with report_errors():
        if path.exists() and not keep:
            msg = f"found {path} already; use --keep to make only what is missing"
            raise ConfigurationError(msg)
        if not path.exists():
            path.write_text(EXAMPLE_CONFIGURATION, encoding="utf-8")
        settings = configuration.load_settings(path)
        signing.create_key(settings.storage.key_file)
        upgrade.upgrade_schema(settings.storage.url)
        say(f"ready: {path}; next, `headrace stream publish phishing river:Phishing` and `headrace run`")


def check_configuration(config: ConfigOption = None) -> None:
    """Check the configuration; report errors with line and key."""
    with report_errors():
        settings = configuration.load_settings(config, candidates=True)
        bootstrap.require_models_buildable(settings)
        names = ", ".join(model.name for model in settings.models) or "none"
        say(f"good: models {names}")


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check everything that a learner needs, and report what is missing."""
    with report_errors():
        settings = configuration.load_settings(config)
    findings = [_run_check(name, partial(act, settings)) for name, act in _checks(settings).items()]
    if as_json:
        show_json(findings)
    else:
        show_rows(findings, CHECKS)
        bad = sum(finding["result"] == "bad" for finding in findings)
        say(f"{bad} of {count(len(findings), 'check')} {'is' if bad == 1 else 'are'} bad" if bad else "all is good")
    if any(finding["result"] == "bad" for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def _checks(settings: "configuration.Settings") -> "dict[str, Callable[[configuration.Settings], str]]":
    checks: dict[str, Callable[[configuration.Settings], str]] = {
        "key": _check_key,
        "registry": _check_registry,
        "disk": _check_disk,
    }
    if settings.storage.archive is not None and settings.models:
        checks["archive"] = _check_archive
    for model in settings.models:
        checks[f"stream of {model.name}"] = partial(_check_topic, topic=model.events)
        checks[f"model {model.name}"] = partial(_check_model, name=model.name)
    return checks


def _run_check(name: str, action: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"check": name, "result": "good", "detail": action()}
    except HeadraceError as error:
        return {"check": name, "result": "bad", "detail": str(error)}


def _check_key(settings: "configuration.Settings") -> str:
    signing.load_key(settings.storage.key_file)
    return str(settings.storage.key_file)


def _check_registry(settings: "configuration.Settings") -> str:
    upgrade.require_current_revision(settings.storage.url)
    return f"revision {upgrade.current_revision(settings.storage.url)}"


def _check_disk(settings: "configuration.Settings") -> str:
    free = shutil.disk_usage(settings.storage.key_file.parent).free
    if free < 10**9:
        msg = f"found {free / 1e6:.0f} MB free, expected at least 1 GB"
        raise HeadraceError(msg)
    return f"{size(free)} free"


def _check_archive(settings: "configuration.Settings") -> str:
    upgrade.require_current_revision(settings.storage.url)
    with bootstrap.open_app(settings) as app:
        behind = app.archive_lag()
    lag_texts = [f"{at.topic}[{at.partition}] {count} offsets behind" for at, count in sorted(behind.items())]
    return ", ".join(["writable", *lag_texts])


def _check_topic(settings: "configuration.Settings", topic: str) -> str:
    source = streams.open_source(settings, "doctor")
    try:
        bounds = source.bounds([topic])
    finally:
        source.close()
    return ", ".join(f"{at.topic}[{at.partition}] {found.start}..{found.end}" for at, found in bounds.items())


def _check_model(settings: "configuration.Settings", name: str) -> str:
    with bootstrap.open_app(settings) as app:
        if name not in {model.name for model in app.registry.models.list()}:
            return "not registered yet; `headrace learn` registers it"
        version = app.registry.history.versions(name)[-1]
        here = wiring.environment()
        differ = [
            f"{key} {version.environment.get(key)} -> {here[key]}"
            for key in here
            if version.environment.get(key) != here[key]
        ]
        return f"version {version.number}; " + (
            f"made elsewhere: {', '.join(differ)}" if differ else "made with these packages"
        )
