# Thin: each target is a command that can be run by hand in the virtual environment (`source .venv/bin/activate`).
PYTHON ?= python3
VENV := .venv
RUN := . $(VENV)/bin/activate &&
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes

.DEFAULT_GOAL := help
.PHONY: help setup repro test verify seeds processors convnet bench readme card export lock clean demo report sweep

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/runtime.stamp ## Create the virtual environment from requirements.lock

repro: $(VENV)/runtime.stamp ## Run the pipeline (what has not changed is not run) and print the result
	@$(RUN) dvc repro
	@$(RUN) python -m stages.summary metrics

demo: repro ## Draw digits on a page and see what the model reads: make demo, make demo PORT=9000
	@$(RUN) python -m apps.demo --model data/model.keras --params params.yaml --port $(PORT)
PORT ?= 8000

report: repro $(VENV)/dev.stamp ## Write report.html: is this run better than the last, or that in AGAINST=COMMIT; where does it fail
	@$(RUN) python -m apps.report --params params.yaml --lock dvc.lock --metrics metrics --model data/model.keras \
	--data data/prepared --platform data/platform.json --out report.html $(if $(AGAINST),--against '$(AGAINST)')

test: $(VENV)/dev.stamp ## Check format, lint, types, and run every test
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) pytest --numprocesses auto --dist loadfile

verify: $(VENV)/runtime.stamp ## Check that dvc.lock is fresh, and that a clean clone of the last commit gives equal bytes
	@$(RUN) python -m verify

seeds: repro ## Train with ten seeds and write bench/results/seeds.json (five minutes)
	@$(RUN) python -m bench.seeds --seeds 10 --data data/prepared --out bench/results/seeds.json

sweep: $(VENV)/runtime.stamp ## Compare settings on validation images and write bench/results/sweep.json (six minutes)
	@$(RUN) python -m bench.sweep --seeds 6 --validation 10000 --out bench/results/sweep.json $(GRID)
GRID ?= --set units=128,256,512 --set learning_rate=0.0003,0.001,0.003

convnet: repro ## Compare the convnet with Keras's example, five seeds each, in bench/results/convnet.json (half an hour)
	@$(RUN) python -m bench.convnet --seeds 5 --longer 20 --data data/prepared --out bench/results/convnet.json

processors: $(VENV)/runtime.stamp ## Train a sample on four emulated processors and write bench/results/processors.json
	@$(RUN) python -m verify.processors --out bench/results/processors.json

bench: $(VENV)/dev.stamp ## Measure speed and memory against two baselines, into bench/results (ten minutes, machine idle)
	@$(RUN) python -m bench.speed --rounds 5 --out bench/results/speed.json --chart bench/results/speed.png

readme: $(VENV)/runtime.stamp ## Write the figures of both READMEs and of docs/convnet.md from the committed results
	@$(RUN) python -m verify.readme README.md README.vi.md docs/convnet.md

card: $(VENV)/dev.stamp ## Write the model card, docs/model-card.md, from the committed results
	@$(RUN) python -m apps.card $(CARD) --out docs/model-card.md

export: repro $(VENV)/dev.stamp ## Write the model as SavedModel and ONNX file, with its card, into export/
	@$(RUN) python -m apps.export $(CARD) --data data/prepared --out export
CARD := --params params.yaml --lock dvc.lock --metrics metrics --model data/model.keras --seeds bench/results/seeds.json

lock: $(VENV)/dev.stamp ## Pin the newest versions that pyproject.toml allows
	@$(RUN) python -m pip install --quiet 'uv>=0.8'
	@$(RUN) uv pip compile $(LOCK) pyproject.toml -o requirements.lock
	@$(RUN) uv pip compile $(LOCK) --group dev -c requirements.lock -o requirements-dev.lock
LOCK := --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-header --no-annotate

clean: ## Remove the virtual environment and what Git and DVC do not keep
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache dvc_plots report.html

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("ERROR: $(PYTHON): expected Python \
	3.11 to 3.13, for which TensorFlow has packages. Got %d.%d. Run make PYTHON=python3.12." % sys.version_info[:2])'
	@echo "Setting up $(VENV) (a few minutes, once)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.stamp: requirements.lock | $(VENV)/bin/python
	@$(PIP) -r requirements.lock
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	@$(PIP) -r requirements-dev.lock
	@touch $@
