"""The reference pages of the site, written from the code before Sphinx reads them.

A page says what a process would do: it is read from the settings, errors, routes, commands and
migrations themselves. Sphinx calls `setup`; the pages are not part of the repository.
"""

import inspect
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import typer.main
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from shared import logs, settings
from shared.errors import PipelineError
from workers.cli.app import app as wpp
from workers.ingress import errors
from workers.ingress.app import create_api

ROOT = Path(__file__).parent.parent
TABLE = re.compile(
    r"((?:^--[^\n]*\n)*)^create table if not exists ((?:public|wpp)\.\w+) \(\n((?:^ [^\n]*\n)*)\);",
    re.MULTILINE,
)
COLUMN = re.compile(
    r"^  (?!primary key|unique|check|foreign|constraint|--)(\w+) (.*?),?(?: *-- (.*))?$"
)

SETTINGS = """\
# Settings

Environment variables; a file `.env` in the working directory is read too. A process reads the
groups that it needs, and ends with status 78 and the name of a variable that is missing or wrong.
`wpp doctor` finds misspelled names.
"""
ERRORS = """\
# Errors

Every error of the API is a problem detail (RFC 9457). `code` is stable and meant for programs,
`detail` says what is wrong and what to do, `type` leads to a section of this page.
"""
ROUTES = """\
# Routes

The API in short. <a href="../api">Its reference</a> has every field; `/openapi.json` is for
programs.
"""
TABLES = """\
# Tables

What the migrations add to the database. [Running it](../deploying.md#supabase) tells what changes
in tables of the CRM. Tables in `wpp` are internal; those in `public` can be read through PostgREST
as far as row security allows.
"""


def setup(app: Any) -> dict[str, bool]:
    """Write the pages when Sphinx begins."""
    app.connect("builder-inited", lambda sphinx: write_pages(Path(sphinx.srcdir) / "reference"))
    return {"parallel_read_safe": True}


def write_pages(folder: Path) -> None:
    """Write the pages whose content has changed, so that Sphinx reads only these anew."""
    folder.mkdir(exist_ok=True)
    for name, lines in {
        "settings": list_settings(),
        "errors": list_errors(),
        "routes": list_routes(),
        "commands": list_commands(),
        "tables": list_tables(),
    }.items():
        page, text = folder / f"{name}.md", "\n".join(lines) + "\n"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def list_settings() -> Iterator[str]:
    """Yield a table for each group of settings: variable, default, what it does."""
    yield SETTINGS
    for group in _find_groups():
        yield f"## {_split_words(group.__name__.removesuffix('Settings'))}\n"
        yield f"{inspect.getdoc(group)}\n"
        yield "| variable | default | what it does |\n| --- | --- | --- |"
        for name, field in group.model_fields.items():
            yield f"| `{name.upper()}` | {_show_default(field)} | {_cell(field.description)} |"
        yield ""


def _find_groups() -> list[type[settings.SettingsGroup]]:
    return [
        value
        for module in (settings, logs)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, settings.SettingsGroup)
        and value is not settings.SettingsGroup
    ]


def _show_default(field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default in (None, "", ()):
        return "not set"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def list_errors() -> Iterator[str]:
    """Yield a section for each error code that the API answers with."""
    yield ERRORS
    for code, (status, text) in sorted(_find_errors().items(), key=lambda each: each[1][0]):
        yield f"({code})=\n## {code}\n"
        yield f"**{status.value} {status.phrase}.** {_unwrap(text)}\n"


def _find_errors() -> dict[str, tuple[HTTPStatus, str]]:
    """Return the status of each code and what it means, also where several errors share a code."""
    found: dict[str, tuple[HTTPStatus, str]] = {}
    for base, status in errors.STATUS.items():
        for error in (base, *_find_subclasses(base)):
            text = inspect.cleandoc(vars(error).get("__doc__") or "")
            before = found.get(error.code, (status, ""))[1]
            found[error.code] = (status, f"{before} {text}".strip())
    return {**found, **errors.OTHERS}


def _find_subclasses(base: type[PipelineError]) -> Iterator[type[PipelineError]]:
    for each in base.__subclasses__():
        yield each
        yield from _find_subclasses(each)


def list_routes() -> Iterator[str]:
    """Yield a table of the API's operations for each tag."""
    document = create_api().openapi()
    yield ROUTES
    operations = [
        (method.upper(), path, each)
        for path, methods in document["paths"].items()
        for method, each in methods.items()
    ]
    for tag in dict.fromkeys(tag for *_, each in operations for tag in each.get("tags", ())):
        yield f"## {tag.capitalize()}\n"
        yield "| request | what it does |\n| --- | --- |"
        for method, path, each in operations:
            if tag in each.get("tags", ()):
                yield f"| `{method} {path}` | {_cell(each.get('summary'))} |"
        yield ""


def list_commands() -> Iterator[str]:
    """Yield a section for each command of `wpp`, with its arguments and options."""
    command = typer.main.get_command(wpp)
    yield "# Commands\n"
    yield f"{_unwrap(command.help)}\n"
    yield from _list_commands(command, "wpp")


def _list_commands(command: Any, name: str) -> Iterator[str]:
    """Yield the sections of a command or a group; Typer brings its own Click, without types."""
    if children := getattr(command, "commands", None):
        for each in sorted(children):
            yield from _list_commands(children[each], f"{name} {each}")
        return
    context = command.context_class(command, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"## {name}\n\n```text\n{name} {usage}\n```\n"
    yield f"{_unwrap(command.help)}\n"
    described = [_describe_parameter(each) for each in command.params]
    rows = [row for row in described if row]
    if rows:
        yield "| | |\n| --- | --- |"
        yield from rows
        yield ""


def _describe_parameter(parameter: Any) -> str:
    text = getattr(parameter, "help", None)
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    return f"| {names} | {_cell(text)} |" if text and "--help" not in parameter.opts else ""


def list_tables() -> Iterator[str]:
    """Yield a section for each table that the pipeline adds, read from the migrations."""
    yield TABLES
    for comment, name, body in sorted(_find_tables(), key=lambda each: each[1]):
        yield f"## {name}\n"
        yield f"{_unwrap(re.sub('^-- ?', '', comment, flags=re.MULTILINE))}\n"
        yield "| column | type | |\n| --- | --- | --- |"
        for line in body.splitlines():
            if column := COLUMN.match(line):
                yield f"| `{column[1]}` | `{column[2].rstrip(',')}` | {_cell(column[3])} |"
        yield ""


def _find_tables() -> Iterator[tuple[str, str, str]]:
    for page in sorted((ROOT / "supabase" / "migrations").glob("*.sql")):
        if "crm_tables" not in page.name:
            yield from TABLE.findall(page.read_text(encoding="utf-8"))


def _split_words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _unwrap(text: str | None) -> str:
    """Return the paragraphs of a text, each as a line."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text or ""))
    return "\n\n".join(" ".join(each.split()) for each in paragraphs)


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
