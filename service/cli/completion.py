"""Complete model names in the shell."""

from service.errors import ConfigurationError
from service.lazy import lazy_imports

with lazy_imports():
    from service import config as configuration


def model_names(incomplete: str) -> list[str]:
    """Return the configured models whose names begin so, or none without a valid configuration."""
    try:
        models = configuration.load_settings(build=False).models
    except ConfigurationError:
        return []
    return [str(model.name) for model in models if model.name.startswith(incomplete)]
