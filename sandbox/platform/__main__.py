"""`python -m sandbox.platform --port 8700 --state .local/platform`."""

import uvicorn
from pydantic_settings import CliApp

from sandbox.platform.app import create_app
from sandbox.platform.settings import Settings


def main() -> None:
    settings = CliApp.run(Settings)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
