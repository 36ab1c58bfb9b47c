"""Run the `headrace` command line for `python -m service`."""

import gc
from typing import NoReturn

from service.lazy import lazy_imports

with lazy_imports():
    from service.cli import app

COLLECT_AFTER = (50_000, 20, 50)


def main() -> NoReturn:
    """Run one command and exit with its code."""
    # What is imported stays: to look for garbage among it costs a short command a sixth of its time.
    gc.set_threshold(*COLLECT_AFTER)
    app.run_command_line()


if __name__ == "__main__":
    main()
