# Thin: each target is a command that can be run by hand in the virtual environment (`source .venv/bin/activate`).
PYTHON ?= python3
VENV := .venv
RUN := PATH="$$PWD/$(VENV)/bin:$$PATH" &&
# Each make asks the environment whether it holds what the locks name (30 ms). 3: no; it is mended with its own Python.
ENVIRONMENT = set -- digits/verify/environment.py; $(VENV)/bin/python -I -S $$1 --ask $@ 2>/dev/null; \
	case $$? in 0) ;; 3) exec $(VENV)/bin/python -I $$1 $@ ;; *) command -v $(PYTHON) >/dev/null || { \
	echo "ERROR: $(PYTHON): there is no such program. Install Python 3.11 to 3.13, or run make PYTHON=python3.12." >&2; \
	exit 1; }; exec $(PYTHON) -I $$1 $@ ;; esac

# What misleads Python or DVC if it stands in the shell: the first are Python's, the others a hook's. And what DVC asks for,
# which a container may lack.
unexport $(filter-out PYTHON PYTHONDONTWRITEBYTECODE,$(filter PYTHON%,$(.VARIABLES)))
unexport $(shell env -i PATH="$$PATH" git rev-parse --local-env-vars 2>/dev/null)
export USER ?= $(shell id -u 2>/dev/null)
export HOME ?= $(or $(shell getent passwd "$$(id -u)" 2>/dev/null | cut -d: -f6),$(CURDIR)/$(VENV))
export AGAINST REMOTE SCHEDULER

.DEFAULT_GOAL := help
.NOTPARALLEL: # two of them would set up one environment
.PHONY: arm64 help setup dev s3 cluster parquet repro push audit queue worker doctor test check figures verify seeds processors convnet convnet-whole convnet-sweep bench tables card \
	export lock clean demo gate report sweep typical-seed faults sbom pictures workers large

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Create the virtual environment from requirements.lock, or mend it
dev: ## The same with the tools of development
s3: ## The same with what reaches a store on S3: docs/sharing.md
cluster: ## The same with what spreads sweeps over machines: docs/experiments.md
parquet: ## The same with what reads data sets in Parquet: docs/data.md
setup dev s3 cluster parquet:
	@$(ENVIRONMENT)

repro: $(if $(REMOTE),s3,setup) ## Run the pipeline (what has not changed is not run) and print the result; REMOTE=NAME: take what others ran
	@$(RUN) python -m digits.verify.parameters params.yaml
	@$(RUN) python -m digits.verify.doctor
	$(if $(REMOTE),@$(RUN) python -m digits.verify.share fetch --remote "$$REMOTE")
	@$(RUN) dvc repro || { status=$$?; python -m digits.verify.doctor; exit $$status; }
	@$(RUN) python -m digits.verify.doctor --after
	@$(RUN) python -m digits.apps.summary metrics

push: s3 $(filter repro,$(MAKECMDGOALS)) ## Send what has run here to a store that others read: make repro push REMOTE=NAME
	@$(RUN) python -m digits.verify.share push --remote "$$REMOTE"

audit: s3 ## Run again a SAMPLE of the runs in a store, and name each that is not what it says: make audit REMOTE=NAME
	@$(RUN) python -m digits.verify.audit --remote "$$REMOTE" --sample $(SAMPLE)
SAMPLE ?= 1

doctor: setup ## Mend what a kill, a full disk or a damaged file left behind (make repro does it too)
	@$(RUN) python -m digits.verify.doctor

demo: repro ## Draw digits on a page and see what the model reads: make demo, make demo PORT=9000
	@$(RUN) python -m digits.apps.demo --model data/model.keras --dataset data/raw/dataset.json --params params.yaml --port $(PORT)
PORT ?= 8000

report: repro dev ## Write report.html: is this run better than the last, or that in AGAINST=COMMIT; where does it fail
	@$(RUN) python -m digits.apps.report --params params.yaml --lock dvc.lock --metrics metrics --model data/model.keras \
	--dataset data/raw/dataset.json --data data/prepared --platform data/platform.json --out report.html $(if $(AGAINST),--against "$$AGAINST")

gate: setup ## Fail if the model is worse than that of AGAINST=COMMIT: make gate AGAINST=origin/main
	@$(RUN) python -m digits.verify --only freshness
	@$(RUN) python -m digits.apps.gate --params params.yaml --lock dvc.lock --metrics metrics --seeds bench/results/seeds.json --against "$$AGAINST"

test: dev ## Check format, lint, types, and run every test
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) lint-imports --no-logo
	@$(RUN) pytest --numprocesses auto --dist loadfile

check: dev ## Name each committed figure that is stale, and the command that renews it
	@$(RUN) python -m bench.figures --check

figures: dev ## Renew the committed figures that are stale, and only those (all of them take hours)
	@$(RUN) python -m bench.figures

verify: setup ## Check that dvc.lock is fresh, and that a clean clone of the last commit gives equal bytes
	@$(RUN) python -m digits.verify

seeds: repro $(if $(SCHEDULER),cluster) ## Train with ten seeds and write bench/results/seeds.json (five minutes)
	@$(RUN) python -m bench.seeds --seeds 10 --data data --out bench/results/seeds.json $(POINTS)
# Points at a time on this machine, or the address of a Dask scheduler: make sweep SCHEDULER=tcp://...
POINTS = --jobs $(JOBS) $(if $(SCHEDULER),--scheduler "$$SCHEDULER")
JOBS ?= 1

