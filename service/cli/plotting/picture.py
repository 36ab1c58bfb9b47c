"""Draw a metric's history as a PNG; needs matplotlib but no display."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from service.cli.plotting.curve import emptied_note, value_limits
from service.domain.registry.metric_history import MetricHistory
from service.domain.registry.registry import VersionKind
from service.operations.reporting.plots import COLOURS, GRID_COLOUR, MUTED_COLOUR, TEXT_COLOUR

MODEL, BASELINE = COLOURS["candidate"], COLOURS["no change"]
ROLLBACK, EXCLUDED = "#d9480f", "#ffe3e3"
WIDTH, PANEL_HEIGHT, HEADER_HEIGHT = 11.0, 3.4, 0.95
MIN_LABEL_GAP = 0.055
"""The least distance between labels, as a share of the width."""


def draw_png(history: MetricHistory, path: Path) -> None:
    """Write a PNG with a panel for each metric; raise OSError if it cannot be written."""
    height = PANEL_HEIGHT * len(history.metrics) + HEADER_HEIGHT
    figure = Figure(figsize=(WIDTH, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(len(history.metrics), 1, sharex=True, squeeze=False)
    for axes, metric in zip(grid[:, 0], history.metrics, strict=True):
        _panel(axes, history, metric)
    _mark_labels(grid[0, 0], history)
    grid[-1, 0].set_xlabel("scored events", color=MUTED_COLOUR)
    _title(figure, history, height=height)
    figure.subplots_adjust(
        left=0.07, right=0.88, bottom=0.55 / height, top=1 - (HEADER_HEIGHT + 0.1) / height, hspace=0.18
    )
    figure.savefig(path, format="png")


def _title(figure: Figure, history: MetricHistory, *, height: float) -> None:
    last = history.points[-1]
    what = ", ".join(history.metrics) if len(history.metrics) < 4 else f"{len(history.metrics)} metrics"
    details = [f"prequential, over the last {history.window:,} scored events", f"until {last.at:%Y-%m-%d %H:%M} UTC"]
    if history.emptied:
        details.append(emptied_note(history))
    figure.text(
        0.07,
        1 - 0.32 / height,
        f"{history.model}: {what}",
        color=TEXT_COLOUR,
        fontsize=14,
        fontweight="bold",
        va="center",
    )
    figure.text(0.07, 1 - 0.6 / height, "; ".join(details), color=MUTED_COLOUR, fontsize=9, va="center")


def _panel(axes: Any, history: MetricHistory, metric: str) -> None:
    events = [point.event for point in history.points]
    for span in history.exclusions:
        axes.axvspan(span.first, span.last, color=EXCLUDED, linewidth=0, zorder=0)
    for mark in history.versions:
        if mark.event is not None:
            back = mark.kind is VersionKind.ROLLBACK
            color, style = (ROLLBACK, (0, (4, 2))) if back else (MUTED_COLOUR, (0, (1, 2)))
            axes.axvline(mark.event, color=color, linewidth=1.2 if back else 0.8, linestyle=style, zorder=1)
    baseline = [point.baseline[metric] for point in history.points]
    model = [point.metrics[metric] for point in history.points]
    axes.plot(events, _with_nan(baseline), color=BASELINE, linewidth=1, zorder=2)
    axes.plot(events, _with_nan(model), color=MODEL, linewidth=1.8, zorder=3)
    low, high = value_limits(history, metric)
    pad = 0.05 * (high - low) or 0.05
    axes.set_ylim(low - pad, high + pad)
    _end_labels(axes, model, baseline)
    axes.set_ylabel(metric, color=TEXT_COLOUR)
    axes.set_xlim(events[0], max(events[-1], events[0] + 1))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED_COLOUR, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID_COLOUR)


def _with_nan(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _end_labels(axes: Any, model: Sequence[float | None], baseline: Sequence[float | None]) -> None:
    """Write the names of both lines at their ends, so that they do not overlap."""
    low, high = axes.get_ylim()
    ends = [
        (value, name, color)
        for value, name, color in ((model[-1], "model", MODEL), (baseline[-1], "no change", MUTED_COLOUR))
        if value is not None
    ]
    places = [min(max((value - low) / (high - low), 0.03), 0.94) for value, _, _ in ends]
    if len(places) == 2 and abs(places[0] - places[1]) < 0.12:
        middle, up = sum(places) / 2, 1 if places[0] >= places[1] else -1
        places = [middle + 0.06 * up, middle - 0.06 * up]
    for place, (value, name, color) in zip(places, ends, strict=True):
        beyond = "" if low <= value <= high else "\n(off the scale)"
        axes.text(
            1.008, place, f"{name} {value:.3g}{beyond}", color=color, fontsize=9, va="center", transform=axes.transAxes
        )


def _mark_labels(axes: Any, history: MetricHistory) -> None:
    """Label lines and bands above the first panel; if room is short, rollbacks come before other versions."""
    first, last = axes.get_xlim()
    taken: list[float] = []
    back = [mark for mark in history.versions if mark.kind is VersionKind.ROLLBACK]
    rest = [mark for mark in history.versions if mark.kind is not VersionKind.ROLLBACK]
    labels = [(mark.event, f"rollback v{mark.number}", ROLLBACK) for mark in reversed(back)]
    labels += [((span.first + span.last) // 2, "excluded", ROLLBACK) for span in history.exclusions]
    labels += [(mark.event, f"v{mark.number}", MUTED_COLOUR) for mark in reversed(rest)]
    for event, text, color in labels:
        if event is None or not first <= event <= last:
            continue
        place = (event - first) / (last - first)
        if all(abs(place - other) >= MIN_LABEL_GAP for other in taken):
            taken.append(place)
            axes.text(place, 1.02, text, color=color, fontsize=8.5, ha="center", va="bottom", transform=axes.transAxes)
