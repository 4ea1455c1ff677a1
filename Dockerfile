# One image for every process of the Procfile; docker-compose.yml says which.
# 3.13, multi-architecture index. Renew tag and digest together.
FROM python:3.13-slim@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285 AS build
WORKDIR /app
# traces: with OpenTelemetry (docs/traces.md)
ARG REQUIREMENTS=run
COPY requirements/run.txt requirements/traces.txt requirements/
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/$REQUIREMENTS.txt

# The site of the documentation, which the ingress serves at /docs. Its tools stay in this stage.
FROM build AS docs
COPY requirements/docs.txt requirements/
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/docs.txt
COPY . .
RUN /venv/bin/sphinx-build -q -b html docs site

FROM python:3.13-slim@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285
RUN useradd --system --no-create-home wpp \
 && printf '#!/bin/sh\nexec python -m workers.cli.app "$@"\n' > /usr/local/bin/wpp && chmod +x /usr/local/bin/wpp
WORKDIR /app
COPY --from=build /venv /venv
COPY shared shared
COPY workers workers
COPY --from=docs /app/site site
COPY supabase/migrations supabase/migrations
COPY Procfile .
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER wpp
