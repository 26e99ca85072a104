# mar-edge with ONNX Runtime and OpenVINO on a CPU, x86-64 or 64-bit Arm (a Raspberry Pi 5).
#
# This file has never been built: there was no Docker when it was written.
#
#   docker build -t mar-edge:cpu -f export/docker/cpu.Dockerfile .
#   docker run --rm -it --device /dev/video0 -v mar-edge:/cache -v $PWD:/work mar-edge:cpu verify model.mar --data clips
FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml README.md LICENSE /src/
COPY mar_edge /src/mar_edge
RUN pip install --no-cache-dir '/src[openvino]'
ENV MAR_EDGE_CACHE=/cache
VOLUME /cache
WORKDIR /work
ENTRYPOINT ["mar-edge"]
