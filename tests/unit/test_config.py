"""The settings come from one file and the environment, and every problem is reported with its line."""

from pathlib import Path

import pytest

from service import config
from service.errors import ConfigurationError

MODEL = """\
models:
  - name: m
    task: binary
    events: m.events
    estimator:
      linear_model.LogisticRegression: {optimizer: {optim.SGD: {lr: 1e-3}}}
"""


def written(folder: Path, text: str = MODEL) -> Path:
    """Write a file with this text."""
    path = folder / "headrace.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_exponent_is_a_number(tmp_path: Path) -> None:
    """A learning rate of 1e-3 is a number, also without a point."""
    spec = config.load_settings(written(tmp_path)).models[0]
    assert spec.estimator == {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 0.001}}}}


@pytest.mark.parametrize("text", ["on", "off", "yes", "no", "y", "1e", "0:30x"])
def test_words_stay_text(tmp_path: Path, text: str) -> None:
    """Only true and false are booleans; a topic may be called no."""
    found = config.load_settings(written(tmp_path, MODEL.replace("m.events", text)))
    assert found.models[0].events == text


@pytest.mark.parametrize(
    ("name", "value", "place", "expected"),
    [
        ("HEADRACE_STORAGE__URL", "postgresql+psycopg://h/d", "storage.url", "postgresql+psycopg://h/d"),
        ("HEADRACE_LEARNER__PORT", "0", "learner.port", 0),
        ("HEADRACE_LEASE__TTL", "20s", "lease.ttl", 20.0),
        ("HEADRACE_LEASE__TTL", "7", "lease.ttl", 7.0),
        ("HEADRACE_STREAM__KAFKA__SASL_USERNAME", "on", "stream.kafka.sasl_username", "on"),
        ("HEADRACE_STREAM__KAFKA__OPTIONS", "{a: 1}", "stream.kafka.options", {"a": 1}),
    ],
)
def test_the_environment_replaces_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, place: str, expected: object
) -> None:
    """A variable sets the key that its name spells, whether the file has it or not."""
    monkeypatch.setenv(name, value)
    found: object = config.load_settings(written(tmp_path))
    for part in place.split("."):
        found = getattr(found, part)
    assert found == expected


def test_a_password_of_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret from the environment is text, whatever it looks like, and is not shown."""
    monkeypatch.setenv("HEADRACE_STREAM__KAFKA__SASL_PASSWORD", "0123")
    found = config.load_settings(written(tmp_path))
    assert found.stream.kafka.sasl_password is not None
    assert found.stream.kafka.sasl_password.get_secret_value() == "0123"
    assert "0123" not in repr(found)


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("task: binary", "taks: binary"), 3, "did you mean task?"),
        (("lr: 1e-3", "rl: 1e-3"), 5, "found no such parameter; did you mean lr?"),
        (("LogisticRegression", "LogisticRegresion"), 5, "did you mean linear_model.LogisticRegression?"),
        (("estimator:", "metrics: [Acuracy]\n    estimator:"), 5, "did you mean metrics.Accuracy?"),
        (("estimator:", "drift: [{name: e, detector: drift.ADWINN}]\n    estimator:"), 5, "did you mean drift.ADWIN?"),
        (("estimator:", "drift: [{name: e, metric: psi}]\n    estimator:"), 5, "expected a threshold and no detector"),
        (("estimator:", "drift: [{name: e}, {name: e}]\n    estimator:"), 5, "found two monitors named e"),
        (("estimator:", "drift: [{name: e, on: 'metric:F2', below: 1}]\n    estimator:"), 5, "found metric 'F2'"),
        (("estimator:", "start: lates\n    estimator:"), 5, "expected earliest, latest or a time with its zone"),
        (("estimator:", "start: 2026-01-31\n    estimator:"), 5, "expected earliest, latest or a time with its zone"),
        (("estimator:", "window: 0\n    estimator:"), 5, "found 0, input should be greater than 0"),
        (("estimator:", "checkpoint: {every: 5 parsecs}\n    estimator:"), 5, "like 1s"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, change: tuple[str, str], line: int, message: str) -> None:
    """The message has file, line, what was found, and what may have been meant."""
    path = written(tmp_path, MODEL.replace(*change))
    with pytest.raises(ConfigurationError) as caught:
        config.load_settings(path)
    assert message in str(caught.value)
    assert f"{path}:{line}: " in str(caught.value)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    """Two wrong expressions are two lines."""
    text = MODEL.replace("lr:", "rl:").replace("estimator:", "metrics: [Acuracy]\n    estimator:")
    with pytest.raises(ConfigurationError) as caught:
        config.load_settings(written(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("name", ["HEADRACE_FOO", "HEADRACE_MODELS__0__SEED", "HEADRACE_STORAGE__URL__X"])
def test_a_variable_that_sets_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A mistyped variable is not ignored."""
    monkeypatch.setenv(name, "7")
    with pytest.raises(ConfigurationError):
        config.load_settings(written(tmp_path, f"storage: {{url: 'sqlite:///x.db'}}\n{MODEL}"))


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Registry, artifacts, key and log stand beside the file, wherever the program was started."""
    found = config.load_settings(written(tmp_path))
    assert found.storage.url == f"sqlite:///{tmp_path}/var/headrace.db"
    assert Path(found.storage.artifacts) == tmp_path / "var/artifacts"
    assert found.storage.key_file == tmp_path / "var/headrace.key"
    assert found.stream.log.path == tmp_path / "var/log.db"


def test_another_address_than_loopback_is_refused(tmp_path: Path) -> None:
    """Without authentication the health routes are not opened to the network."""
    with pytest.raises(ConfigurationError, match="loopback"):
        config.load_settings(written(tmp_path, f"learner: {{host: 0.0.0.0}}\n{MODEL}"))


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 3 * *", "expected five fields"),
        ("61 3 * * *", "expected a cron expression"),
        ("0 3 * * mon-xyz", "weekday name"),
    ],
)
def test_a_schedule_that_cannot_be_followed(tmp_path: Path, cron: str, expected: str) -> None:
    """A cron expression that the scheduler cannot follow is refused with its line when the file is read."""
    path = written(tmp_path, MODEL + f'    retrain:\n      cron: "{cron}"\n')
    with pytest.raises(ConfigurationError, match=rf"headrace.yaml:[78]: models\[0\].retrain.*{expected}"):
        config.load_settings(path)


RETRAIN = """\
    retrain:
      window: {events: 1000}
      candidates:
        - name: good
        - name: other
          estimator: NAME
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("    retrain: {candidates: [{name: a}]}\n", "found candidates and no window"),
        ("    retrain: {split: {kind: random}}\n", "found split and no window"),
        ("    retrain: {cv: {folds: 3}}\n", "found cv and no window"),
        ("    retrain: {budget: {shares: 1}}\n", "did you mean share?"),
        (RETRAIN.replace("NAME", "{tree.HoeffdingTreeClassifier: {max_depth: {int: [9, 3]}}}"), "the lower one first"),
    ],
)
def test_what_retraining_says_of_its_data_is_checked(tmp_path: Path, text: str, said: str) -> None:
    """Splits and folds need a window, and search spaces are checked wherever they are."""
    with pytest.raises(ConfigurationError, match=said.replace("?", r"\?")):
        config.load_settings(written(tmp_path, MODEL + text), candidates=True)


