"""What tests of dependencies' private parts say when they fail: which file to change, and where the bound stands."""

import importlib.metadata
from types import ModuleType


def changed(dependency: str, *, module: ModuleType) -> str:
    """Return the message of a failed assertion about what `module` takes from a dependency's inside."""
    release = importlib.metadata.version(dependency)
    return (
        f"{dependency} {release} differs inside from the release that {module.__name__} was written for: adapt "
        f"{module.__file__}, and only then raise the upper bound of {dependency} in pyproject.toml"
    )
