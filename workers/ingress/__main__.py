"""The web process: `python -m workers.ingress --host 127.0.0.1 --port 8000`."""

import argparse
import resource
import socket

import structlog
import uvicorn

from shared.errors import ConfigurationError
from shared.settings import IngressSettings, load_settings
from shared.traces import find_traces
from workers.ingress.app import create_app
from workers.ingress.connections import ConnectionLimits, make_protocol
from workers.ingress.server import QuietServer
from workers.ingress.traced import TracedRequests
from workers.process import collect_rarely, exit_on_startup_error, on_stop_signal

SHUTDOWN_TIMEOUT_S = 25
"""How long open requests may take after a stop signal; supervisors kill after 30 s."""


MAX_PORT = 65_535
RESERVED_FILES = 700
"""Open files besides the connections of clients: Redis, Supabase, modules, sockets."""


log = structlog.get_logger()


def allow_open_files(connections: int) -> None:
    """Raise the soft limit of open files, as far as the hard limit permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        if limit < wanted:
            log.warning("connections.files_limited", open_files=limit, wanted=wanted)


def parse_port(text: str) -> int:
    """Return a port; raises argparse.ArgumentTypeError for a number that no port has."""
    if not text.isdecimal() or int(text) > MAX_PORT:
        msg = f"{text!r} is no port: give a number from 0 to {MAX_PORT} (PORT in the Procfile)"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def require_free_port(host: str, port: int) -> None:
    """Raise ConfigurationError if the address cannot be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        msg = f"cannot start: PORT or HOST: {host}:{port}: {error.strerror}. See .env.example."
        raise ConfigurationError(msg) from None


def main() -> None:
    """Serve until a stop signal.

    Exit with 0 after a clean stop, with 2 for a port that does not exist, with 78 on invalid
    settings, a taken port among them.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=parse_port, default=8000)
    arguments = parser.parse_args()
    with exit_on_startup_error():
        app = create_app()
        limits = load_settings(IngressSettings)
        require_free_port(arguments.host, arguments.port)
    traces = find_traces()
    allow_open_files(limits.wpp_connection_limit)
    collect_rarely()
    on_stop_signal(lambda: None)  # uvicorn raises the signal again after its own shutdown
    server = QuietServer(
        uvicorn.Config(
            TracedRequests(app, traces) if traces else app,
            host=arguments.host,
            port=arguments.port,
            access_log=False,
            log_config=None,  # structlog is configured already, and masks secrets
            http=make_protocol(
                ConnectionLimits(limits.wpp_connection_limit, limits.wpp_head_deadline_s)
            ),
            ws="none",
            server_header=False,
            timeout_keep_alive=limits.wpp_keep_alive_s,
            forwarded_allow_ips=limits.wpp_trusted_proxies.split(","),
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        )
    )
    server.run()
    if not server.started:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
