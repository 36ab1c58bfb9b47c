"""Lazy imports: a module named in `with lazy_imports():` is executed when something in it is first used.

This is the only way in this package to defer an import. The command line has some forty commands with different needs,
and loading river, polars or FastAPI takes longer than most commands run. Because they are written as ordinary imports,
the names stay visible to type checkers, to the import contract and to a search.

    with lazy_imports():
        from service.learning import estimators

Only modules of this package are deferred, and only whole modules: `from package import module`. `from module import
name` uses the module, and so executes it. Annotations that name a deferred module are written as strings.
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = f"{__name__.partition('.')[0]}."


class _LazyModule(ModuleType):
    """A module that has not been executed yet."""

    def __getattribute__(self, name: str) -> Any:
        """Return what the import system has set; for anything else execute the module first."""
        known = ModuleType.__getattribute__(self, "__dict__")
        if name == "__class__" or (name in known and name != "__dict__"):
            return ModuleType.__getattribute__(self, name)
        loader = known["__spec__"].loader
        if isinstance(loader, _LazyLoader):
            if loader.leaves(name):
                raise AttributeError(name)
            loader.execute(self)
        return ModuleType.__getattribute__(self, name)


class _LazyLoader(Loader):
    """Creates the module now and leaves its execution for later.

    `importlib.util.LazyLoader` does the same, but before Python 3.11.8 a second thread that uses the module meanwhile
    finds it half executed; a learner of several models has several threads.
    """

    def __init__(self, spec: ModuleSpec, loader: Loader) -> None:
        self._spec = spec
        self._loader = loader
        self._lock = threading.RLock()
        self._begun = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave the creation to the wrapped loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Defer the module's execution."""
        module.__class__ = _LazyModule

    def execute(self, module: ModuleType) -> None:
        """Execute the module once; other threads wait, while this one may find it half executed in a cycle."""
        with self._lock:
            if self._begun:
                return
            self._begun = True
            try:
                self._loader.exec_module(module)
            except BaseException:
                self._begun = False
                raise
            module.__class__ = ModuleType

    def leaves(self, name: str) -> bool:
        """Return whether `from package import name` asks for a submodule, which needs no execution of the package."""
        inside = self._spec.submodule_search_locations
        if inside is None or self._begun or not getattr(_blocks, "depth", 0):
            return False
        return _found(f"{self._spec.name}.{name}", inside) is not None


class _LazyFinder(MetaPathFinder):
    """Finds what the other finders find, and defers the execution of this package's modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's specification with a deferring loader, or None for modules of other packages."""
        spec = _found(fullname, path, target) if fullname.startswith(_PACKAGE) else None
        if spec is not None and spec.loader is not None:
            spec.loader = _LazyLoader(spec, spec.loader)
        return spec


_blocks = threading.local()


@contextmanager
def lazy_imports() -> Iterator[None]:
    """Defer the execution of modules that are imported in this block until they are used."""
    finder = _LazyFinder()
    sys.meta_path.insert(0, finder)
    _blocks.depth = getattr(_blocks, "depth", 0) + 1
    try:
        yield
    finally:
        _blocks.depth -= 1
        sys.meta_path.remove(finder)


def load_all() -> None:
    """Execute every deferred module, for a process that forks or must not stop for an import later."""
    while waiting := [one for one in list(sys.modules.values()) if type(one) is _LazyModule]:
        for module in waiting:
            vars(module)


def _found(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
    others = (one for one in sys.meta_path if not isinstance(one, _LazyFinder))
    return next((spec for one in others if (spec := one.find_spec(name, path, target)) is not None), None)
