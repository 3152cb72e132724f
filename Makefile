# talon-dse: `make sweep` runs the example sweep and says where the report is, `make test` runs all checks.
# Both set themselves up in .venv; they need Python 3.11 or later, make, g++ and git.

PYTHON ?= python3
CONFIG ?= configs/digits.yaml
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= 2
N ?= 200
SEED ?= 1000

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONDONTWRITEBYTECODE :=

.NOTPARALLEL:  # one environment, one pip at a time

.PHONY: sweep test cluster cluster-test lint format fast fuzz fuzz-rtl lock schema docs train peers bench clean \
	clean-results

sweep: $(VENV)/sweep.done
	@talon-dse sweep '$(CONFIG)' $(if $(filter-out all,$(CORES)),--cores $(CORES)) $(if $(RETRY),--retry-failed)

test: lint
	pytest -n $(WORKERS) --dist loadgroup --ignore tests/cluster

# Snakemake's executors for clusters. Each start of Snakemake imports what is there, so they are apart.
cluster: $(VENV)/cluster.done

# Sweeps through a real Slurm, which is installed first where that is possible; elsewhere the tests say why they skip.
cluster-test: $(VENV)/dev.done $(VENV)/cluster.done
	@command -v slurmctld >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
	  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge; } || \
	  echo "note: Slurm could not be installed" >&2
	pytest -n 0 tests/cluster

fast: $(VENV)/dev.done
	pytest -n $(WORKERS) --dist loadgroup tests/unit tests/property

# Random graphs against g++ C simulation: `make fuzz N=1000 SEED=5000` takes the seeds 5000 to 5999, a few seconds each.
fuzz: $(VENV)/dev.done
	pytest -n $(WORKERS) tests/fuzz --graphs $(N) --first-seed $(SEED)

# Random networks as our own RTL, run by Verilator: `make fuzz-rtl N=40 SEED=0`.
fuzz-rtl: $(VENV)/dev.done
	pytest -n $(WORKERS) tests/rtl/test_rtl_against_simulation.py --graphs $(N) --first-seed $(SEED)

lint: $(VENV)/dev.done
	ruff check .
	ruff format --check .
	snakefmt --check --compact-diff Snakefile workflow
	mypy
	lint-imports

format: $(VENV)/dev.done
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

# The environment: made once, and again where a lock file or the package's metadata changed.
$(VENV)/sweep.done: requirements.lock pyproject.toml | $(VENV)/made
	$(PIP) install --require-hashes --requirement requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.done: requirements-dev.lock pyproject.toml | $(VENV)/made
	$(PIP) install --require-hashes --requirement requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/sweep.done

$(VENV)/cluster.done: requirements-cluster.lock pyproject.toml | $(VENV)/made
	$(PIP) install --require-hashes --requirement requirements-cluster.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/sweep.done

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "talon-dse needs Python 3.11 or later; say which one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@command -v g++ >/dev/null || echo "note: g++ is missing, so C simulation will fail (Debian: apt-get install g++)" >&2
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The locks, from pyproject.toml; `make lock UPGRADE=--upgrade` takes newer versions.
COMPILE := pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(UPGRADE)
PROJECT := --build-deps-for editable pyproject.toml  # an option that pip-compile takes with a pyproject alone
EXTRAS := --extra fpga --extra rtl --extra search
lock: $(VENV)/dev.done
	$(COMPILE) $(EXTRAS) --output-file requirements.lock $(PROJECT)
	$(COMPILE) $(EXTRAS) --extra dev --constraint requirements.lock --output-file requirements-dev.lock $(PROJECT)
	$(COMPILE) $(EXTRAS) --extra cluster --constraint requirements.lock --output-file requirements-cluster.lock $(PROJECT)
	$(COMPILE) --constraint requirements-dev.lock --output-file requirements-peers.lock requirements-peers.in
	sed -i '/^torch==/,/[^\]$$/d' requirements-peers.lock  # requirements-peers.in says why

schema: $(VENV)/dev.done
	python -c 'from talon_lib.sweep.spec import json_schema; print(json_schema(), end="")' > workflow/schemas/sweep.schema.json

docs: $(VENV)/dev.done
	python -m talon_lib.ir.support > docs/primitives.md
	python -m talon_lib.sweep.schema > docs/schema.md

# The example networks, made again from their data (torch, in an environment of its own; not needed for anything else).
train:
	$(PYTHON) -m venv .venv-train
	.venv-train/bin/python -m pip --quiet install --requirement configs/train/requirements.in
	cd configs/train && ../../.venv-train/bin/python train_digits.py --output ../../results/train
	cd configs/train && ../../.venv-train/bin/python train_digits_conv.py --output ../../results/train
	cd configs/train && ../../.venv-train/bin/python train_digits_cuba.py --output ../../results/train
	cd configs/train && ../../.venv-train/bin/python train_vowels.py --output ../../results/train
	@echo "networks and data are in results/train; copy them to configs/graphs and configs/data to use them"

# talon_lib compared with independent packages (torch, NeuroBench, the TALON SDK), in an environment of their own.
PEERS := .venv-peers
peers: $(PEERS)/done
	$(PEERS)/bin/python -m pytest -n $(WORKERS) tests/peers

# The lock is whole but for torch (requirements-peers.in says why), which comes last, with what its build needs.
$(PEERS)/done: requirements-peers.lock requirements-peers.in pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --requirement $<
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install --requirement requirements-peers.in
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --editable .
	@touch $@

# What a sweep costs beside its work: time of Snakemake alone, memory, disk. `make bench CONFIG=configs/large.yaml`.
bench: $(VENV)/sweep.done
	python tests/bench/sweep.py '$(CONFIG)'

# `make clean` takes the environments and Snakemake's notes, and leaves the results; they go with `make clean-results`.
clean:
	rm -rf .snakemake .venv .venv-train .venv-peers

clean-results:
	find results -mindepth 1 ! -name README.md -delete
