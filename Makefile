# Thin: each target is a command that can be run by hand in the virtual environment (`source .venv/bin/activate`).
PYTHON ?= python3
VENV := .venv
RUN := . $(VENV)/bin/activate &&
# An environment is good if it says so itself, not if a file exists: so it is asked each time.
ENVIRONMENT = digits/verify/environment.sh $(VENV) $(PYTHON) $< $@

# What misleads Python or DVC if it stands in the shell: the first are Python's, the others a hook's. And what DVC asks for,
# which a container may lack.
unexport $(filter-out PYTHON PYTHONDONTWRITEBYTECODE,$(filter PYTHON%,$(.VARIABLES)))
unexport $(shell env -i PATH="$$PATH" git rev-parse --local-env-vars 2>/dev/null)
export USER ?= $(shell id -u 2>/dev/null)
export AGAINST REMOTE SCHEDULER

.DEFAULT_GOAL := help
export HOME ?= $(or $(shell getent passwd "$$(id -u)" 2>/dev/null | cut -d: -f6),$(CURDIR)/$(VENV))
.PHONY: arm64 help parquet setup repro push audit queue worker doctor test check figures verify seeds processors convnet convnet-whole convnet-sweep bench tables card \
	export lock clean demo gate report sweep typical-seed faults sbom pictures workers large $(VENV)/runtime.stamp $(VENV)/dev.stamp $(VENV)/s3.stamp $(VENV)/cluster.stamp

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/runtime.stamp ## Create the virtual environment from requirements.lock

repro: $(VENV)/runtime.stamp $(if $(REMOTE),$(VENV)/s3.stamp) ## Run the pipeline (what has not changed is not run) and print the result; REMOTE=NAME: take what others ran
	@$(RUN) python -m digits.verify.parameters params.yaml
	@$(RUN) python -m digits.verify.doctor
	$(if $(REMOTE),@$(RUN) python -m digits.verify.share fetch --remote "$$REMOTE")
	@$(RUN) dvc repro || { status=$$?; python -m digits.verify.doctor; exit $$status; }
	@$(RUN) python -m digits.verify.doctor --after
	@$(RUN) python -m digits.apps.summary metrics

push: $(VENV)/s3.stamp $(filter repro,$(MAKECMDGOALS)) ## Send what has run here to a store that others read: make repro push REMOTE=NAME
	@$(RUN) python -m digits.verify.share push --remote "$$REMOTE"

audit: $(VENV)/s3.stamp ## Run again a SAMPLE of the runs in a store, and name each that is not what it says: make audit REMOTE=NAME
	@$(RUN) python -m digits.verify.audit --remote "$$REMOTE" --sample $(SAMPLE)
SAMPLE ?= 1

doctor: $(VENV)/runtime.stamp ## Mend what a kill, a full disk or a damaged file left behind (make repro does it too)
	@$(RUN) python -m digits.verify.doctor

demo: repro ## Draw digits on a page and see what the model reads: make demo, make demo PORT=9000
	@$(RUN) python -m digits.apps.demo --model data/model.keras --dataset data/raw/dataset.json --params params.yaml --port $(PORT)
PORT ?= 8000

report: repro $(VENV)/dev.stamp ## Write report.html: is this run better than the last, or that in AGAINST=COMMIT; where does it fail
	@$(RUN) python -m digits.apps.report --params params.yaml --lock dvc.lock --metrics metrics --model data/model.keras \
	--dataset data/raw/dataset.json --data data/prepared --platform data/platform.json --out report.html $(if $(AGAINST),--against "$$AGAINST")

gate: $(VENV)/runtime.stamp ## Fail if the model is worse than that of AGAINST=COMMIT: make gate AGAINST=origin/main
	@$(RUN) python -m digits.verify --only freshness
	@$(RUN) python -m digits.apps.gate --params params.yaml --lock dvc.lock --metrics metrics --seeds bench/results/seeds.json --against "$$AGAINST"

test: $(VENV)/dev.stamp ## Check format, lint, types, and run every test
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) lint-imports --no-logo
	@$(RUN) pytest --numprocesses auto --dist loadfile

