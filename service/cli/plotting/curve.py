"""Draw a metric's history as a curve in the terminal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plotille import Canvas
from rich.text import Text

from service.domain.registry.metric_history import MetricHistory
from service.domain.registry.registry import VersionKind

HEIGHT = 12
MAX_BASELINE_SCALE = 6
"""A baseline that would stretch the scale by more than this factor is left out."""

MAX_WIDTH = 100
MARKS = {VersionKind.ROLLBACK: "↺", VersionKind.SNAPSHOT: "▲"}


def value_limits(history: MetricHistory, metric: str) -> tuple[float, float]:
    """Return the least and greatest value to show; the baseline's count unless it is far off the scale."""
    model = [one for point in history.points if (one := point.metrics[metric]) is not None]
    baseline = [one for point in history.points if (one := point.baseline[metric]) is not None]
    both = [*model, *baseline] or [0.0, 1.0]
    reach = max(max(model) - min(model), 0.2 * abs(max(model))) if model else math.inf
    shown = model if max(both) - min(both) > MAX_BASELINE_SCALE * reach else both
    return min(shown), max(shown)


def is_off_scale(history: MetricHistory, metric: str) -> bool:
    """Return whether the newest value of the baseline lies outside the limits."""
    (low, high), newest = value_limits(history, metric), history.points[-1].baseline[metric]
    return newest is not None and not low <= newest <= high


def chart(history: MetricHistory, metric: str, *, width: int) -> Text:
    """Return one metric with the baseline and the marks, at most `width` columns wide."""
    frame = _Frame.fit(history, metric, width=min(width, MAX_WIDTH))
    lines = [
        Text.assemble(
            (f"{metric} of {history.model} over {history.window:,} events", "bold"),
            "   ",
            ("━ model", "cyan"),
            "   ",
            ("┅ no change", "bright_black"),
        ),
        *_plot(history, metric, frame),
        *_axis(frame),
        *_marks(history, frame),
        *_notes(history, metric),
    ]
    return Text("\n").join(lines)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The part of the plane that is shown, and its layout in columns."""

    first: int
    last: int
    low: float
    high: float
    step: float
    margin: int
    columns: int

    @classmethod
    def fit(cls, history: MetricHistory, metric: str, *, width: int) -> "_Frame":
        """Return a frame for the history whose limits are round numbers."""
        lowest, highest = value_limits(history, metric)
        step = round_step((highest - lowest or abs(highest) or 1.0) / 4)
        low, high = math.floor(lowest / step) * step, math.ceil(highest / step) * step
        high = high if high > low else low + step
        first, last = history.points[0].event, history.points[-1].event
        margin = max(len(_number(one, step)) for one in (low, high)) + 2
        return cls(first, max(last, first + 1), low, high, step, margin, width - margin - 1)

    def column(self, event: float) -> int:
        """Return the column of an event, from 0."""
        share = (event - self.first) / (self.last - self.first)
        return min(max(round(share * (self.columns - 1)), 0), self.columns - 1)


def round_step(step: float) -> float:
    """Return the smallest of 1, 2 or 5 times a power of ten that is not less than the step."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((one * power for one in (1, 2, 5) if one * power >= step * 0.999), 10 * power)


def _plot(history: MetricHistory, metric: str, frame: _Frame) -> list[Text]:
    canvas = _canvas(frame)
    for mark in history.versions:
        if mark.kind is VersionKind.ROLLBACK and mark.event is not None and frame.first <= mark.event <= frame.last:
            _dotted(canvas, mark.event, frame)
    if not is_off_scale(history, metric):
        _line(canvas, [(point.event, point.baseline[metric]) for point in history.points], "bright_black")
    _line(canvas, [(point.event, point.metrics[metric]) for point in history.points], "cyan")
    return [
        Text.assemble((label.rjust(frame.margin - 1), "default"), ("┤" if label else "│"), Text.from_ansi(line))
        for label, line in zip(_labels(frame), canvas.plot().split("\n"), strict=True)
    ]


def _canvas(frame: _Frame) -> Any:
    """Return a canvas with two by four dots per character.

    Its limits lie one dot beyond the greatest values, so that these are drawn too.
    """
    dots = ((frame.first, frame.last, frame.columns * 2), (frame.low, frame.high, HEIGHT * 4))
    right, top = (low + (high - low) * count / (count - 1) for low, high, count in dots)
    return Canvas(frame.columns, HEIGHT, xmin=frame.first, ymin=frame.low, xmax=right, ymax=top, mode="names")


