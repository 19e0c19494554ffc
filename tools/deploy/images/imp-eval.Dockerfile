# Serves; no Beam, no training. From the checkout's root:
#
#   docker build -f tools/deploy/images/imp-eval.Dockerfile -t imp-eval .
#   docker build -f tools/deploy/images/imp-eval.Dockerfile --build-arg EXTRA='jax[cuda13]' -t imp-eval-gpu .
#   docker run -p 50051:50051 -v "$PWD/runs/first/bundle:/bundle:ro" imp-eval serve --bundle /bundle --host 0.0.0.0
#
# EXTRA is for an accelerator, or an extra of ours: imp-eval[qdrant,tracing].
FROM python:3.11-slim-bookworm AS installed
WORKDIR /checkout
COPY 3rdparty/python/default.lock.txt 3rdparty/python/uv.lock.txt 3rdparty/python/
RUN pip install --no-cache-dir --require-hashes -r 3rdparty/python/uv.lock.txt
COPY tools/deploy/images/install.sh tools/deploy/images/
COPY packages packages
ARG EXTRA=""
# EXTRA is split into words if it has any.
# hadolint ignore=SC2086
RUN tools/deploy/images/install.sh /opt/imp imp-eval ${EXTRA}

FROM python:3.11-slim-bookworm
COPY --from=installed /opt/imp /opt/imp
ENV PATH=/opt/imp/bin:$PATH HOME=/tmp
RUN useradd --uid 1000 --no-create-home imp
USER 1000
EXPOSE 50051 9090
ENTRYPOINT ["imp-eval"]
CMD ["--help"]
