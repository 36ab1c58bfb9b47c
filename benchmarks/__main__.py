"""Run the benchmarks with `python -m benchmarks`: measure, print ratios beside their targets, fail if one is missed."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import (
    adaptation,
    archive,
    ingestion,
    kafka,
    labels,
    memory,
    overload,
    promotions,
    recovery,
    replay,
    retraining,
    serving,
    throughput,
)
from benchmarks.claims import Claim
from benchmarks.machine import description
from benchmarks.report import listed, page, table

EVENTS, QUICK_EVENTS = 1_000_000, 20_000
BENCHMARKS: Mapping[str, Callable[[int], list[Claim]]] = {
    "throughput": throughput.measure,
    "kafka": kafka.measure,
    "recovery": recovery.measure,
    "replay": replay.measure,
    "memory": memory.measure,
    "labels": labels.measure,
    "archive": archive.measure,
    "promotions": promotions.measure,
    "retraining": retraining.measure,
    "adaptation": adaptation.measure,
    "serving": serving.measure,
    "overload": overload.measure,
    "ingestion": ingestion.measure,
}


def main() -> int:
    """Return 0 if every claim holds, otherwise 1."""
    given = _arguments()
    events = given.events or (QUICK_EVENTS if given.quick else EVENTS)
    machine = description()
    print(listed(machine), flush=True)
    found: dict[str, list[Claim]] = {}
    for name in given.only or BENCHMARKS:
        began = time.monotonic()
        found[name] = BENCHMARKS[name](events)
        title = f"{name} ({events:,} events, {time.monotonic() - began:.0f} s)"
        print(table(title, found[name]), flush=True)
    if given.json:
        results = {name: [claim.to_json() for claim in claims] for name, claims in found.items()}
        given.json.write_text(json.dumps({"machine": machine, "events": events, "results": results}, indent=2))
    if given.write:
        before = given.write.read_text(encoding="utf-8") if given.write.exists() else ""
        given.write.write_text(page(before, machine, found, events=events), encoding="utf-8")
    failed = [claim.name for claims in found.values() for claim in claims if not claim.holds]
    print("every ratio holds" if not failed else f"does not hold: {'; '.join(failed)}")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="one benchmark; may be repeated")
    parser.add_argument("--events", type=int, help=f"how many each contestant learns ({EVENTS:,})")
    parser.add_argument("--quick", action="store_true", help="few events: to see it work, not to believe the figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also as JSON")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also as a Markdown page")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
