"""The page of results: a column per side."""

from collections.abc import Mapping

from bench.kept.figure_file import KeptFigure
from bench.pipeline_sides.measure import Result
from bench.pipeline_sides.uses import UNITS
from bench.pipeline_sides.world import POSTGRES, POSTGREST

KINDS = ("ingress", "send", "webhook", "recorder", "clock", "redis", POSTGRES, POSTGREST)
NONE = (float("nan"), float("nan"))


def list_figures(load: str, results: Mapping[str, Result]) -> list[KeptFigure]:
    """Return the figures of a load by side."""
    everything = list(results.values())

    def figure(name: str, unit: str, values: list[float], *, more: bool = False) -> KeptFigure:
        by_side = dict(zip(results, values, strict=True))
        measured_at = max(result.load for result in everything)
        return KeptFigure(f"{load}: {name}", unit, by_side, more, load=measured_at)

    figures = [figure("CPU", "ms", [sum(each.cpu_ms.values()) for each in everything])]
    figures += [
        figure(kind, "ms", [each.cpu_ms.get(kind, 0.0) for each in everything])
        for kind in KINDS
        if any(kind in each.cpu_ms for each in everything)
    ]
    figures.append(figure("life-cycles", "/s", [each.per_s for each in everything], more=True))
    for stage in everything[0].stages:
        for place, share in enumerate(("p50", "p99")):
            found = [each.stages.get(stage, NONE)[place] for each in everything]
            figures.append(figure(f"{stage}, {share}", "ms", found))
    figures += [
        figure(name, unit, [each.uses[name] for each in everything]) for name, unit in UNITS.items()
    ]
    wrong = [100 * each.wrong / each.messages for each in everything]
    return [*figures, figure("messages that end wrong", "%", wrong)]


def table(load: str, results: Mapping[str, Result]) -> str:
    """Return the figures of a load, and how many times ours each side takes."""
    sides = list(results)
    head = "".join(f"{side:>12}" for side in sides)
    head += "".join(f"{f'{side} / {sides[0]}':>18}" for side in sides[1:])
    lines = [f"{load + ', of a life-cycle':36}{head}"]
    for figure in list_figures(load, results):
        ours, *others = figure.values.values()
        name = f"{figure.name.removeprefix(f'{load}: ')}, {figure.unit}"
        row = f"{name:36}{_number(ours)}" + "".join(map(_number, others))
        lines.append(row + "".join(_times(each, ours) for each in others))
    lines += [
        f"{side}: of {result.messages} messages: {_describe(result)}"
        for side, result in results.items()
    ]
    return "\n".join(lines)


def _times(value: float, ours: float) -> str:
    return f"{f'{value / ours:.1f}x':>18}" if ours > 0 else f"{'':18}"


def _number(value: float) -> str:
    return f"{value:12.2f}" if value < 10 else f"{value:12.1f}"


def _describe(result: Result) -> str:
    faults = ", ".join(f"{count} {fault}" for fault, count in result.faults.most_common())
    return faults or "all right"
