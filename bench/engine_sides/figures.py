"""A figure beside the stock broker's, and the table of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import getloadavg


@dataclass(frozen=True)
class Figure:
    """`target`: a maximum for ours, or a minimum where `more` is better.

    `over`: the stock figure is a lower bound. `load`: of the machine when it was measured.
    """

    name: str
    unit: str
    ours: float
    stock: float
    target: float | None = None
    more: bool = False
    over: bool = False
    load: float = field(default_factory=lambda: getloadavg()[0], compare=False)

    @property
    def missed(self) -> bool:
        if self.target is None:
            return False
        return self.ours < self.target if self.more else self.ours > self.target

    @property
    def better(self) -> float:
        """How many times better than the stock broker's."""
        above, below = (self.ours, self.stock) if self.more else (self.stock, self.ours)
        return above / below if below else float("inf")


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def table(figures: Sequence[Figure]) -> str:
    rows = [f"{'':46} {'ours':>9} {'stock':>9} {'':8} {'better':>7}  target"]
    rows += [_row(figure) for figure in figures]
    return "\n".join(rows)


def _row(figure: Figure) -> str:
    over = ">" if figure.over else ""
    numbers = f"{_number(figure.ours):>9} {over + _number(figure.stock):>9}"
    row = f"{figure.name:46} {numbers} {figure.unit:8}"
    row += f" {over + format(figure.better, '.1f') + 'x':>7}"
    if figure.target is None:
        return row
    sign = "≥" if figure.more else "≤"
    missed = "  MISSED" if figure.missed else ""
    return f"{row}  {sign} {_number(figure.target)}{missed}"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
