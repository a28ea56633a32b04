# The service of a bundle, without torch, a compiler or root: docs/deploy.md.
#
#   docker build -t compressor .                                            serves what is mounted at /bundle
#   docker build -t photos --target baked --build-arg BUNDLE=runs/photos/bundle .     brings its bundle
#
# A digest pins the base for good: --build-arg BASE=python:3.11.14-slim-bookworm@sha256:...
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
# Packages first: they change less often than the code, and their layer is kept.
COPY deploy/requirements.lock deploy/build.lock deploy/
RUN python -m venv --without-pip /opt/compressor \
 && pip --python /opt/compressor/bin/python install --no-compile \
      --require-hashes --only-binary :all: -r deploy/requirements.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --only-binary :all: -r deploy/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY recipes recipes
COPY compressor compressor
COPY serving serving
# Bytecode that holds whatever date its file gets: builders round dates, and stale code is compiled at each start.
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
 && pip --python /opt/compressor/bin/python install --no-compile --no-index --no-deps /wheels/*.whl \
 && /opt/compressor/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/compressor/lib

FROM ${BASE} AS service
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="compressor" \
      org.opencontainers.image.description="Distilled CLIP and BLIP students over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The number is fixed: volumes and Kubernetes name it. The gallery is the only folder that it may write.
RUN groupadd --gid 10001 compressor \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin compressor \
 && install --directory --owner 10001 --group 10001 /gallery
COPY --from=builder /opt/compressor /opt/compressor
# BentoML keeps sockets and counters of its workers below BENTOML_HOME and /tmp; nothing there outlives it.
ENV PATH=/opt/compressor/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True \
    COMPRESSOR_GALLERY=/gallery
USER 10001:10001
WORKDIR /tmp
VOLUME /gallery
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=8s --start-period=30s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:3000/readyz', timeout=6)"]
ENTRYPOINT ["compressor", "serve", "--host", "0.0.0.0"]
CMD ["student=/bundle"]

FROM service AS baked
ARG BUNDLE
COPY ${BUNDLE} /bundle

FROM service
