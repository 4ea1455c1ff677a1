# One image for every process of the Procfile; docker-compose.yml says which.
# 3.13, multi-architecture index. Renew tag and digest together.
FROM python:3.13-slim@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285 AS build
WORKDIR /app
COPY requirements/run.txt requirements/
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt

FROM python:3.13-slim@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285
RUN useradd --system --no-create-home wpp \
 && printf '#!/bin/sh\nexec python -m workers.cli.app "$@"\n' > /usr/local/bin/wpp && chmod +x /usr/local/bin/wpp
WORKDIR /app
COPY --from=build /venv /venv
COPY shared shared
COPY workers workers
COPY Procfile .
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER wpp
