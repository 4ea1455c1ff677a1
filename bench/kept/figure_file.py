"""A file of figures: what each side reached, and the machine's load meanwhile."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from os import getloadavg
from pathlib import Path

from bench.engine_sides.figures import Figure


@dataclass(frozen=True)
class KeptFigure:
    """A figure by side. The side `ours` comes first, unless it did not take part.

    `more`: a higher figure is better. `load`: of the machine, at the end of the measurement.
    """

    name: str
    unit: str
    values: dict[str, float]
    more: bool = False
    missed: bool = False
    load: float = field(default_factory=lambda: getloadavg()[0])

    @classmethod
    def of(cls, figure: Figure) -> "KeptFigure":
        values = {"ours": figure.ours, "stock": figure.stock}
        return cls(figure.name, figure.unit, values, figure.more, figure.missed, figure.load)


def write(file: Path, figures: Iterable[KeptFigure | Figure]) -> None:
    """Write figures; a value that is no number is left out."""
    kept = [each if isinstance(each, KeptFigure) else KeptFigure.of(each) for each in figures]
    found = []
    for figure in kept:
        numbers = {side: each for side, each in figure.values.items() if math.isfinite(each)}
        found.append(asdict(figure) | {"values": numbers})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")


def read(file: Path) -> list[KeptFigure]:
    """Return the figures of a file; none where it does not exist."""
    return [KeptFigure(**each) for each in json.loads(file.read_text())] if file.exists() else []
