# Everything happens in this folder's own virtual environment; a second call reuses what is there.
PYTHON ?= python3
VENV ?= .venv
PROFILE ?= smoke
RESULTS ?= results
WORK ?= work
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# nnU-Net, and BERT for LViT, are extras, installed for the profiles that run them
NNUNET := $(VENV)/.nnunet
BERT := $(VENV)/.bert
FILES = $(patsubst %,study/profiles/%.yaml,$(PROFILE) $(shell sed -n 's/^like: //p' study/profiles/$(PROFILE).yaml 2>/dev/null))
runs = $(shell grep -s '$(1)' $(FILES))
EXTRA := $(if $(call runs,kind: nnunet),$(NNUNET)) $(if $(call runs,encoder: bert),$(BERT))
# the smoke study's runs belong to the code that made them: after an update they are done again
SMOKE := results/smoke/.code
# the notebooks that are pages of the book
PAGES = $(shell sed -n 's,.*file: runs/,,p' book/_toc.yml)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
# in a C locale too, names and files are UTF-8
export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help environment book pages study study-noise study-table1 tables rehearse benchmark test lint lab serve annotator lock clean

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## /  make \1\t/' | expand -t 18

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"{sys.executable} is Python {v[0]}.{v[1]}; this project needs 3.11, 3.12 or 3.13: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[study,dev]"
	@touch $@

$(NNUNET) $(BERT): $(VENV)/.%: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	@touch $@

environment: $(STAMP) $(EXTRA) ## Install only, with what a profile needs: make environment PROFILE=paper

book: $(STAMP) ## Install, run the smoke study, build the book
	@code=$$(git rev-parse HEAD:allinsam_core HEAD:study 2>/dev/null || echo unknown); \
	  test "$$(cat $(SMOKE) 2>/dev/null)" = "$$code" || rm -rf results/smoke work/smoke; \
	  mkdir -p results/smoke && echo "$$code" > $(SMOKE)
	@$(MAKE) --no-print-directory study PROFILE=smoke
	@$(MAKE) --no-print-directory -j2 study-noise study-table1 PROFILE=smoke
	@$(MAKE) --no-print-directory pages
	@echo "The book: $(CURDIR)/book/_build/html/index.html   (make serve opens it on a local port)"

pages: $(STAMP) ## Build the book from the results that are there
	OMP_NUM_THREADS=1 python -m study.tools.notebook pages $(PAGES)
	jupyter-book build book -W -n --keep-going
	allinsam book check book/_build/html

study: $(STAMP) $(EXTRA) ## Run a whole profile, resumable: make study PROFILE=smoke|choice|mini|brca|labels|ablation|draws|longer|threshold|converged|paper|paper-b|paper-l
	@snakemake --unlock -s workflow/Snakefile --config profile=$(PROFILE) >/dev/null 2>&1 || true
	snakemake -s workflow/Snakefile --profile workflow/profiles/local --config profile=$(PROFILE) results=$(RESULTS) work=$(WORK) $(if $(THREADS),threads=$(THREADS))

study-table1: $(STAMP) ## The molecular arm (Table 1), resumable: make study-table1 PROFILE=smoke|mini|paper
	python -m study.tools.notebook run notebooks/molecular.ipynb $(WORK)/$(PROFILE)/molecular.ipynb -p profile=$(PROFILE) -p results=$(RESULTS) -p work=$(abspath $(WORK))

study-noise: $(STAMP) ## Quality against label errors, resumable: make study-noise PROFILE=smoke|mini
	OMP_NUM_THREADS=1 allinsam noise --profile $(PROFILE)

tables: $(STAMP) ## Tables 1 to 3 of any profile's results, as notebooks in work/PROFILE: make tables PROFILE=paper
	@missing=; for table in table1 table2 table3; do \
	  python -m study.tools.notebook run notebooks/$$table.ipynb $(WORK)/$(PROFILE)/$$table.ipynb -p profile=$(PROFILE) -p results=$(RESULTS) || missing="$$missing $$table"; \
	done; test -z "$$missing" || { echo "not made:$$missing"; exit 1; }

rehearse: $(STAMP) $(NNUNET) $(BERT) ## The published setting with stand-ins, command by command, on a CPU; resumable
	python -m study.rehearsal

benchmark: $(STAMP) ## Measure speed and memory, one record a line, into results/benchmarks (half an hour of one core)
	OMP_NUM_THREADS=1 python -m benchmarks --results $(RESULTS)

test: $(STAMP) ## Run the tests, on all cores, four at most
	pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(STAMP) ## Style, types, stripped notebooks
	ruff check .
	ruff format --check .
	mypy
	nbstripout --verify --extra-keys "metadata.papermill cell.metadata.papermill cell.metadata.execution" notebooks/*.ipynb

lab: $(STAMP) ## Open JupyterLab on the notebooks
	jupyter lab --ip=127.0.0.1 --notebook-dir="$(CURDIR)" notebooks/experiment.ipynb

serve: $(STAMP) ## Read the built book on http://localhost:8000
	python -m http.server --bind 127.0.0.1 --directory book/_build/html 8000

annotator: ## Bundle the annotator's JavaScript anew (needs npm)
	cd study/annotator/source && npm ci --ignore-scripts && npm run build

lock: $(STAMP) ## Resolve constraints.txt anew for all platforms and Pythons
	python -m pip install --quiet uv
	uv pip compile --universal --python-version 3.11 --no-annotate --no-header --all-extras pyproject.toml -o constraints.txt

clean: ## Remove what was made (environment, built pages, smoke results); committed results stay
	rm -rf $(VENV) book/_build book/runs results/smoke work .snakemake
