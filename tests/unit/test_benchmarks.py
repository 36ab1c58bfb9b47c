"""The benchmarks run, and put every ratio beside its target."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.claims import Claim, of_largest, of_medians

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_throughput_prints_its_ratios_beside_their_targets(tmp_path: Path) -> None:
    """A quick run names the machine, both ratios and their targets, and says by its exit code whether they hold."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "throughput", "--json", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    results = json.loads((tmp_path / "out").read_text(encoding="utf-8"))["results"]["throughput"]
    ratios = {one["name"]: one for one in results if one["at_least"] is not None}
    assert {name: one["at_least"] for name, one in ratios.items()} == {
        "in memory, Accuracy / bare loop": 0.85,
        "in memory, Accuracy + F1 + ROCAUC / bare loop": 0.6,
    }
    assert all(one["value"] > 0 for one in ratios.values())
    assert done.returncode == (0 if all(one["holds"] for one in ratios.values()) else 1), done.stderr
    assert all(name in done.stdout for name in (*ratios, "processor", "cores", "python", "river", "at least 0.85"))


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        (of_medians("ratio", [0.5, 0.9, 0.91], at_least=0.9), True),
        (of_medians("ratio", [0.5, 0.89, 1.2], at_least=0.9), False),
        (of_largest("seconds", [0.5, 3.1], unit="s", at_most=3.0), False),
        (of_largest("seconds", [0.5, 2.9], unit="s", at_most=3.0), True),
        (of_medians("rate", [1.0]), True),
    ],
)
def test_a_claim_holds_where_its_value_keeps_the_bound(claim: Claim, holds: bool) -> None:
    """Medians are held to a lower bound, largest values to an upper one, and figures without a bound only told."""
    assert claim.holds is holds


def test_a_claim_that_fails_is_told_from_one_that_is_only_measured() -> None:
    """A failure is shown as such, and a figure without a bound has neither target nor verdict."""
    assert of_medians("ratio", [0.5], at_least=0.9).row() == ["ratio", "0.50", "0.50 .. 0.50", "at least 0.90", "FAILS"]
    assert of_medians("rate", [1234.0], unit="events/s").row()[-2:] == ["-", "-"]
