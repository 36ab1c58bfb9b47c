"""Fitted batch models, stored in formats that run no code when loaded: skops for scikit-learn, text for LightGBM.

A skops file is checked before skops reads it: every node must be one of `ALLOWED_NODES`, which name class and loader.
So it can contain no function, no method and no call. The trees inside are checked afterwards, because compiled code
follows their indices without a bounds check.
"""

import importlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from service.errors import ArtifactError, EnvironmentChangedError, ForbiddenClassError
from service.learning.batch.contributions import ColumnContributions, column_contributions, fold_categories, score_index
from service.learning.batch.feature_matrix import Matrix
from service.learning.scikit_internals import histogram_trees

ALLOWED_NODES = frozenset(
    {
        *(("builtins", name, f"{name.capitalize()}Node") for name in ("dict", "list", "slice", "tuple")),
        *(("builtins", name, "JsonNode") for name in ("str", "int", "float", "bool", "NoneType")),
        ("builtins", "str", "TypeNode"),
        *(("numpy", name, "TypeNode") for name in ("float64", "float32", "int64")),
        *(("numpy", name, "NdArrayNode") for name in ("ndarray", "float64", "float32", "int64", "uint64", "bool")),
        ("numpy", "dtype", "DTypeNode"),
        ("numpy.random._generator", "Generator", "RandomGeneratorNode"),
        ("numpy.random.mtrand", "RandomState", "RandomStateNode"),
        *(("sklearn._loss._loss", f"CyHalf{kind}", "LossNode") for kind in ("BinomialLoss", "MultinomialLoss")),
        ("sklearn._loss._loss", "CyHalfSquaredError", "LossNode"),
        ("sklearn.tree._tree", "Tree", "TreeNode"),
        *(
            (f"sklearn.{module}", name, "ObjectNode")
            for module, names in {
                "_loss.link": ("IdentityLink", "Interval", "LogitLink", "LogLink", "MultinomialLogit"),
                "_loss.loss": ("HalfBinomialLoss", "HalfMultinomialLoss", "HalfSquaredError"),
                "compose._column_transformer": ("ColumnTransformer",),
                "dummy": ("DummyClassifier", "DummyRegressor"),
                "ensemble._forest": (
                    *("ExtraTreesClassifier", "ExtraTreesRegressor"),
                    *("RandomForestClassifier", "RandomForestRegressor"),
                ),
                "ensemble._gb": ("GradientBoostingClassifier", "GradientBoostingRegressor"),
                "ensemble._hist_gradient_boosting.binning": ("_BinMapper",),
                "ensemble._hist_gradient_boosting.gradient_boosting": (
                    *("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
                ),
                "ensemble._hist_gradient_boosting.predictor": ("TreePredictor",),
                "impute._base": ("SimpleImputer",),
                "linear_model._base": ("LinearRegression",),
                "linear_model._coordinate_descent": ("ElasticNet", "Lasso"),
                "linear_model._logistic": ("LogisticRegression",),
                "linear_model._ridge": ("Ridge",),
                "naive_bayes": ("GaussianNB",),
                "neural_network._multilayer_perceptron": ("MLPClassifier", "MLPRegressor"),
                "neural_network._stochastic_optimizers": ("AdamOptimizer", "SGDOptimizer"),
                "pipeline": ("Pipeline",),
                "preprocessing._data": ("StandardScaler",),
                "preprocessing._encoders": ("OneHotEncoder",),
                "preprocessing._function_transformer": ("FunctionTransformer",),
                "preprocessing._label": ("LabelBinarizer", "LabelEncoder"),
                "tree._classes": (
                    *("DecisionTreeClassifier", "DecisionTreeRegressor"),
                    *("ExtraTreeClassifier", "ExtraTreeRegressor"),
                ),
            }.items()
            for name in names
        ),
    }
)
"""(module, class, loader) of everything that a file may contain."""

_CACHED_NODE = "CachedNode"
"""The loader of a reference to a node that is in the file already."""


class BatchModel(Protocol):
    """A fitted model; it predicts a matrix at once, on one thread."""

    def predict(self, rows: Matrix) -> npt.NDArray[np.float64]:
        """Return values, or a column of probabilities for each class."""
        ...

    def predict_each(self, rows: Matrix) -> Sequence[Any]:
        """Return the same predictions, bit for bit as if each row had come alone."""
        ...

    def contributions(self, rows: Matrix, class_index: int | None) -> ColumnContributions | None:
        """Return each column's contribution to the class's score for the single row; None if not available."""
        ...

    def to_bytes(self) -> bytes:
        """Return the bytes that `load_batch_model` reads."""
        ...


class ScikitModel:
    """A fitted pipeline of scikit-learn."""

    def __init__(self, pipeline: Any, data: bytes | None = None) -> None:
        self._pipeline = pipeline
        self._final = pipeline.steps[-1][1]
        self._predict = pipeline.predict_proba if hasattr(pipeline, "predict_proba") else pipeline.predict
        self._data = data
        self._threads = importlib.import_module("threadpoolctl").ThreadpoolController()

    @classmethod
    def from_bytes(cls, data: bytes) -> "ScikitModel":
        """Load a pipeline; raise ForbiddenClassError for a class that is not allowed, before anything is built."""
        _require_allowed_nodes(data)
        trusted = sorted({f"{module}.{name}" for module, name, _ in ALLOWED_NODES})
        pipeline = importlib.import_module("skops.io").loads(data, trusted=trusted)
        _require_valid_trees(pipeline)
        return cls(pipeline, data)

    def predict(self, rows: Matrix) -> npt.NDArray[np.float64]:
        """Return values, or a column of probabilities for each class."""
        with self._threads.limit(limits=1):
            found: npt.NDArray[np.float64] = np.asarray(self._predict(rows), dtype=np.float64)
        return found

    def predict_each(self, rows: Matrix) -> Sequence[Any]:
        """Predict row by row where linear algebra would mix rows; trees, and the steps before, keep rows apart."""
        if type(self._final).__module__.startswith("sklearn.ensemble."):
            return list(self.predict(rows))
        final = self._final.predict_proba if hasattr(self._final, "predict_proba") else self._final.predict
        with self._threads.limit(limits=1):
            ready = self._pipeline[:-1].transform(rows) if len(self._pipeline) > 1 else rows
            return [np.asarray(final(ready[row : row + 1]), dtype=np.float64)[0] for row in range(len(ready))]

    def contributions(self, rows: Matrix, class_index: int | None) -> ColumnContributions | None:
        """Explain linear models, forests and histogram-based boosted trees; return None for others."""
        with self._threads.limit(limits=1):
            ready = self._pipeline[:-1].transform(rows) if len(self._pipeline) > 1 else rows
        found = column_contributions(self._final, ready[0], class_index)
        return None if found is None else fold_categories(self._pipeline, found, rows.shape[1])

    def to_bytes(self) -> bytes:
        """Return a skops file, written once, because a fitted model does not change."""
        if self._data is None:
            skops = importlib.import_module("skops.io")
            self._data = bytes(skops.dumps(self._pipeline, compression=zipfile.ZIP_DEFLATED))
        return self._data


class LightgbmModel:
    """A LightGBM booster, always loaded from its text."""

    def __init__(self, text: str) -> None:
        lightgbm = importlib.import_module("lightgbm")
        try:
            self._booster: Any = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            msg = f"found a LightGBM model that cannot be read ({error}); run `headrace registry verify`"
            raise ArtifactError(msg) from error
        self._data = zlib.compress(text.encode(), 6)

    @classmethod
    def from_bytes(cls, data: bytes) -> "LightgbmModel":
        """Load a booster; raise ArtifactError if it cannot be read."""
        return cls(zlib.decompress(data).decode())

    def predict(self, rows: Matrix) -> npt.NDArray[np.float64]:
        """Return values, or a column of probabilities for each class."""
        found: npt.NDArray[np.float64] = np.asarray(self._booster.predict(rows, num_threads=1), dtype=np.float64)
        return found

    def predict_each(self, rows: Matrix) -> Sequence[Any]:
        """Predict together; trees treat each row separately anyway."""
        return list(self.predict(rows))

    def contributions(self, rows: Matrix, class_index: int | None) -> ColumnContributions | None:
        """Return LightGBM's TreeSHAP values of the raw score (Lundberg et al., 2020)."""
        found = self._booster.predict(rows, pred_contrib=True, num_threads=1).reshape(-1, rows.shape[1] + 1)
        at, about = score_index(class_index, len(found))
        return ColumnContributions(float(found[at, -1]), found[at, :-1], about)

    def to_bytes(self) -> bytes:
        """Return the booster's text, compressed."""
        return self._data


MODEL_CLASSES: Mapping[str, type[ScikitModel] | type[LightgbmModel]] = {
    "sklearn": ScikitModel,
    "lightgbm": LightgbmModel,
}


def load_batch_model(library: str, data: bytes, *, release: str) -> BatchModel:
    """Load a model; raise EnvironmentChangedError for another scikit-learn (LightGBM reads any release)."""
    installed = installed_version(library)
    if library == "sklearn" and release != installed:
        msg = (
            f"found a model of scikit-learn {release}, and {installed} is installed; install scikit-learn=={release}, "
            "or train again with `headrace job start`"
        )
        raise EnvironmentChangedError(msg)
    return MODEL_CLASSES[library].from_bytes(data)


def installed_version(library: str) -> str:
    """Return the installed version of the library."""
    return str(importlib.import_module(library).__version__)


def _require_allowed_nodes(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read("schema.json"))
    for node in _nodes(schema):
        named = (node.get("__module__"), node.get("__class__"), node.get("__loader__"))
        if named not in ALLOWED_NODES and named[2] != _CACHED_NODE:
            msg = (
                f"found a skops file that names {named[0]}.{named[1]} ({named[2]}), expected only what scikit-learn's "
                "listed estimators are made of; it is not opened. Run `headrace registry verify`"
            )
            raise ForbiddenClassError(msg)


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield everything that skops could take for a node."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, Mapping):
            if not {"__module__", "__class__", "__loader__"}.isdisjoint(one):
                yield one
            todo += one.values()
        elif isinstance(one, list):
            todo += one


def _require_valid_trees(pipeline: Any) -> None:
    """Check the trees' indices: bad ones would crash the process or read foreign memory in compiled code."""
    final = pipeline.steps[-1][1]
    width = int(getattr(final, "n_features_in_", 0))
    for predictors in histogram_trees(final):
        for one in predictors:
            nodes = one.nodes
            inner = nodes[nodes["is_leaf"] == 0]
            _require_inside(len(nodes), [inner["left"], inner["right"]], inner["feature_idx"], width)
    for tree in _trees(final):
        inner = tree.children_left >= 0
        children = [tree.children_left[inner], tree.children_right[inner]]
        _require_inside(tree.node_count, children, tree.feature[inner], width)


def _trees(final: Any) -> Iterator[Any]:
    for one in np.ravel(np.asarray(getattr(final, "estimators_", ()), dtype=object)):
        if hasattr(one, "tree_"):
            yield one.tree_


def _require_inside(count: int, children: Sequence[Any], features: Any, width: int) -> None:
    inside = all(np.all((part >= 0) & (part < count)) for part in children)
    if not inside or not np.all((features >= 0) & (features < width)):
        msg = "found a tree whose nodes lead outside of it; it is not used. Run `headrace registry verify`"
        raise ArtifactError(msg)
