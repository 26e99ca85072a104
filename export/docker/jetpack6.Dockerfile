# mar-edge with TensorRT 10.3 on a Jetson Orin with JetPack 6.1 or 6.2 (Ubuntu 22.04, Python 3.10).
#
# This file has never been built: no Jetson was at hand when it was written. Whether pip finds wheels for everything,
# and whether the base image brings TensorRT's Python module, must show on a device.
#
#   docker build -t mar-edge:jetpack6 -f export/docker/jetpack6.Dockerfile .
#   docker run --rm -it --runtime nvidia --device /dev/video0 --group-add video -v mar-edge:/cache -v $PWD:/work \
#       mar-edge:jetpack6 run --model model.mar --engine tensorrt --camera 0
ARG BASE=r10.3.0

# PyCUDA has no wheel for Jetson: it is compiled, for which only the devel image has the headers.
FROM nvcr.io/nvidia/l4t-tensorrt:${BASE}-devel AS pycuda
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev python3-pip \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/local/cuda/bin:$PATH
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels pycuda==2026.1

FROM nvcr.io/nvidia/l4t-tensorrt:${BASE}-runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
# TensorRT's Python module belongs to the system's Python; the environment sees it.
RUN python3 -m venv --system-site-packages /opt/mar-edge
ENV PATH=/opt/mar-edge/bin:$PATH
COPY --from=pycuda /wheels /wheels
COPY pyproject.toml constraints-lowest.txt README.md LICENSE /src/
COPY mar_edge /src/mar_edge
RUN pip install --no-cache-dir --constraint /src/constraints-lowest.txt --find-links /wheels pycuda /src
ENV MAR_EDGE_CACHE=/cache
# not root: a user of its own, who owns the cache
RUN useradd --uid 10001 --create-home mar-edge && install --directory --owner=mar-edge --mode=0700 /cache
VOLUME /cache
WORKDIR /work
USER mar-edge
ENTRYPOINT ["mar-edge"]
