"""The page of all benches: each figure beside its baseline and beside the last run."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.kept.figure_file import KeptFigure

NOTABLE = 1.15
"""A figure that changed by this factor is marked."""
HEAD = f"{'':46} {'ours':>9} {'beside':>9} {'':10} {'better':>7}  {'load':>5}  before (load)"


@dataclass(frozen=True)
class BenchRun:
    """The figures of a bench now and in its last run; `failure`: why it ended without success."""

    name: str
    figures: Sequence[KeptFigure]
    before: Sequence[KeptFigure] = ()
    failure: str = ""


def render(runs: Sequence[BenchRun]) -> str:
    return "\n".join([HEAD, *(line for run in runs for line in _render_run(run))])


def _render_run(run: BenchRun) -> list[str]:
    before = {figure.name: figure for figure in run.before}
    lines = [f"== {run.name}"]
    lines += [render_figure(each, before.get(each.name)) for each in run.figures]
    gone = [name for name in before if name not in {each.name for each in run.figures}]
    lines += [f"not measured this time: {', '.join(gone)}"] if gone else []
    return lines + ([f"FAILED: {run.failure}"] if run.failure else [])


def render_figure(figure: KeptFigure, before: KeptFigure | None) -> str:
    """Return a row: ours, the side beside it, how many times better, and the last run."""
    ours, *rest = figure.values.values() or [float("nan")]
    beside = rest[0] if rest else None
    row = f"{figure.name:46} {_number(ours):>9} {_number(beside):>9} {figure.unit:10}"
    row += f" {_times(_better(figure, ours, beside)):>7}  {figure.load:5.1f}"
    if before and before.values:
        old = next(iter(before.values.values()))
        row += f"  {_number(old)} ({before.load:.1f}){_change(figure, ours, old)}"
    return row + ("  MISSED" if figure.missed else "")


def _better(figure: KeptFigure, ours: float, beside: float | None) -> float | None:
    """Return how many times better than `beside` ours is."""
    if beside is None:
        return None
    above, below = (ours, beside) if figure.more else (beside, ours)
    return above / below if below > 0 else None


def _change(figure: KeptFigure, ours: float, old: float) -> str:
    times = _better(figure, ours, old)
    if times is None or 1 / NOTABLE < times < NOTABLE:
        return ""
    return f", {times:.2f}x as good"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}x"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.0f}"
