"""`headrace init`, `check` and `doctor`."""

import shutil
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from service.cli.context import ConfigOption, Exit, JsonOption, reported, say, show_json, show_rows
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

EXAMPLE = """\
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
    keep: Annotated[bool, typer.Option(help="Keep a configuration that is there.")] = False,
) -> None:
    """Write a configuration, make the key, and set up the registry."""
    path = configuration.place(config)
    with reported():
        if path.exists() and not keep:
            msg = f"found {path} already; use --keep to make only what is missing"
            raise ConfigurationError(msg)
        if not path.exists():
            path.write_text(EXAMPLE, encoding="utf-8")
        settings = configuration.load(path)
        signing.create_key(settings.storage.key_file)
        upgrade.upgrade(settings.storage.url)
        say(f"ready: {path}; next, `headrace stream publish phishing river:Phishing` and `headrace run`")


def check(config: ConfigOption = None) -> None:
    """Say what is wrong with the configuration, with line and key."""
    with reported():
        settings = configuration.load(config, candidates=True)
        bootstrap.rehearse(settings)
        names = ", ".join(model.name for model in settings.models) or "none"
        say(f"good: models {names}")


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Try everything a learner needs, and say what is missing."""
    with reported():
        settings = configuration.load(config)
    findings = [_tried(name, partial(act, settings)) for name, act in _checks(settings).items()]
    if as_json:
        show_json(findings)
    else:
        show_rows(findings, CHECKS)
        bad = sum(finding["result"] == "bad" for finding in findings)
        say(f"{bad} of {count(len(findings), 'check')} {'is' if bad == 1 else 'are'} bad" if bad else "all is good")
    if any(finding["result"] == "bad" for finding in findings):
        raise typer.Exit(Exit.FAILED)


def _checks(settings: "configuration.Settings") -> "dict[str, Callable[[configuration.Settings], str]]":
    checks: dict[str, Callable[[configuration.Settings], str]] = {
        "key": _key,
        "registry": _registry,
        "disk": _disk,
    }
    if settings.storage.archive is not None and settings.models:
        checks["archive"] = _archive
    for model in settings.models:
        checks[f"stream of {model.name}"] = partial(_topic, topic=model.events)
        checks[f"model {model.name}"] = partial(_model, name=model.name)
    return checks


def _tried(name: str, act: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"check": name, "result": "good", "detail": act()}
    except HeadraceError as error:
        return {"check": name, "result": "bad", "detail": str(error)}


def _key(settings: "configuration.Settings") -> str:
    signing.load_key(settings.storage.key_file)
    return str(settings.storage.key_file)


def _registry(settings: "configuration.Settings") -> str:
    upgrade.require_current(settings.storage.url)
    return f"revision {upgrade.current(settings.storage.url)}"


def _disk(settings: "configuration.Settings") -> str:
    free = shutil.disk_usage(settings.storage.key_file.parent).free
    if free < 10**9:
        msg = f"found {free / 1e6:.0f} MB free, expected at least 1 GB"
        raise HeadraceError(msg)
    return f"{size(free)} free"


def _archive(settings: "configuration.Settings") -> str:
    upgrade.require_current(settings.storage.url)
    with bootstrap.open_app(settings) as app:
        behind = app.archive_behind()
    told = [f"{at.topic}[{at.partition}] {count} offsets behind" for at, count in sorted(behind.items())]
    return ", ".join(["writable", *told])


def _topic(settings: "configuration.Settings", topic: str) -> str:
    source = streams.open_source(settings, "doctor")
    try:
        bounds = source.bounds([topic])
    finally:
        source.close()
    return ", ".join(f"{at.topic}[{at.partition}] {found.start}..{found.end}" for at, found in bounds.items())


def _model(settings: "configuration.Settings", name: str) -> str:
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