def _dotted(canvas: Any, event: int, frame: _Frame) -> None:
    rise = (frame.high - frame.low) / (HEIGHT * 2 - 1)
    for i in range(HEIGHT * 2):
        canvas.point(event, frame.low + i * rise, color="yellow")


def _line(canvas: Any, values: Sequence[tuple[int, float | None]], color: str) -> None:
    before = None
    for event, value in values:
        if value is None:
            before = None
            continue
        start = before or (event, value)
        canvas.line(*start, event, value, color=color)
        before = (event, value)


def _labels(frame: _Frame) -> list[str]:
    """Return the scale's numbers, each at the line of text in which its value lies."""
    found = [""] * HEIGHT
    count = round((frame.high - frame.low) / frame.step)
    for i in range(count + 1):
        row = round((1 - i / count) * (HEIGHT - 1))
        found[row] = _number(frame.low + i * frame.step, frame.step)
    return found


def _number(value: float, step: float) -> str:
    return f"{value:,.{max(-math.floor(math.log10(step)), 0)}f}"


def _axis(frame: _Frame) -> list[Text]:
    step = round_step((frame.last - frame.first) / max(frame.columns // 14, 1))
    ticks = [one * step for one in range(math.ceil(frame.first / step), math.floor(frame.last / step) + 1)]
    line, numbers = ["─"] * frame.columns, _LabelRow(frame.columns)
    for tick in ticks:
        line[frame.column(tick)] = "┬"
        label = f"{tick:,.0f}"
        numbers.place(frame.column(tick) - len(label) // 2, label)
    margin = " " * (frame.margin - 1)
    return [Text(f"{margin}└{''.join(line)}"), Text(f"{margin} {numbers.text()}"), Text(f"{margin} scored events")]


def _marks(history: MetricHistory, frame: _Frame) -> list[Text]:
    """Return the lines beneath the axis: versions, without their numbers if there is no room, and exclusions."""
    rows, margin = [], " " * frame.margin
    versions = _LabelRow(frame.columns)
    for mark in reversed(history.versions):
        if mark.event is not None and frame.first <= mark.event <= frame.last:
            sign, column = MARKS.get(mark.kind, "▲"), frame.column(mark.event)
            versions.place(column, f"{sign}v{mark.number}") or versions.place(column, sign)
    if versions.text():
        rows.append(Text(f"{margin}{versions.text()}", style="yellow"))
    if history.exclusions:
        excluded = _LabelRow(frame.columns)
        for span in history.exclusions:
            if span.last >= frame.first and span.first <= frame.last:
                first, last = frame.column(span.first), frame.column(span.last)
                excluded.place(first, "▒" * (last - first + 1))
        rows.append(Text(f"{margin}{excluded.text()}", style="red"))
    return rows


def _notes(history: MetricHistory, metric: str) -> list[Text]:
    kinds = {mark.kind for mark in history.versions}
    notes = ["▲ version"]
    if VersionKind.ROLLBACK in kinds:
        notes.append("↺ rollback")
    if history.exclusions:
        notes.append("▒ excluded")
    found = [Text("   ".join(notes), style="dim")]
    newest = history.points[-1].baseline[metric]
    if newest is not None and is_off_scale(history, metric):
        found.append(Text(f"no change is off the scale: {newest:.4g} at the end", style="dim"))
    if history.emptied:
        found.append(Text(emptied_note(history), style="dim"))
    return found


def emptied_note(history: MetricHistory) -> str:
    """Return the note about scores that retention has deleted."""
    return f"retention (scores.keep) has emptied the scores of events 1 to {history.emptied:,}"


class _LabelRow:
    """A line of text in which labels do not touch."""

    def __init__(self, columns: int) -> None:
        self._cells = [" "] * columns

    def place(self, column: int, label: str) -> bool:
        """Place a label, moved to the left if it would pass the end; return whether there was room."""
        start = min(max(column, 0), max(len(self._cells) - len(label), 0))
        around = self._cells[max(start - 1, 0) : start + len(label) + 1]
        if any(cell != " " for cell in around):
            return False
        self._cells[start : start + len(label)] = label
        return True

    def text(self) -> str:
        """Return the line without trailing blanks."""
        return "".join(self._cells).rstrip()
