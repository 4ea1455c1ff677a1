"""`/functions/v1/…`: the edge functions of the CRM, answered by this server.

The CRM's front end and its own functions call these addresses as they always have. Each function
is a translation to the services of the API: it has no logic of its own. The shapes are the CRM's,
so they are no part of the OpenAPI document; `docs/moving.md` describes them.
"""
