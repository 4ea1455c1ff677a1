"""The web process: `python -m workers.ingress --host 127.0.0.1 --port 8000`."""

import argparse

import uvicorn

from workers.ingress.app import create_app
from workers.process import exit_on_startup_error, on_stop_signal

GRACE_S = 25
"""How long open answers may take once we are told to stop: less than a supervisor gives before it kills."""


def main() -> None:
    """Serve until told to stop. Exits with 0 after an orderly stop, with 78 where the settings cannot work."""
    with exit_on_startup_error():
        app = create_app()
    where = argparse.ArgumentParser(description=__doc__)
    where.add_argument("--host", default="127.0.0.1")
    where.add_argument("--port", type=int, default=8000)
    chosen = where.parse_args()
    on_stop_signal(lambda: None)  # uvicorn raises the signal again after its own shutdown
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=chosen.host,
            port=chosen.port,
            access_log=False,
            log_config=None,  # ours: through the mask
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    server.run()
    if not server.started:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
