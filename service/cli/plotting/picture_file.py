"""Write a metric's history into a PNG file, if matplotlib is installed."""

from pathlib import Path

from service.domain.registry.metric_history import MetricHistory
from service.errors import ConfigurationError
from service.lazy import lazy_imports

with lazy_imports():
    from service.cli.plotting import picture


def write_png(history: MetricHistory, path: Path) -> None:
    """Write the picture; raise ConfigurationError without matplotlib or if the file cannot be written."""
    try:
        picture.draw_png(history, path)
    except ImportError as error:
        msg = f"found no {error.name}, which draws pictures; install `headrace[plot]`, or look at `--plot`"
        raise ConfigurationError(msg) from error
    except OSError as error:
        msg = f"found {path} not writable: {error.strerror}; expected the name of a new file in a folder that is there"
        raise ConfigurationError(msg) from error
