"""The detector of repeated code that `make check` runs."""

import subprocess
import sys
from pathlib import Path

from tests import ROOT

LINES = "".join(f"    total += values[{n}] * weights[{n}]\n" for n in range(7))


def test_code_that_stands_twice_is_found(tmp_path: Path) -> None:
    """Seven equal lines in two modules fail the check with the repository's settings, and six do not."""
    for name, count in (("few", 6), ("many", 7)):
        folder = tmp_path / name
        folder.mkdir()
        lines = "".join(LINES.splitlines(keepends=True)[:count])
        for module in ("__init__", "one", "other"):
            text = (
                "" if module == "__init__" else f"def {module}(values, weights, total):\n{lines}    return '{module}'\n"
            )
            (folder / f"{module}.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pylint", "--rcfile", str(ROOT / "pyproject.toml"), name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode != 0, "R0801" in done.stdout) == (count == 7, count == 7), done.stdout + done.stderr
