"""`wpp`: the operator's command.

Everything here uses the same settings as the processes (see .env.example).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

import redis
import typer

from shared import access, durable
from shared.errors import PipelineError
from shared.events import KINDS, Message
from shared.lanes import total_waiting
from shared.ledger import find
from shared.producer import Producer
from shared.settings import EngineSettings, KeySettings, RedisSettings, load

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@contextmanager
def plainly() -> Iterator[None]:
    """End with one sentence instead of a traceback, where the sentence says it all."""
    try:
        yield
    except (PipelineError, ValueError) as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        typer.secho(f"Redis does not answer: {error}. Is REDIS_URL right, and is it running?", fg="red", err=True)
        raise typer.Exit(1) from None


@app.command()
def up() -> None:
    """Run everything here: Redis, Supabase and the platform where none is named, and every process of the Procfile."""
    from sandbox.up import run  # noqa: PLC0415 - the local world is not part of an installed worker

    with plainly():
        run()


@app.command()
def key(organization_id: UUID) -> None:
    """Print the service key of an organization: it opens that organization's doors, and no other's."""
    with plainly():
        typer.echo(access.service_key(organization_id, load(KeySettings).secrets))


@app.command()
def send(
    organization_id: UUID,
    to: Annotated[str, typer.Argument(help="A phone, in any usual spelling.")],
    text: str,
    integration_id: Annotated[UUID | None, typer.Option(help="The number to send from.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key is the same message.")] = None,
) -> None:
    """Queue a message, straight into Redis."""
    with plainly():
        producer = Producer.connect(load(RedisSettings).redis_url)
        message = Message(to=to, text=text, integration_id=integration_id)
        typer.echo(producer.send(organization_id, message, idempotency_key=idempotency_key).id)


@app.command()
def show(event_id: UUID) -> None:
    """Tell what became of an event: a message, a connect, a webhook."""
    with plainly():
        found = find(durable.connect(load(RedisSettings).redis_url), event_id)
        if found is None:
            msg = f"no event {event_id} (finished ones are remembered for {load(EngineSettings).wpp_record_ttl_s} s)"
            raise ValueError(msg)
        typer.echo(found.model_dump_json(indent=2, exclude_none=True, exclude={"body"}))


@app.command()
def lanes() -> None:
    """Show how many events wait, by kind and tenant."""
    with plainly():
        client = durable.connect(load(RedisSettings).redis_url)
        rows = [
            (count, kind, tenant)
            for kind, tenants in total_waiting(client, KINDS).items()
            for tenant, count in tenants.items()
        ]
        for count, kind, tenant in sorted(rows, reverse=True):
            typer.echo(f"{count:8}  {kind:10} {tenant}")
        typer.echo(f"{client.xlen('wpp:outbox'):8}  outcomes on their way to Supabase")
        typer.echo(f"{client.xlen('wpp:outbox:dead'):8}  outcomes that Supabase refused")


if __name__ == "__main__":
    app()
