"""What processes rely on in the schema that PostgREST serves, and what breaks older processes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

COLUMNS = """
    select table_name, column_name, udt_name, is_nullable = 'NO',
           column_default is not null or is_identity = 'YES' or is_generated = 'ALWAYS'
    from information_schema.columns where table_schema = 'public'
"""
FUNCTIONS = """
    select proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)
    from pg_proc p where pronamespace = 'public'::regnamespace
"""
CONSTRAINTS = """
    select conrelid::regclass::text, conname from pg_constraint
    where connamespace = 'public'::regnamespace and contype in ('c', 'u', 'x')
"""


@dataclass(frozen=True)
class Catalog:
    """`columns`: table and column → type, whether it refuses nulls, whether it has a default."""

    columns: dict[tuple[str, str], tuple[str, bool, bool]]
    functions: Counter[tuple[str, str, str]]
    constraints: set[tuple[str, str]]

    @property
    def tables(self) -> set[str]:
        return {table for table, _ in self.columns}


def read_catalog(connection: "psycopg.Connection[Any]") -> Catalog:
    return Catalog(
        {(row[0], row[1]): row[2:] for row in connection.execute(COLUMNS)},
        Counter(connection.execute(FUNCTIONS).fetchall()),
        set(connection.execute(CONSTRAINTS).fetchall()),
    )


def find_breaks(before: Catalog, after: Catalog) -> Iterator[str]:
    """Say what a process that was written for `before` can no longer do after a migration."""
    yield from _changed_columns(before, after)
    yield from _strict_columns(before, after)
    yield from _changed_functions(before, after)
    for table, name in after.constraints - before.constraints:
        if table in before.tables:
            yield f"{table} has the constraint {name}, which rows of older processes may violate"


def _changed_columns(before: Catalog, after: Catalog) -> Iterator[str]:
    for (table, column), (kind, strict, _) in before.columns.items():
        found = after.columns.get((table, column))
        if found is None:
            yield f"{table}.{column} is gone or renamed"
        elif found[0] != kind:
            yield f"{table}.{column} was {kind} and is {found[0]}"
        elif found[1] and not strict:
            yield f"{table}.{column} refuses nulls, which older processes may write"


def _strict_columns(before: Catalog, after: Catalog) -> Iterator[str]:
    for (table, column), (_, strict, has_default) in after.columns.items():
        is_new = table in before.tables and (table, column) not in before.columns
        if is_new and strict and not has_default:
            yield f"{table}.{column} is new and needs a value, which older processes do not write"


def _changed_functions(before: Catalog, after: Catalog) -> Iterator[str]:
    for name, arguments, result in before.functions - after.functions:
        yield f"{name}({arguments}) returns {result}: it is gone, or its signature changed"
    names = {name for name, _, _ in before.functions}
    for name, arguments, _ in after.functions - before.functions:
        if name in names:
            yield f"{name}({arguments}) stands beside another {name}: calls may mean either"
