# mar-edge with TensorRT on a Jetson with JetPack 7 (Ubuntu 24.04, Python 3.12): Thor, and from JetPack 7.2 on Orin.
#
# This file has never been built: no Jetson was at hand when it was written. JetPack 7 runs the images of Arm servers;
# 25.09 has CUDA 13.0 and TensorRT 10.13, as JetPack 7.0 and 7.1, and 26.05 has TensorRT 10.16, as JetPack 7.2.
#
#   docker build -t mar-edge:jetpack7 -f export/docker/jetpack7.Dockerfile .
#   docker run --rm -it --runtime nvidia --device /dev/video0 --group-add video -v mar-edge:/cache -v $PWD:/work \
#       mar-edge:jetpack7 run --model model.mar --engine tensorrt --camera 0
ARG BASE=25.09-py3
FROM nvcr.io/nvidia/tensorrt:${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libgl1 libglib2.0-0t64 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
# Ubuntu 24.04 lets pip install into environments only; this one sees the image's TensorRT.
RUN python3 -m venv --system-site-packages /opt/mar-edge
ENV PATH=/opt/mar-edge/bin:/usr/local/cuda/bin:$PATH
COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY mar_edge /src/mar_edge
RUN pip install --no-cache-dir --constraint /src/constraints.txt pycuda /src
ENV MAR_EDGE_CACHE=/cache
# not root: a user of its own, who owns the cache
RUN useradd --uid 10001 --create-home mar-edge && install --directory --owner=mar-edge --mode=0700 /cache
VOLUME /cache
WORKDIR /work
USER mar-edge
ENTRYPOINT ["mar-edge"]
