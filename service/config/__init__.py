"""The settings: one YAML file and HEADRACE_ environment variables, read and checked here and nowhere else.

`bootstrap` and `cli` import it; operations and adapters are given plain values instead. Begin with `load_settings` in
`__init__.py`, then `sections.py`.
"""

import difflib
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from service.config.sections import (
    ArchiveSettings,
    LearnerSettings,
    LeaseSettings,
    LoggingSettings,
    Section,
    ServerSettings,
    StorageSettings,
    StreamSettings,
    TrainerSettings,
)
from service.domain.registry.served_prediction import prediction_log_mismatch
from service.domain.specification.model import ModelSpec
from service.errors import ConfigurationError, SpecificationError
from service.lazy import lazy_imports

with lazy_imports():
    from service.config import expressions

PREFIX = "HEADRACE_"
RESERVED = {"HEADRACE_CONFIG", "HEADRACE_FAILPOINT"}
_SSL_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")


class _Loader(yaml.SafeLoader):
    """Loads YAML in which only true and false are booleans (`on: error` has the key "on") and 1e-3 is a number."""


# YAML 1.1 reads the key `on` of drift monitors as true, and 1e-3 as text.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tTfF"))
_EXPONENT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


class Settings(Section):
    """Holds the whole configuration file."""

    storage: StorageSettings = StorageSettings()
    stream: StreamSettings = StreamSettings()
    learner: LearnerSettings = LearnerSettings()
    archive: ArchiveSettings = ArchiveSettings()
    trainer: TrainerSettings = TrainerSettings()
    server: ServerSettings = ServerSettings()
    lease: LeaseSettings = LeaseSettings()
    log: LoggingSettings = LoggingSettings()
    models: tuple[ModelSpec, ...] = ()
    failpoint: str | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _names_differ(self) -> "Settings":
        names = [model.name for model in self.models]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            msg = f"found two models named {', '.join(sorted(twice))}, expected different names"
            raise ValueError(msg)
        if (clash := prediction_log_mismatch(self.models)) is not None:
            raise ValueError(clash)
        return self

    @model_validator(mode="after")
    def _windows_have_an_archive(self) -> "Settings":
        asking = [one.name for one in self.models if one.retrain is not None and one.retrain.window is not None]
        if asking and self.storage.archive is None:
            msg = f"found retrain.window of {asking[0]} and storage.archive null, expected a folder to read it from"
            raise ValueError(msg)
        return self


def configuration_path(path: Path | None) -> Path:
    """Return the path of the configuration file: the given one, else HEADRACE_CONFIG, else ./headrace.yaml."""
    return path or Path(os.environ.get("HEADRACE_CONFIG", "headrace.yaml"))


def find_configuration(path: Path | None) -> Path:
    """Return the path of the configuration file; raise ConfigurationError when it does not exist."""
    found = configuration_path(path)
    if not found.exists():
        msg = f"found no file {found}, expected the configuration; run `headrace init` to write one"
        raise ConfigurationError(msg)
    return found


def load_settings(path: Path | None = None, *, candidates: bool = False, build: bool = True) -> Settings:
    """Return the settings; raise ConfigurationError, which lists every problem with file and line.

    With `candidates`, also build everything that retraining may try, which imports what the candidates need. Without
    `build`, skip estimators, metrics and monitors: a command that only reads rows of the registry does not use them,
    and river takes a second to import.
    """
    file = find_configuration(path)
    text = file.read_text(encoding="utf-8")
    try:
        data = yaml.load(text, Loader=_Loader) or {}  # noqa: S506 - a SafeLoader
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        msg = f"{file}: {error}"
        raise ConfigurationError(msg) from error
    if not isinstance(data, dict):
        msg = f"{file}: found {type(data).__name__}, expected keys such as storage, stream and models"
        raise ConfigurationError(msg)
    _apply_environment(data)
    try:
        settings = Settings.model_validate({**data, "failpoint": os.environ.get("HEADRACE_FAILPOINT")})
    except ValidationError as error:
        raise ConfigurationError("\n".join(_problem_line(file, node, one) for one in error.errors())) from error
    if build:
        _check_expressions(file, node, settings, candidates=candidates)
    return _resolve_paths(settings, file.parent)


