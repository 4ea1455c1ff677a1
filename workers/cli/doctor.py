"""`wpp doctor`: what is wrong with this installation, and what to do about it."""

import typer

from workers.cli.errors import FAILED, print_errors
from workers.cli.output import AsJson, print_json

MARKS = {"ok": "ok  ", "fault": "NO  ", "warning": "?   ", "skipped": "-   "}


def examine(as_json: AsJson = False) -> None:  # noqa: FBT002
    """Check settings, Redis, Supabase, platform, webhooks and processes, in this order.

    Says what to do about each fault, and exits with 1 if there is a fault. It changes nothing.
    """
    from workers.cli.checks import run_checks
    from workers.cli.findings import describe

    with print_errors():
        findings = []
        for finding in run_checks():
            findings.append(finding)
            if not as_json:
                typer.echo(f"{MARKS[finding.result]}{finding.check:22} {finding.detail}")
                if finding.action:
                    typer.echo(f"{'':26} → {finding.action}")
        if as_json:
            print_json([describe(finding) for finding in findings])
        if any(finding.result == "fault" for finding in findings):
            raise typer.Exit(FAILED)
