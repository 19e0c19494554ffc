# Builds and checks datasets; no JAX. From the checkout's root:
#
#   docker build -f tools/deploy/images/imp-data.Dockerfile -t imp-data .
#   docker run -v "$PWD:/data" imp-data build --source folder:/data/photos --out /data/sets/photos
#
# --target beam-worker makes the container of Beam's workers instead, for Flink and Dataflow.
FROM python:3.11-slim-bookworm AS installed
WORKDIR /checkout
COPY 3rdparty/python/default.lock.txt 3rdparty/python/uv.lock.txt 3rdparty/python/
RUN pip install --no-cache-dir --require-hashes -r 3rdparty/python/uv.lock.txt
COPY tools/deploy/images/install.sh tools/deploy/images/
COPY packages packages
ARG EXTRA=""
# EXTRA is a requirement more, as apache-beam[gcp] for Dataflow: split into words if it has any.
# hadolint ignore=SC2086
RUN tools/deploy/images/install.sh /opt/imp 'imp-data[beam]' ${EXTRA}

FROM python:3.11-slim-bookworm AS environment
COPY --from=installed /opt/imp /opt/imp
ENV PATH=/opt/imp/bin:$PATH HOME=/tmp
RUN useradd --uid 1000 --no-create-home imp
USER 1000

FROM environment AS beam-worker
# Beam's version is the lock's.
COPY --from=apache/beam_python3.11_sdk:2.77.0 /opt/apache/beam /opt/apache/beam
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM environment
ENTRYPOINT ["imp-data"]
CMD ["--help"]