check: $(VENV)/dev.stamp ## Name each committed figure that is stale, and the command that renews it
	@$(RUN) python -m bench.figures --check

figures: $(VENV)/dev.stamp ## Renew the committed figures that are stale, and only those (all of them take hours)
	@$(RUN) python -m bench.figures

verify: $(VENV)/runtime.stamp ## Check that dvc.lock is fresh, and that a clean clone of the last commit gives equal bytes
	@$(RUN) python -m digits.verify

seeds: repro $(if $(SCHEDULER),$(VENV)/cluster.stamp) ## Train with ten seeds and write bench/results/seeds.json (five minutes)
	@$(RUN) python -m bench.seeds --seeds 10 --data data --out bench/results/seeds.json $(POINTS)
# Points at a time on this machine, or the address of a Dask scheduler: make sweep SCHEDULER=tcp://...
POINTS = --jobs $(JOBS) $(if $(SCHEDULER),--scheduler "$$SCHEDULER")
JOBS ?= 1

typical-seed: $(VENV)/runtime.stamp ## Take the seed nearest to the mean of make seeds into params.yaml, and run the pipeline
	@$(RUN) python -m bench.typical_seed bench/results/seeds.json
	@$(RUN) dvc repro

sweep: $(VENV)/runtime.stamp $(if $(SCHEDULER),$(VENV)/cluster.stamp) ## Compare settings on validation images and write bench/results/sweep.json (six minutes)
	@$(RUN) python -m bench.sweep --seeds 6 --validation 10000 --out bench/results/sweep.json $(POINTS) $(GRID)
GRID ?= --set dense.units=128,256,512 --set dense.learning_rate=0.0003,0.001,0.003

queue: $(VENV)/runtime.stamp ## Run what `dvc exp run --queue` has queued, JOBS at a time, and fail if one of them does
	@$(RUN) python -m bench.queued --jobs $(JOBS)

worker: $(VENV)/cluster.stamp ## Compute points for the sweeps of others: make worker SCHEDULER=tcp://...
	@$(RUN) python -m distributed.cli.dask_worker "$$SCHEDULER" --nworkers $(JOBS) --nthreads 1

convnet: repro $(VENV)/dev.stamp ## Accuracy of the convnet against seconds, beside Keras's example, in bench/results/convnet.json (two hours; goes on if it is ended)
	@$(RUN) python -m bench.convnet --seeds 5 --epochs 1 2 3 --long convnet.epochs=20 evaluate.views=11 --long-seeds 10 \
	--data data --out bench/results/convnet.json

convnet-whole: repro $(VENV)/dev.stamp ## Train the convnet whole on this kind of machine: the model of others? Into bench/results/convnet_whole.json (five minutes)
	@$(RUN) python -m bench.whole --study bench/results/convnet.json --seeds 2 --data data --out bench/results/convnet_whole.json

convnet-sweep: $(VENV)/runtime.stamp $(if $(SCHEDULER),$(VENV)/cluster.stamp) ## Compare settings of the convnet, in bench/results/convnet_sweep.json (a quarter of an hour)
	@$(RUN) python -m bench.sweep --seeds 3 --validation 10000 --out bench/results/convnet_sweep.json \
	--set convnet.warmup=0,0.15 --set convnet.distortion=0.1,0.15

parquet: $(VENV)/runtime.stamp ## Install what reads data sets in Parquet: docs/data.md
	@$(RUN) python -m pip install --quiet --require-hashes -r requirements-parquet.lock

pictures: repro ## Measure how pictures are read, by kind, in bench/results/pictures.json (twenty minutes)
	@$(RUN) python -m bench.pictures --data data --digits 5 --held-out 10000 --out bench/results/pictures.json

arm64: $(VENV)/arm64/python ## Unpack an arm64 Python with the packages of the lock file, to run under qemu-aarch64

processors: $(VENV)/runtime.stamp $(VENV)/arm64/python ## Train a sample on other processors, in bench/results/processors.json
	@$(RUN) python -m digits.verify.processors --out bench/results/processors.json

