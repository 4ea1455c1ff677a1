"""`wpp connect`: connects a number, and shows the QR code in the terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from workers.cli.errors import FAILED, exit_with, print_errors
from workers.cli.ids import require_organizations
from workers.cli.output import AsJson, print_json

if TYPE_CHECKING:
    import httpx

POLL_S = 1.0
ACTIONS = ("integrations:read", "integrations:write")
CONNECTED = "connected"
ENDED = ("disconnected", "error")


def connect_number(
    organization_id: Annotated[UUID, typer.Argument(help="Id of the organization.")],
    add_new: Annotated[  # noqa: FBT002
        bool, typer.Option("--add-new", help="Another number besides the one it has.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the number.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of the ingress. Default: WPP_PUBLIC_URL.")
    ] = None,
    wait_s: Annotated[int, typer.Option("--wait", help="Seconds to wait for the scan.")] = 300,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Connect a number: show the QR code until it is scanned. Exits with 1 if it is not.

    With --json, a line for each change of its state.
    """
    import httpx

    from shared.settings import KeySettings, load_settings

    with print_errors():
        address = url or str(load_settings(KeySettings).wpp_public_url)
        body: dict[str, Any] = {"add_new": add_new} | ({"name": name} if name else {})
        with _temporary_key(organization_id) as key:
            bearer = {"Authorization": f"Bearer {key}"}
            try:
                with httpx.Client(
                    base_url=address, headers=bearer, timeout=20, trust_env=False
                ) as ingress:
                    state = _request(ingress, "POST", "/v1/integrations", body)
                    _follow(ingress, state, time.monotonic() + wait_s, as_json=as_json)
            except httpx.HTTPError as error:
                exit_with(f"the ingress does not answer at {address}: {error}", FAILED)


@contextmanager
def _temporary_key(organization_id: UUID) -> Iterator[str]:
    """Make a service key for the block, which only this process has; revoke it at the end."""
    from shared.database import Database
    from shared.redis import connect
    from shared.service_keys import forget_key, hash_service_key, make_key
    from shared.settings import RedisSettings, SupabaseSettings, load_settings

    key = make_key()
    with Database(load_settings(SupabaseSettings)) as database:
        require_organizations(database, [organization_id])
        client = connect(load_settings(RedisSettings).home_url)
        stored = database.service_keys
        key_id = stored.create("wpp connect", hash_service_key(key), [organization_id], ACTIONS)
        try:
            yield key
        finally:
            stored.revoke(key_id)
            forget_key(client, hash_service_key(key))


def _follow(
    ingress: "httpx.Client", state: dict[str, Any], until_s: float, *, as_json: bool
) -> None:
    """Show each change until the number is connected, or its time is over."""
    path = f"/v1/integrations/{state['integration_id']}"
    shown = None
    while True:
        if (look := (state["status"], state.get("qrcode"))) != shown:
            shown = look
            if as_json:
                print_json(state)
            else:
                _show(state)
        if state["status"] == CONNECTED:
            return
        if state["status"] in ENDED and state.get("error"):
            exit_with(state["error"], FAILED)
        if time.monotonic() > until_s:
            exit_with("the code was not scanned in time", FAILED)
        time.sleep(POLL_S)
        state = _request(ingress, "GET", path)


def _show(state: dict[str, Any]) -> None:
    typer.echo(f"{state['status']}  {state['integration_id']}")
    code = state.get("qrcode")
    if not code:
        return
    if code.startswith("data:"):
        typer.echo("the platform sent the code as an image: scan it on the page /connect")
        return
    import segno

    segno.make(code, error="l").terminal(compact=True, border=2)
    typer.echo("On the phone: WhatsApp → Linked devices → Link a device.")


def _request(
    ingress: "httpx.Client", method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    answer = ingress.request(method, path, json=body)
    found: dict[str, Any] = answer.json()
    if not answer.is_success:
        exit_with(str(found.get("detail") or found), FAILED)
    return found
