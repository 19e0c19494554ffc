# Trains; no Beam, no gRPC service. From the checkout's root:
#
#   docker build -f tools/deploy/images/imp-train.Dockerfile -t imp-train .
#   docker build -f tools/deploy/images/imp-train.Dockerfile --build-arg EXTRA='jax[cuda13]' -t imp-train-gpu .
#
# EXTRA brings the accelerator: jax[cuda13], jax[cuda12] or jax[tpu], of the lock's version of JAX.
FROM python:3.11-slim-bookworm AS installed
WORKDIR /checkout
COPY 3rdparty/python/default.lock.txt 3rdparty/python/uv.lock.txt 3rdparty/python/
RUN pip install --no-cache-dir --require-hashes -r 3rdparty/python/uv.lock.txt
COPY tools/deploy/images/install.sh tools/deploy/images/
COPY packages packages
ARG EXTRA=""
# EXTRA is split into words if it has any.
# hadolint ignore=SC2086
RUN tools/deploy/images/install.sh /opt/imp imp-train ${EXTRA}

FROM python:3.11-slim-bookworm
COPY --from=installed /opt/imp /opt/imp
ENV PATH=/opt/imp/bin:$PATH HOME=/tmp
RUN useradd --uid 1000 --no-create-home imp
USER 1000
ENTRYPOINT ["imp-train"]
CMD ["--help"]