workers: repro ## Train on 1, 2 and 4 workers of this machine, in bench/results/workers.json (five minutes)
	@$(RUN) python -m bench.workers --workers 1 2 4 --set train.shards=4 dense.epochs=1 --larger dense.units=2048 dense.batch_size=512 \
	--data data --out bench/results/workers.json

bench: $(VENV)/dev.stamp ## Measure speed and memory against two baselines, into bench/results/speed (ten minutes, machine idle)
	@$(RUN) python -m bench.speed --rounds 3 --out bench/results/speed

large: $(VENV)/runtime.stamp ## Run 64 times MNIST in 2 GiB of memory, and in all, into bench/results/large.json (ten minutes, 18 GB of disk)
	@$(RUN) python -m bench.large --times 64 --memory 2048 --out bench/results/large.json

faults: repro $(VENV)/dev.stamp ## Kill, fill, damage and race a small project, and load the demo, into bench/results/faults.json
	@$(RUN) python -m bench.faults $(FAULTS) --model data/model.keras \
	--dataset data/raw/dataset.json --out bench/results/faults.json
FAULTS ?= --kills 1000 --moments 60 --interrupts 20 --full 40 --places 10 --changes 100 --damages 1000 --pairs 15 --real 6 \
	--inputs 20000 --requests 10000 --processes 2 --minutes 40

tables: $(VENV)/runtime.stamp ## Write the tables of the READMEs and of docs/ from the committed results
	@$(RUN) python -m bench.tables

card: $(VENV)/dev.stamp ## Write the model card, docs/model-card.md, from the committed results
	@$(RUN) python -m digits.apps.card $(CARD) --out docs/model-card.md

export: repro $(VENV)/dev.stamp ## Write the model as SavedModel and ONNX file, with its card, into export/
	@$(RUN) python -m digits.apps.export $(CARD) --dataset data/raw/dataset.json --data data/prepared --out export
CARD := --params params.yaml --lock dvc.lock --metrics metrics --model data/model.keras --seeds bench/results/seeds.json

sbom: $(VENV)/dev.stamp ## Write sbom.cdx.json, all packages of the lock file, and the licences, docs/dependencies.md
	@$(RUN) python -W ignore::UserWarning -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json requirements.lock
	@$(RUN) python -m bench.dependencies --pyproject pyproject.toml --out docs/dependencies.md

lock: $(VENV)/dev.stamp ## Pin the newest versions that pyproject.toml allows
	@$(RUN) python -m pip install --quiet 'uv>=0.8'
	@$(RUN) uv pip compile $(LOCK) pyproject.toml -o requirements.lock
	@$(RUN) uv pip compile $(LOCK) --group s3 -c requirements.lock -o requirements-s3.lock
	@$(RUN) uv pip compile $(LOCK) --group cluster -c requirements.lock -c requirements-s3.lock -o requirements-cluster.lock
	@$(RUN) uv pip compile $(LOCK) --group dev -c requirements.lock -c requirements-s3.lock -c requirements-cluster.lock -o requirements-dev.lock
	@$(RUN) uv pip compile $(LOCK) --group parquet -c requirements-dev.lock -o requirements-parquet.lock
LOCK := --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-header --no-annotate

clean: ## Remove the virtual environment and what Git and DVC do not keep
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dvc_plots report.html data/.model.keras.checkpoint

$(VENV)/runtime.stamp: requirements.lock
	@$(ENVIRONMENT)

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/s3.stamp $(VENV)/cluster.stamp
	@$(ENVIRONMENT)

$(VENV)/s3.stamp: requirements-s3.lock $(VENV)/runtime.stamp
	@$(ENVIRONMENT)

$(VENV)/cluster.stamp: requirements-cluster.lock $(VENV)/runtime.stamp
	@$(ENVIRONMENT)

$(VENV)/arm64/python: requirements.lock digits/verify/arm64.sh | $(VENV)/runtime.stamp
	@$(RUN) digits/verify/arm64.sh $(VENV)/arm64 requirements.lock
