"""The web process: `python -m workers.ingress --host 127.0.0.1 --port 8000`."""

import argparse

import uvicorn

from workers.ingress.app import create_app
from workers.process import exit_on_startup_error, on_stop_signal

SHUTDOWN_TIMEOUT_S = 25
"""How long open requests may take after a stop signal; supervisors kill after 30 s."""


def main() -> None:
    """Serve until a stop signal. Exit with 0 after a clean stop, with 78 on invalid settings."""
    with exit_on_startup_error():
        app = create_app()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    on_stop_signal(lambda: None)  # uvicorn raises the signal again after its own shutdown
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=arguments.host,
            port=arguments.port,
            access_log=False,
            log_config=None,  # structlog is configured already, and masks secrets
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        )
    )
    server.run()
    if not server.started:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
