# mar-edge with ONNX Runtime and OpenVINO on a CPU, x86-64 or 64-bit Arm (a Raspberry Pi 5).
#
# This file has never been built: there was no Docker when it was written.
#
#   docker build -t mar-edge:cpu -f export/docker/cpu.Dockerfile .
#   docker run --rm -it -v mar-edge:/cache -v $PWD:/work mar-edge:cpu verify model.mar --data clips
ARG BASE=3.11-slim-bookworm
FROM python:${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY mar_edge /src/mar_edge
RUN pip install --no-cache-dir --constraint /src/constraints.txt '/src[openvino]'
ENV MAR_EDGE_CACHE=/cache
# not root: a user of its own, who owns the cache
RUN useradd --uid 10001 --create-home mar-edge && install --directory --owner=mar-edge --mode=0700 /cache
VOLUME /cache
WORKDIR /work
USER mar-edge
ENTRYPOINT ["mar-edge"]
