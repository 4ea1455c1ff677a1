"""Delays of a phase, beside their targets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.kept.figure_file import KeptFigure

PLATFORM_P99_S = 1.0
ROW_P99_S = 2.0
COLUMNS = ("answer", "platform", "row")


@dataclass(frozen=True)
class Delays:
    """Seconds, sorted; infinity for a code that did not arrive while it was awaited."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Delays":
        return cls(tuple(sorted(values)))

    def quantile(self, share: float) -> float:
        return self.values[min(len(self.values) - 1, int(len(self.values) * share))]

    @property
    def p50(self) -> float:
        return self.quantile(0.5)

    @property
    def p99(self) -> float:
        return self.quantile(0.99)

    @property
    def longest(self) -> float:
        return self.values[-1]


@dataclass(frozen=True)
class PhaseResult:
    """What the codes of the calm organization met in a phase.

    Each delay begins with the request: until the answer 202, until the platform has the message,
    until its row says that it was sent. `attack` says what the attacker achieved.
    """

    name: str
    answer: Delays
    platform: Delays
    row: Delays
    attack: str
    load: float

    @property
    def missed(self) -> bool:
        return self.platform.p99 > PLATFORM_P99_S or self.row.p99 > ROW_P99_S

    def figures(self) -> list[KeptFigure]:
        """Return the 99th percentile of each delay."""
        targets = {"platform": PLATFORM_P99_S, "row": ROW_P99_S}
        return [
            KeptFigure(
                f"{self.name}: {column}, p99",
                "s",
                {"ours": getattr(self, column).p99},
                missed=getattr(self, column).p99 > targets.get(column, math.inf),
                load=self.load,
            )
            for column in COLUMNS
        ]


def format_table(results: Sequence[PhaseResult]) -> str:
    """Return p50, p99 and max of each delay in seconds."""
    head = f"{'':10}" + "".join(f" {name + ' p50/p99/max, s':^26}" for name in COLUMNS)
    targets = (
        f"{'target':10} {'':^26} {f'p99 ≤ {PLATFORM_P99_S:g}':^26} {f'p99 ≤ {ROW_P99_S:g}':^26}"
    )
    return "\n".join([head, targets, *(format_row(result) for result in results)])


def format_row(result: PhaseResult) -> str:
    delays = [_format(getattr(result, name)) for name in COLUMNS]
    return (
        f"{result.name:10}"
        + "".join(f" {text:^26}" for text in delays)
        + ("  MISSED" if result.missed else "")
    )


def _format(delays: Delays) -> str:
    found = (delays.p50, delays.p99, delays.longest)
    return " / ".join(f"{s:.2f}" if math.isfinite(s) else "never" for s in found)
