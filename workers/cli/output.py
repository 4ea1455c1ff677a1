"""What commands print: aligned columns with a header for people, JSON for programs."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""The option that every command has."""
Organization = Annotated[UUID | None, typer.Option("--organization", help="Id of an organization.")]

PROGRESS_EVERY_S = 1.0
Item = TypeVar("Item")


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, default=str))


def print_value(text: str, value: Any, *, as_json: bool) -> None:
    """Print a sentence, or the value that it tells."""
    if as_json:
        print_json(value)
    else:
        typer.echo(text)


def print_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str
) -> None:
    """Print the columns of rows under their names, or all of the rows as a JSON array.

    Without a row, people read `empty`, a sentence such as "no dead letters".
    """
    if as_json:
        print_json(list(rows))
    elif not rows:
        typer.echo(empty)
    else:
        for line in format_table(rows, columns):
            typer.echo(line)


def format_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    cells = [[name.replace("_", " ").upper() for name in columns]]
    cells += [[_format(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    for line in cells:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _format(value: Any) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    return f"{value:%F %T}" if isinstance(value, datetime) else str(value)


def show_progress(
    items: Iterable[Item],
    total: int,
    verb: str,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Yield items, and tell people how many are done and how long the rest takes."""
    started_s = told_s = clock()
    for done, item in enumerate(items):
        now_s = clock()
        if done and now_s - told_s >= PROGRESS_EVERY_S:
            told_s = now_s
            left_s = (now_s - started_s) / done * max(0, total - done)
            end = "\r" if sys.stderr.isatty() else "\n"
            line = f"{done} of {total} {verb}, {format_duration(left_s)} left".ljust(60)
            typer.echo(line + end, err=True, nl=False)
        yield item
    if told_s > started_s and sys.stderr.isatty():
        typer.echo(" " * 60 + "\r", err=True, nl=False)


def format_duration(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 12 min, 3 h, 5 d."""
    for limit, divisor, unit in ((100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
