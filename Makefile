# Every verb of the kit: `make VERB` is `python -m kit VERB` in an environment of its own.
#   make folds train submit                                      the built-in demo
#   make folds train submit DATA=../siim RECIPE=exp5             the competition
#   make train RECIPE=exp5 SET="stages.0.epochs=2 seed=1"        any value of a recipe
# All variables are passed on (kit/cli/make.py): the kit knows which verb takes which, and refuses those that no verb of
# the call takes.

# A spinning OpenMP thread takes the core that another thread needs.
export OMP_WAIT_POLICY ?= PASSIVE

PYTHON    ?= python3
BIN       := .venv/bin
KIT       := $(BIN)/python -m kit
REPRODUCE := $(BIN)/python -m reproduce

# Verbs outside the kit, each with the variables that it takes.
OTHERS := experiments:DATA,SET,ARGS study:DATA,SET,ARGS claims:DATA,SET,ARGS curve:DATA,RECIPE,SET,ARGS \
          tables:DATA,ARGS figures:DATA,RECIPE,SET,ARGS test:ARGS test-fast:ARGS test-long:ARGS coverage:ARGS bench:ARGS bench-gpu: help: lint: docs: clean:

# Variables count on the command line only, not in the environment.
ARGS   :=
GOALS  := $(filter-out .venv/%,$(or $(MAKECMDGOALS),help))
VERBS  := $(filter-out $(foreach other,$(OTHERS),$(firstword $(subst :, ,$(other)))),$(GOALS))
GIVEN  := $(foreach name,$(filter-out PYTHON BIN KIT REPRODUCE OMP_WAIT_POLICY,$(.VARIABLES)),\
          $(if $(filter command,$(firstword $(origin $(name)))),$(name)))
quoted  = '$(subst ','\'',$1)'
CALL    = --make '$(GOALS)' '$(OTHERS)' $@ \
          $(foreach name,$(filter-out ARGS,$(GIVEN)),$(call quoted,$(name)=$($(name)))) $(if $(filter ARGS,$(GIVEN)),-- $(ARGS))

.DEFAULT_GOAL := help
.PHONY: $(GOALS) checked
.NOTPARALLEL:

# The kit's verbs of the call; before any other verb the whole call is checked.
$(VERBS) checked: .venv/ready
	@$(KIT) $(CALL)

# The paper's results from trained runs, which only a clone has, not the package.
experiments study claims curve tables figures: .venv/ready
	@$(REPRODUCE) $(CALL)

help: checked
	@$(KIT) --help
	@echo "make VERB … takes these options as variables: DATA= RECIPE= SET= FOLDS= FOLD= ON= TO= FILE= OUT= RUNS= IMAGE=,"
	@echo "and all others as ARGS='--option value'. Of make alone: $(foreach other,$(OTHERS),$(firstword $(subst :, ,$(other))))."
	@echo "docs/reference/make.md explains each."

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": give one with PYTHON=…" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.venv/dev: requirements-dev.txt .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

bench: .venv/dev checked
	@$(BIN)/python -m tests.bench $(ARGS)

bench-gpu: .venv/dev checked
	@$(BIN)/python -m tests.bench.gpu

# A worker that dies ends the run with the name of its test: a replacement worker sometimes waits for ever.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: .venv/dev checked
	@$(PYTEST) $(ARGS)

test-fast: .venv/dev checked
	@$(PYTEST) -m "not slow" -o testpaths=tests $(ARGS)

test-long: .venv/dev checked
	@$(PYTEST) -m long $(ARGS)

coverage: .venv/dev checked
	@$(PYTEST) -m "not demo" --cov --cov-report term:skip-covered $(ARGS)

docs: .venv/dev checked
	@$(BIN)/python tests/support/reference.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo build/site/index.html

lint: .venv/dev checked
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Removes the drawn demo and its results, but not a user's data set that is called demo.
clean: $(if $(wildcard .venv/ready),checked)
	@if grep -qs 'drawn, of nobody' data/demo/phantom.json; then rm -rf data/cache/demo runs/demo data/demo; fi
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