def set_metrics_folder(folder: Path) -> None:
    """Tell prometheus_client, which reads it from the environment, where worker processes keep their values."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def json_schema() -> dict[str, Any]:
    """Return the published JSON schema of the file."""
    found = Settings.model_json_schema()
    del found["properties"]["failpoint"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "headrace.yaml"}


def _apply_environment(data: dict[str, Any]) -> None:
    """Override the file's values by environment variables: `HEADRACE_STORAGE__URL` sets `storage: {url: ...}`."""
    for name, value in os.environ.items():
        if not name.startswith(PREFIX) or name in RESERVED:
            continue
        *parents, leaf = name.removeprefix(PREFIX).lower().split("__")
        place: Any = data
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                msg = f"{name}: found that {parent} is no section, expected HEADRACE_ and keys joined by `__`"
                raise ConfigurationError(msg)
        place[leaf] = _parse_environment_value(value)


def _parse_environment_value(text: str) -> Any:
    """Return a list or a mapping if the text is one; leave anything else as text, such as a password made of digits."""
    try:
        found = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError:
        return text
    return found if isinstance(found, dict | list) else text


def _resolve_paths(settings: Settings, folder: Path) -> Settings:
    """Resolve relative paths against the folder of the file."""
    storage, log, kafka, tls = settings.storage, settings.stream.log, settings.stream.kafka, settings.server.tls
    files = {name: str(folder.resolve() / path) for name in _SSL_FILES if (path := getattr(kafka, name)) is not None}
    url = re.sub(r"^(sqlite:///)(?!/)", lambda found: f"{found[1]}{folder.resolve()}/", storage.url)
    artifacts = _resolve_address(storage.artifacts, folder)
    archive = None if storage.archive is None else _resolve_address(storage.archive, folder)
    return settings.model_copy(
        update={
            "storage": storage.model_copy(
                update={
                    "url": url,
                    "artifacts": artifacts,
                    "archive": archive,
                    "key_file": folder.resolve() / storage.key_file,
                }
            ),
            "server": settings.server.model_copy(update={"tls": tls and tls.relative_to(folder.resolve())}),
            "stream": settings.stream.model_copy(
                update={
                    "log": log.model_copy(update={"path": folder.resolve() / log.path}),
                    "kafka": kafka.model_copy(update=files),
                }
            ),
        }
    )


def _resolve_address(address: str, folder: Path) -> str:
    """Return an address with a scheme as it is, and a path relative to the folder."""
    return address if "://" in address else str(folder.resolve() / address)


def _check_expressions(file: Path, node: Any, settings: Settings, *, candidates: bool) -> None:
    problems: dict[tuple[int, str], int] = {}
    for index, model in enumerate(settings.models):
        found = expressions.buildable_parts(model, path=f"models[{index}].estimator")
        if candidates:
            found["retrain.candidates"] = partial(
                expressions.require_candidates_buildable, model, path=f"models[{index}].retrain"
            )
        for key, build in found.items():
            try:
                build()
            except SpecificationError as error:
                place = ("models", index, *key.split("."), *_list_index(error.path, f"models[{index}].{key}"))
                problems.setdefault((index, str(error)), _line_of(node, place))
    if problems:
        raise ConfigurationError("\n".join(f"{file}:{line}: {problem}" for (_, problem), line in problems.items()))


def _list_index(path: str, prefix: str) -> tuple[str | int, ...]:
    """Return the first index of a list below a key, which has a line of its own in the file."""
    found = re.match(r"\[(\d+)\]", path.removeprefix(prefix))
    return (int(found[1]),) if found and path.startswith(prefix) else ()


def _problem_line(file: Path, node: Any, error: Any) -> str:
    place = tuple(error["loc"])
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _known_keys(place[:-1]), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(_known_keys(place[:-1]))}"
        return f"{file}:{_line_of(node, place)}: {name}: found an unknown key; {hint}"
    if error["type"] == "value_error":
        return f"{file}:{_line_of(node, place)}: {name + ': ' if name else ''}{error['ctx']['error']}"
    found = "a secret" if "password" in name else str(error.get("input"))[:80]
    return f"{file}:{_line_of(node, place)}: {name}: found {found}, {error['msg'][:1].lower()}{error['msg'][1:]}"


def _known_keys(place: tuple[str | int, ...]) -> list[str]:
    kind: Any = Settings
    for part in place:
        if isinstance(part, int):
            continue
        field = kind.model_fields.get(part)
        kind = next(_models_in(field.annotation), None) if field else None
        if kind is None:
            return []
    return [name for name in kind.model_fields if name != "failpoint"]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _line_of(node: Any, place: tuple[str | int, ...]) -> int:
    """Return the line of the deepest part of the place that the file contains."""
    line = 1
    for part in place:
        children = {}
        if isinstance(node, yaml.MappingNode):
            children = {key.value: (key, value) for key, value in node.value}
        elif isinstance(node, yaml.SequenceNode):
            children = {index: (value, value) for index, value in enumerate(node.value)}
        if part not in children:
            break
        key, node = children[part]
        line = key.start_mark.line + 1
    return line
