# The two commands of the README are `make demo` and `make test`. Both make their own environment.
PYTHON ?= python3
CONSTRAINTS := constraints.txt
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
LOWEST_PYTHON ?= python3.10
PIP_LOWEST := -m pip install --quiet --disable-pip-version-check --constraint constraints-lowest.txt
INPUTS := pyproject.toml $(CONSTRAINTS)
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python -m pytest -n 4 --dist worksteal

.PHONY: demo test coverage check docs package lowest audit clean

demo: .venv-demo/ready  ## run the built-in models on the built-in camera; ends by itself
	.venv-demo/bin/mar-edge run --source demo
	.venv-demo/bin/mar-edge run --source demo:show=gestures --model gestures

test: .venv/ready .venv-demo/ready  ## every test, with torch and without
	$(PYTEST)

# measured apart: tracing every line takes two thirds more processor time
coverage: .venv/ready .venv-demo/ready  ## every test, and which lines they reach; at least 90 %
	$(PYTEST) --cov --cov-fail-under=90

check: .venv/ready  ## lint, format, types of everything, import rules
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# what a robot installs: no torch
.venv-demo/ready: $(INPUTS)
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python $(PIP_INSTALL) --editable .
	.venv-demo/bin/python -c "import cv2" || { echo "OpenCV lacks a system library. Run: sudo apt-get install libgl1 libglib2.0-0"; exit 1; }
	touch $@

# what a developer installs
.venv/ready: $(INPUTS)
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP_INSTALL) --editable '.[dev]'
	touch $@

docs: .venv/ready  ## the documentation as a site, in build/site
	.venv/bin/zensical build --strict --clean

package:  ## the wheel and the sdist in dist/, checked, and the demo run from the wheel in an empty environment
	rm -rf dist .venv-package
	$(PYTHON) -m venv .venv-package
	.venv-package/bin/python $(PIP_INSTALL) build twine
	PIP_CONSTRAINT=$(CONSTRAINTS) .venv-package/bin/python -m build --outdir dist .
	.venv-package/bin/twine check --strict dist/*
	rm -rf .venv-package
	$(PYTHON) -m venv .venv-package
	.venv-package/bin/python $(PIP_INSTALL) dist/*.whl
	cd dist && ../.venv-package/bin/mar-edge run --source demo:realtime=no

lowest: LOWEST_TESTS := $(addprefix tests/,cli/test_cli.py datasets/test_clip_reader.py datasets/test_video_list.py \
	files/test_bundle.py files/test_whole_folder.py house/test_child_process.py runtime/clips/test_preprocess.py \
	runtime/clips/test_ring_buffer.py runtime/clips/test_sampler.py runtime/sinks runtime/sources/test_sources.py \
	runtime/streams runtime/test_egomotion.py runtime/video)
lowest:  ## the wheel with the lowest versions that pyproject.toml allows, on Python 3.10: the demo, and tests without torch
	rm -rf .venv-lowest build/lowest
	$(LOWEST_PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python $(PIP_LOWEST) .
	mkdir -p build/lowest && cd build/lowest && ../../.venv-lowest/bin/mar-edge run --source demo:realtime=no
	.venv-lowest/bin/python $(PIP_LOWEST) filelock hypothesis matplotlib onnx paho-mqtt prometheus-client psutil pytest pyyaml safetensors urllib3
	cp -r tests runtime docs pyproject.toml build/lowest/  # so that the tests import the wheel
	cd build/lowest && MAR_EDGE_SHARED=$${MAR_EDGE_SHARED:-$(abspath ../shared)} OMP_NUM_THREADS=1 \
		../../.venv-lowest/bin/python -m pytest -q -p no:cacheprovider $(LOWEST_TESTS) \
		--deselect tests/cli/test_cli.py::test_import_and_export_from_the_command_line \
		--deselect tests/cli/test_cli.py::test_errors_are_one_line_and_exit_1  # both need torch

audit:  ## known vulnerabilities of the pinned versions; asks pypi.org
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement $(CONSTRAINTS)

clean:
	rm -rf .venv-audit .venv-lowest .venv-package dist build .venv .venv-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
