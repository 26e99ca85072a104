# The two commands of the README are `make demo` and `make test`. Both make their own environment.
PYTHON ?= python3
CONSTRAINTS := constraints.txt
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
INPUTS := pyproject.toml $(CONSTRAINTS)

.PHONY: demo test check docs package clean

demo: .venv-demo/ready  ## run the built-in model on the built-in camera; ends by itself
	.venv-demo/bin/mar-edge run --source demo

test: .venv/ready .venv-demo/ready  ## every test, with torch and without
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python -m pytest -n 3 --dist worksteal --cov --cov-fail-under=90

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

clean:
	rm -rf .venv-package dist build .venv .venv-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
