"""`wpp pacing`: show and change how fast the numbers of an organization may write."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from workers.cli.errors import UnknownIdError, print_errors
from workers.cli.output import AsJson, print_json, print_rows

if TYPE_CHECKING:
    import redis

    from shared.database import Database
    from shared.pacing import PacingChange

PerMinuteOption = Annotated[
    float | None, typer.Option("--per-minute", help="Messages a minute of a number. 0: no limit.")
]
BurstOption = Annotated[
    int | None, typer.Option("--burst", help="Messages that it may send at once after a pause.")
]
RecipientPerMinuteOption = Annotated[
    float | None,
    typer.Option("--recipient-per-minute", help="Messages a minute to one person. 0: no limit."),
]
RecipientBurstOption = Annotated[
    int | None, typer.Option("--recipient-burst", help="Messages to one person at once.")
]
JitterOption = Annotated[
    float | None, typer.Option("--jitter", help="How much intervals vary, 0 to 0.9.")
]
WarmUpOption = Annotated[
    str | None,
    typer.Option(
        "--warm-up",
        help="New people a day of a new number: 20,40,80 for its first three days; off: no limit.",
    ),
]


def show_or_change(  # noqa: PLR0913, PLR0917 - an option for each setting
    organization_id: Annotated[UUID, typer.Argument(help="Id of the organization.")],
    number: Annotated[
        UUID | None, typer.Option("--number", help="Only this number (its integration's id).")
    ] = None,
    per_minute: PerMinuteOption = None,
    burst: BurstOption = None,
    recipient_per_minute: RecipientPerMinuteOption = None,
    recipient_burst: RecipientBurstOption = None,
    jitter: JitterOption = None,
    warm_up: WarmUpOption = None,
    default: Annotated[  # noqa: FBT002
        bool, typer.Option("--default", help="Take all settings back first.")
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show how fast the numbers of an organization may write, and what waits; or change it.

    A change counts for all numbers, or for a number with --number. Waiting messages get a new turn.
    """
    from shared.database import Database
    from shared.route_cache import RouteCache
    from shared.settings import RedisSettings, SupabaseSettings, load_settings
    from workers.repair.shard_clients import ShardClients
    from workers.send.pacing_settings import change_pacing

    given = {
        "per_minute": per_minute,
        "burst": burst,
        "recipient_per_minute": recipient_per_minute,
        "recipient_burst": recipient_burst,
        "jitter": jitter,
        "warm_up": None if warm_up is None else _read_days(warm_up),
    }
    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        shards = ShardClients.connect(load_settings(RedisSettings))
        client = shards.of_organization(organization_id)
        change = _read_change(given, default=default)
        if change.model_fields_set:
            routes = RouteCache(client, database)
            change_pacing(organization_id, number, change, database, routes, client)
        elif number:
            _require_own_number(organization_id, number, database)
        _print_pacing(organization_id, database, client, as_json=as_json)


def _require_own_number(organization_id: UUID, number: UUID, database: "Database") -> None:
    if number not in {each.id for each in database.integrations.list_for(organization_id)}:
        msg = f"organization {organization_id} has no number {number}"
        raise UnknownIdError(msg)


def _read_days(text: str) -> list[str]:
    return [] if text == "off" else [part.strip() for part in text.split(",")]


def _read_change(given: dict[str, Any], *, default: bool) -> "PacingChange":
    """Return the wanted change; raises ValueError with what is wrong."""
    from pydantic import ValidationError

    from shared.pacing import PacingChange

    values = {name: value for name, value in given.items() if default or value is not None}
    try:
        return PacingChange.model_validate(values)
    except ValidationError as error:
        faults = [
            f"--{str(fault['loc'][0]).replace('_', '-')}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise ValueError("; ".join(faults)) from None


def _print_pacing(
    organization_id: UUID, database: "Database", client: "redis.Redis", *, as_json: bool
) -> None:
    from shared.pacing import PacingChange
    from shared.settings import EngineSettings, load_settings
    from workers.send.paced_numbers import budgets_left, find_waiting

    default = load_settings(EngineSettings).pacing
    own = PacingChange.read(database.pacing.of_organization(organization_id))
    numbers = database.integrations.list_for(organization_id)
    if not numbers and not own.model_fields_set:
        msg = f"organization {organization_id} has no number"
        raise UnknownIdError(msg)
    stored = database.pacing.of_numbers(organization_id)
    left = budgets_left(client)
    rows: list[dict[str, Any]] = [{"number": "all", **default.with_change(own).model_dump()}]
    for number, paced in zip(
        numbers, find_waiting(client, [each.id for each in numbers]), strict=True
    ):
        of_number = stored[number.id].settings if number.id in stored else own.model_dump()
        rows.append(
            {
                "number": number.id,
                **default.with_change(PacingChange.read(of_number)).model_dump(),
                "waiting": paced.waiting,
                "tomorrow": paced.for_tomorrow,
                "new_people_left": left.get(number.id),
            }
        )
    if as_json:
        print_json(rows)
        return
    shown = [row | {"warm_up": ",".join(map(str, row["warm_up"])) or "off"} for row in rows]
    columns = list(dict.fromkeys(name for row in shown for name in row))
    print_rows(shown, columns, as_json=False, empty="")
