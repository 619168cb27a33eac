# A short name on purpose: any engine, mirror or local image that answers to it will do. Where every
# build must be the same, pin it: --build-arg BASE=python:3.13-slim@sha256:...
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
RUN python -m venv --without-pip /opt/venv
COPY requirements.txt /tmp/
RUN python -m pip --python /opt/venv install --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary=:all: -r /tmp/requirements.txt
WORKDIR /srv/tracker
COPY app app
COPY migrations migrations
COPY seed_data seed_data
COPY pyproject.toml LICENSE LICENSE-DATA ./
# Compiled here because the running user can write nowhere but in /data; readable by that user even
# when the clone was made under a strict umask.
RUN python -m compileall -q app migrations && chmod -R a+rX .

FROM ${BASE}
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="coalition-commitment-tracker" \
      org.opencontainers.image.description="What countries say they will, might or will not give to the Ukraine reassurance force, with every fact's source." \
      org.opencontainers.image.licenses="MIT AND CC-BY-4.0" \
      org.opencontainers.image.version="${VERSION}"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TRACKER_DATABASE_URL=sqlite:////data/tracker.db
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tracker \
    && install -d -o 10001 -g 10001 /data
WORKDIR /srv/tracker
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/tracker .
# After the folder got its owner: a volume keeps the owner that the folder has at this point.
VOLUME /data
# By number, so that an orchestrator can see that it is not root without reading /etc/passwd.
USER 10001:10001
EXPOSE 8000
# The server then lets those go who follow the ledger, ends what it has begun, and leaves with 0.
STOPSIGNAL SIGTERM
# No curl in a slim image; no proxy, because the address is this container's own.
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/readyz', timeout=3)"]
CMD ["python", "-m", "app", "serve", "--host", "0.0.0.0", "--port", "8000"]