typical-seed: setup ## Take the seed nearest to the mean of make seeds into params.yaml, and run the pipeline
	@$(RUN) python -m bench.typical_seed bench/results/seeds.json
	@$(RUN) dvc repro

sweep: $(if $(SCHEDULER),cluster,setup) ## Compare settings on validation images and write bench/results/sweep.json (six minutes)
	@$(RUN) python -m bench.sweep --seeds 6 --validation 10000 --out bench/results/sweep.json $(POINTS) $(GRID)
GRID ?= --set dense.units=128,256,512 --set dense.learning_rate=0.0003,0.001,0.003

queue: setup ## Run what `dvc exp run --queue` has queued, JOBS at a time, and fail if one of them does
	@$(RUN) python -m bench.queued --jobs $(JOBS)

worker: cluster ## Compute points for the sweeps of others: make worker SCHEDULER=tcp://...
	@$(RUN) python -m distributed.cli.dask_worker "$$SCHEDULER" --nworkers $(JOBS) --nthreads 1

convnet: repro dev ## Accuracy of the convnet against seconds, beside Keras's example, in bench/results/convnet.json (two hours; goes on if it is ended)
	@$(RUN) python -m bench.convnet --seeds 5 --epochs 1 2 3 --long convnet.epochs=20 evaluate.views=11 --long-seeds 10 \
	--data data --out bench/results/convnet.json

convnet-whole: repro dev ## Train the convnet whole on this kind of machine: the model of others? Into bench/results/convnet_whole.json (five minutes)
	@$(RUN) python -m bench.whole --study bench/results/convnet.json --seeds 2 --data data --out bench/results/convnet_whole.json

convnet-sweep: $(if $(SCHEDULER),cluster,setup) ## Compare settings of the convnet, in bench/results/convnet_sweep.json (a quarter of an hour)
	@$(RUN) python -m bench.sweep --seeds 3 --validation 10000 --out bench/results/convnet_sweep.json \
	--set convnet.warmup=0,0.15 --set convnet.distortion=0.1,0.15

pictures: repro ## Measure how pictures are read, by kind, in bench/results/pictures.json (twenty minutes)
	@$(RUN) python -m bench.pictures --data data --digits 5 --held-out 10000 --out bench/results/pictures.json

arm64: $(VENV)/arm64/python ## Unpack an arm64 Python with the packages of the lock file, to run under qemu-aarch64

processors: setup $(VENV)/arm64/python ## Train a sample on other processors, in bench/results/processors.json
	@$(RUN) python -m digits.verify.processors --out bench/results/processors.json

workers: repro ## Train on 1, 2 and 4 workers of this machine, in bench/results/workers.json (five minutes)
	@$(RUN) python -m bench.workers --workers 1 2 4 --set train.shards=4 dense.epochs=1 --larger dense.units=2048 dense.batch_size=512 \
	--data data --out bench/results/workers.json

bench: dev ## Measure speed and memory against two baselines, into bench/results/speed (ten minutes, machine idle)
	@$(RUN) python -m bench.speed --rounds 3 --out bench/results/speed

large: setup ## Run 64 times MNIST in 2 GiB of memory, and in all, into bench/results/large.json (ten minutes, 18 GB of disk)
	@$(RUN) python -m bench.large --times 64 --memory 2048 --out bench/results/large.json

faults: repro dev ## Kill, fill, damage and race a small project, and load the demo, into bench/results/faults.json
	@$(RUN) python -m bench.faults $(FAULTS) --model data/model.keras \
	--dataset data/raw/dataset.json --out bench/results/faults.json
FAULTS ?= --kills 1000 --moments 60 --interrupts 20 --full 40 --places 10 --changes 100 --damages 1000 --pairs 15 --real 6 \
	--inputs 20000 --requests 10000 --processes 2 --minutes 40

tables: setup ## Write the tables of the READMEs and of docs/ from the committed results
	@$(RUN) python -m bench.tables

card: dev ## Write the model card, docs/model-card.md, from the committed results
	@$(RUN) python -m digits.apps.card $(CARD) --out docs/model-card.md

export: repro dev ## Write the model as SavedModel and ONNX file, with its card, into export/
	@$(RUN) python -m digits.apps.export $(CARD) --dataset data/raw/dataset.json --data data/prepared --out export
CARD := --params params.yaml --lock dvc.lock --metrics metrics --model data/model.keras --seeds bench/results/seeds.json

sbom: dev ## Write sbom.cdx.json, all packages of the lock file, and the licences, docs/dependencies.md
	@$(RUN) python -W ignore::UserWarning -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json requirements.lock
	@$(RUN) python -m bench.dependencies --pyproject pyproject.toml --out docs/dependencies.md

lock: dev ## Pin the newest versions that pyproject.toml allows
	@$(RUN) uv pip compile $(LOCK) --no-annotate pyproject.toml -o requirements.lock
	@$(RUN) uv pip compile $(LOCK) pyproject.toml $(GROUPS:%=--group %) -c requirements.lock -o requirements-dev.lock
# The stages depend on the first, which has no group in it: a newer tool of development trains nothing again.
GROUPS := dev s3 cluster parquet
LOCK := --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-header

clean: ## Remove the virtual environment and what Git and DVC do not keep
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dvc_plots report.html data/.model.keras.checkpoint

$(VENV)/arm64/python: requirements.lock digits/verify/arm64.sh | setup
	@$(RUN) bash digits/verify/arm64.sh $(VENV)/arm64 requirements.lock
