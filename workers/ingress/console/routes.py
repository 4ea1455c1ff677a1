"""The routers of the console. None is part of the API: they change with its pages."""

from workers.ingress.console import (
    callbacks,
    dead_letters,
    hour,
    keys,
    lanes,
    messages,
    numbers,
    organizations,
    overview,
    search,
    session,
    unknown,
    webhooks,
)

ROUTERS = (
    session.router,
    overview.router,
    hour.router,
    numbers.router,
    lanes.router,
    callbacks.router,
    dead_letters.router,
    keys.router,
    messages.router,
    organizations.router,
    search.router,
    unknown.router,
    webhooks.router,
)
