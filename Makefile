# Everything runs in .venv, which any target makes first. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DFER := $(BIN)/dfer
READY := $(VENV)/.ready

DEMO := data/demo
# The paper's recipe fine-tunes CLIP on a GPU; this one starts from nothing, on a CPU.
DEMO_RECIPE := --dataset demo --preset small
BENCH_VIDEO ?= $(DEMO)/unseen/journey.mp4
TABLE ?= 2
DEMO_PICTURE := runs/demo/journey.png

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-data ablation test test-all test-gpu check fix lint type docs docs-serve bench probe clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Make .venv with the project and its tools in it

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: demo-data ## The whole way on drawn faces: videos, crops, training, tables, prediction
	$(DFER) ablate --table 2 --folds 1,2 $(DEMO_RECIPE)
	$(DFER) train --folds 1-5 $(DEMO_RECIPE)
	$(DFER) eval full --dataset demo
	$(DFER) predict $(DEMO)/unseen/journey.mp4 --checkpoint runs/demo/full/fold1 \
		--stride-s 1 --plot $(DEMO_PICTURE)

demo-data: $(READY)
	$(DFER) demo $(DEMO)
	$(DFER) preprocess --dataset folder --root $(DEMO) --detector mtcnn --size 112

ablation: demo-data ## A table of the paper on the demo data, over all folds; TABLE=3 another
	$(DFER) ablate --table $(TABLE) --folds 1-5 $(DEMO_RECIPE)

test: $(READY) ## Run all tests but the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow and not network and not gpu and not realvideo'

test-all: $(READY) ## Run all tests that need neither a network nor a GPU
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-gpu: $(READY) ## Run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu tests

lint: $(READY) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY) ## Check types
	$(BIN)/mypy

check: lint type test-all ## All that must be green before a change lands

fix: $(READY) ## Mend what can be mended automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## Write docs/commands.md from the commands' help and build the site into site/
	$(BIN)/python docs/write_commands.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

docs-serve: docs ## Show the site at http://127.0.0.1:8000 and rebuild it as pages change
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

bench: demo-data ## Time cropping, loading, training, predicting, manifests and the doctor
	$(BIN)/python benchmarks/crop.py $(BENCH_VIDEO)
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/predict.py $(BENCH_VIDEO)
	$(BIN)/python benchmarks/manifest.py
	$(BIN)/python benchmarks/doctor.py
	$(BIN)/python benchmarks/workers.py

probe: $(READY) ## Train the modules on made data that only time tells apart: about an hour. MODELS="est ial": networks instead
	$(BIN)/python benchmarks/dynamics.py --jobs 2 $(if $(MODELS),--models $(MODELS))

clean: ## Remove the demo's data and runs
	rm -rf $(DEMO) runs/demo