def test_a_window_needs_an_archive(tmp_path: Path) -> None:
    """A window is refused if nothing is archived."""
    text = "storage: {archive: null}\n" + MODEL + "    retrain: {window: {days: 1}}\n"
    with pytest.raises(ConfigurationError, match=r"found retrain\.window of m and storage\.archive null"):
        config.load_settings(written(tmp_path, text))


def test_classes_are_not_asked_of_a_regression(tmp_path: Path) -> None:
    """A split or folds by class are refused for a regression."""
    text = MODEL.replace("task: binary", "task: regression").replace("LogisticRegression", "LinearRegression")
    policy = "    retrain: {window: {days: 1}, cv: {kind: stratified_kfold}}\n"
    with pytest.raises(ConfigurationError, match="found kind stratified_kfold for a regression"):
        config.load_settings(written(tmp_path, text + policy))


@pytest.mark.parametrize(
    "name",
    ["linear_model.LinearRegression", "tree.HoefdingTree", "batch.sklearn.RandomForest", "{batch.lightgbm.LGBM: {}}"],
)
def test_candidates_are_built_when_asked_for(tmp_path: Path, name: str) -> None:
    """A candidate that cannot be built is reported with its line; only `headrace check` takes the time for it."""
    file = written(tmp_path, MODEL + RETRAIN.replace("NAME", name))
    assert config.load_settings(file).models[0].retrain is not None
    with pytest.raises(ConfigurationError, match=rf"{file}:11: models\[0\].retrain.candidates\[1\].estimator"):
        config.load_settings(file, candidates=True)


def test_served_predictions_need_labels(tmp_path: Path) -> None:
    """Served predictions need a labels topic; the message says which line to add."""
    with pytest.raises(ConfigurationError, match=r"log_predictions.*found no `labels`.*`labels: m\.events`"):
        config.load_settings(written(tmp_path, f"{MODEL}    log_predictions: true\n"))
    text = f"{MODEL}    labels: m.events\n    log_predictions: true\n"
    assert config.load_settings(written(tmp_path, text)).models[0].log_predictions


def test_models_that_share_a_topic_share_what_is_served(tmp_path: Path) -> None:
    """Models that share a topic must all log predictions or none, as one without the key would refuse the records."""
    served = f"{MODEL}    labels: m.events\n    log_predictions: true\n"
    other = MODEL.removeprefix("models:\n").replace("name: m", "name: other")
    with pytest.raises(ConfigurationError, match=r"log_predictions of m and not of other, which reads m\.events too"):
        config.load_settings(written(tmp_path, served + other))
    both = other + "    labels: m.events\n    log_predictions: true\n"
    assert len(config.load_settings(written(tmp_path, served + both)).models) == 2
