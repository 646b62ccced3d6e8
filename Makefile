# search: a search on a series that is made here, end to end. test: the tests. bench: the benchmarks, some 13 minutes.
# Each installs what it needs first.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: search test test-fast contract bench flagship flagship-report league league-report league-full docs lint clean

search: $(VENV)/.installed
	$(BIN)/python -m tune.search --preset quickstart $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-fast: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

# Every forecaster through all that one must do, and through a search, a study and their reports.
contract: $(VENV)/.installed-test
	DYNONET_CONTRACT=all $(BIN)/python -m pytest -n $(WORKERS) tests/contract $(ARGS)

# What docs/speed.md says, measured on this machine's CPUs (scripts/bench/gpu.py is for a GPU).
bench: $(VENV)/.installed
	$(BIN)/python -m scripts.bench.gru
	$(BIN)/python -m scripts.bench.step
	$(BIN)/python -m scripts.bench.stack
	$(BIN)/python -m scripts.bench.module
	$(BIN)/python -m scripts.bench.forecasters
	$(BIN)/python -m scripts.bench.compiled
	$(BIN)/python -m scripts.bench.orchestration
	$(BIN)/python -m scripts.bench.search

# The flagship study whole, some hours of two cores; each command goes on where it stood. Preset tuned-etth1-h96 of
# dynonet.presets, which the last two studies start from, is what the first search found.
SERIES := series-etth1 series-etth2 series-exchange series-illness series_tuned
FLAGSHIP := tuned-etth1-h96 front-etth1-h96 parts-published signals-published parts_tuned bilevel_tuned $(SERIES)
flagship: $(VENV)/.installed
	$(BIN)/python -m tune.search --preset etth1-h96 --study tuned-etth1-h96
	$(BIN)/python -m tune.search --preset etth1-h96 --study front-etth1-h96 --objectives val_mse,parameters \
	  --trials 40 --final-replicates 0
	$(BIN)/python -m ablations.run parts training.protocol=published --study parts-published --seeds 10 --arms \
	  no_film,no_bilevel,no_decomposition,no_workers,no_lr_scale,no_wd_scale,no_grad_clip,no_freeze_prob,no_loss_weight
	$(BIN)/python -m ablations.run signals training.protocol=published --study signals-published --seeds 10
	$(BIN)/python -m ablations.run parts_tuned
	$(BIN)/python -m ablations.run bilevel_tuned
	$(BIN)/python -m tune.search --preset series-etth1
	$(BIN)/python -m tune.search --preset series-etth2
	$(BIN)/python -m tune.search --preset series-exchange
	$(BIN)/python -m tune.search --preset series-illness
	$(BIN)/python -m ablations.run series_tuned
	$(BIN)/python -m tune.results copy $(FLAGSHIP) --to results/flagship

# What the README and docs/findings.md say we found, from the records in results/flagship: pages, figure and tables, without training.
flagship-report: $(VENV)/.installed
	$(BIN)/python -m scripts.flagship_report

# Its rivals beside it: what two cores train in some half an hour (ablations/studies/league.yaml; the page says what it
# leaves out), and what the whole league would cost here, by model. Both go on where they stood; ARGS="--arms dlinear"
# and --cells run a part.
league: $(VENV)/.installed
	$(BIN)/python -m ablations.run league $(ARGS)
	$(BIN)/python -m ablations.report league

# The league's page, figure and section in the docs from the records that are kept (KEPT=DIR: others, say of another
# machine), without training. What `make league` measured is kept by: python -m tune.results copy league --to results/league
KEPT ?= results/league
league-report: $(VENV)/.installed
	$(BIN)/python -m scripts.league_report --results "$(KEPT)"

league-full: $(VENV)/.installed
	$(BIN)/python -m ablations.run league-full --dry-run $(ARGS)

# The README and docs/ as a site in build/site; a link that leads nowhere is an error.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m scripts.docs.site

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

# What pip is about to do, and what it came to. Sizes are those of Linux with torch's build for CPUs.
define said
	@echo "installing $(1) into $(VENV) (pip keeps what it downloads in its own cache, too)."
	@echo "With torch's build for CPUs that is some $(2) on disk; its build for CUDA takes some GB more. It takes minutes."
endef
size = @echo "installed: $(VENV) takes $$(du -sh $(VENV) | cut -f1)"

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(call said,this project and the 105 packages that it needs (torch, Ray, Optuna, ...),2.1 GB)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	$(size)
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(call said,this project and the 151 packages that it and its tests need,3.1 GB)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	$(size)
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-lint: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[lint]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
