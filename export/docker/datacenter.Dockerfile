# mar-edge with TensorRT 10.16 on a data-center GPU (T4, L4, A10, H100), with export: checkpoints become bundles and
# engines on the machine that runs them.
#
# This file has never been built: there was neither such a GPU nor Docker when it was written.
#
#   docker build -t mar-edge:datacenter -f export/docker/datacenter.Dockerfile .
#   docker run --rm -it --gpus all --user $(id -u):$(id -g) -v $HOME/.cache/mar-edge:/cache -v $PWD:/work mar-edge:datacenter \
#       export model.safetensors -o model.mar --profile /src/export/l4.yaml --calibrate clips --data clips
ARG BASE=26.05-py3
FROM nvcr.io/nvidia/tensorrt:${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libgl1 libglib2.0-0t64 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
# Ubuntu 24.04 lets pip install into environments only; this one sees the image's TensorRT.
RUN python3 -m venv --system-site-packages /opt/mar-edge
ENV PATH=/opt/mar-edge/bin:/usr/local/cuda/bin:$PATH
# Export needs torch, but no GPU in it: the wheels for CPUs are a tenth of the size.
COPY constraints.txt /src/
RUN pip install --no-cache-dir --constraint /src/constraints.txt torch --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE /src/
COPY mar_edge /src/mar_edge
COPY export /src/export
RUN pip install --no-cache-dir --constraint /src/constraints.txt pycuda '/src[export]'
ENV MAR_EDGE_CACHE=/cache
# not root: a user of its own, who owns the cache
RUN useradd --uid 10001 --create-home mar-edge && install --directory --owner=mar-edge --mode=0700 /cache
VOLUME /cache
WORKDIR /work
USER mar-edge
ENTRYPOINT ["mar-edge"]
