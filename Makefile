# make demo: a venv, the installation and the main job. make test: a venv, lint, types, tests. Both may be repeated.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start hundreds of processes; without the caches of Python, each compiles the whole package again.
unexport PYTHONDONTWRITEBYTECODE

LOCKED := --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet

.PHONY: help demo install lint test test-all examples docs lock clean

help:
	@echo "make demo      set-up and the main job: train, evaluate, leaderboard page (demo/index.html)"
	@echo "make test      set-up, lint, types and the fast tests"
	@echo "make test-all  the slow tests too"
	@echo "make examples  every example of --help and every command of the README, typed once"
	@echo "make docs      the site of the documentation, in docs/site: open docs/site/index.html"
	@echo "make install   only the virtual environment $(VENV)"
	@echo "make lock      requirements*.lock anew from constraints.txt (needs uv: pipx install uv)"
	@echo "make clean     remove the virtual environment and what demo and docs wrote"

demo: $(VENV)/.users
	$(BIN)/rased demo --out demo

test: lint
	$(BIN)/python -m pytest -q -n $(JOBS) -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -q -n $(JOBS)

examples: install
	$(BIN)/python -m pytest -q -n $(JOBS) tests/cli/test_examples.py tests/test_extras.py

# MkDocs does not write into the folder of its sources, so the site is moved there.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	rm -rf docs/site
	mv build/docs docs/site

# torch comes from PyPI (with CUDA) or from PyTorch's own index (for a CPU): its wheels have no hash in common.
lock:
	echo torch | uv pip compile - -c constraints.txt $(LOCKED) -o requirements-torch.lock
	uv pip compile pyproject.toml --all-extras -c constraints.txt $(LOCKED) -o requirements.lock \
		$$(sed -nE 's/^(torch|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==.*/--no-emit-package \1/p' requirements-torch.lock)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/.developers

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.users: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[train,eval]"
	touch $@

$(VENV)/.developers: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	# Their weights alone: their dependencies pull torchaudio or do not build.
	$(BIN)/python -m pip install -q --no-deps -c constraints.txt distillmos resemblyzer
	touch $@ $(VENV)/.users

clean:
	rm -rf $(VENV) demo docs/site
