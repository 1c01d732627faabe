# Thin: each target is a command that can be run by hand in the virtual environment (`source .venv/bin/activate`).
PYTHON ?= python3
VENV := .venv
# Not $$PWD: a link may have a colon in its name.
RUN := PATH="$$(pwd -P)/$(VENV)/bin:$$PATH" &&
# Each make asks the environment whether it holds what the locks name (40 ms). 3: no; it is mended with its own Python.
SETUP = set -- digits/environment.py; $(VENV)/bin/python -I -S $$1 --ask $(1) 2>/dev/null; \
	case $$? in 0) ;; 3) exec $(VENV)/bin/python -I $$1 $(1) ;; *) command -v $(PYTHON) >/dev/null || { \
	echo "ERROR: $(PYTHON): there is no such program. Install Python 3.11 to 3.13, or run make PYTHON=python3.12." >&2; \
	exit 1; }; exec $(PYTHON) -I $$1 $(1) ;; esac

# What misleads Python or DVC if it stands in the shell: the first are Python's, the others a hook's. And what DVC asks for,
# which a container may lack.
unexport $(filter-out PYTHON PYTHONDONTWRITEBYTECODE,$(filter PYTHON%,$(.VARIABLES)))
unexport $(shell env -i PATH="$$PATH" git rev-parse --local-env-vars 2>/dev/null)
export USER ?= $(shell id -u 2>/dev/null)
export HOME ?= $(or $(shell getent passwd "$$(id -u)" 2>/dev/null | cut -d: -f6),$(CURDIR)/$(VENV))
export AGAINST REMOTE

.DEFAULT_GOAL := help
.NOTPARALLEL: # two of them would set up one environment
.PHONY: help setup repro test test-all verify check gate report demo export study bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Create or mend the virtual environment; WITH="s3 parquet" adds groups of packages: dev, s3, cluster, parquet
	@$(call SETUP,$(WITH))

repro: ## Run what has changed of the pipeline and print the result; REMOTE=NAME: take what others ran
	@$(call SETUP,$(if $(REMOTE),s3))
	@$(RUN) python -m digits repro $(if $(REMOTE),--remote "$$REMOTE")

test: ## Check format, lint, types and layers, and run all but the slow tests (four minutes): before each commit
	@$(call SETUP,dev)
	@$(RUN) ruff format --check . && ruff check . && lint-imports --no-logo
	@$(RUN) { mypy & types=$$!; $(PYTEST) -m "not slow"; tests=$$?; wait $$types && exit $$tests; }

test-all: test $(if $(shell command -v debootstrap),$(VENV)/arm64/python) ## The same, then the slow proofs: emulators, servers, workers, a browser, kills, whole re-runs
	@$(RUN) $(PYTEST) -m slow
# A file of tests stays in one process, which imports TensorFlow and makes its small pipelines once.
PYTEST := pytest --numprocesses auto --dist loadfile --durations 10

verify: setup ## Check that dvc.lock is up to date, and that a clean clone of the last commit gives equal bytes
	@$(RUN) python -m digits verify

check: ## Name each figure in docs/ and bench/results/ that is stale, and its command (dvc.lock: make verify)
	@$(call SETUP,dev)
	@$(RUN) python -m bench.check

gate: ## Fail if the model is worse than that of AGAINST=COMMIT: make gate AGAINST=origin/main
	@test -n "$$AGAINST" || { echo "ERROR: AGAINST: it is not set. Run make gate AGAINST=origin/main." >&2; exit 1; }
	@$(call SETUP)
	@$(RUN) python -m digits verify --only check
	@$(RUN) python -m digits gate --against "$$AGAINST"

report: repro ## Write report.html: is this run better than the last, or that in AGAINST=COMMIT; where does it fail
	@$(call SETUP,dev)
	@$(RUN) python -m digits report $(if $(AGAINST),--against "$$AGAINST")

demo: repro ## Draw digits on a page and see what the model reads: make demo, make demo PORT=9000
	@$(RUN) python -m digits demo --port $(PORT)
PORT ?= 8000

export: repro ## Write the model as SavedModel and ONNX file, with its card, into export/
	@$(call SETUP,dev)
	@$(RUN) python -m digits export

study: ## Run a study, or list them: make study NAME=seeds, make study NAME=sweep ARGS="--jobs 2"
	@$(call SETUP,$(if $(NAME),dev))
	@$(RUN) python -m bench $(NAME) $(ARGS)

bench: ## Measure what people wait for, speed and memory, beside plain commands (half an hour, machine idle)
	@$(call SETUP,dev)
	@$(RUN) python -m bench waits
	@$(RUN) python -m bench speed

lock: ## Pin the newest versions that pyproject.toml allows
	@$(call SETUP,dev)
	@$(RUN) uv pip compile $(LOCK) --no-annotate pyproject.toml -o requirements.lock
	@$(RUN) uv pip compile $(LOCK) pyproject.toml $(ALL_GROUPS:%=--group %) -c requirements.lock -o requirements-dev.lock
# The stages depend on the first, which has no group in it: a newer tool of development trains nothing again.
ALL_GROUPS := dev s3 cluster parquet
LOCK := --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-header

clean: ## Remove the virtual environment and what Git and DVC do not keep
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dvc_plots report.html export sbom.cdx.json mutation-results.json \
	data/.model.keras.checkpoint

# An arm64 Python with the packages of the lock, for qemu-aarch64.
$(VENV)/arm64/python: requirements.lock bench/arm64.sh | setup
	@$(RUN) bash bench/arm64.sh $(VENV)/arm64 requirements.lock
