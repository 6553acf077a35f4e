# Every verb of the kit: `make VERB` is `python -m kit VERB` in an environment of its own.
#   make folds train submit                                      the built-in demo
#   make folds train submit DATA=../siim RECIPE=exp5             the competition
#   make train RECIPE=exp5 SET="stages.0.epochs=2 seed=1"        any value of a recipe

DATA   ?= data/demo
RECIPE ?= demo
FOLDS  ?=
TO     ?= local
SET    ?=
ARGS   ?=

# A spinning OpenMP thread takes the core that another one needs.
export OMP_WAIT_POLICY ?= PASSIVE

PYTHON ?= python3
BIN    := .venv/bin
KIT    := $(BIN)/python -m kit
RUN    := --data $(DATA) --recipe $(RECIPE) $(if $(SET),--set "$(SET)")

.PHONY: help demo download stats folds train thresholds predict validate submit scores kernel kernel-check push \
        report tables recipes bench test lint clean

help: .venv/ready
	@$(KIT) --help

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": give one with PYTHON=…" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

folds: .venv/ready
	@$(KIT) folds --data $(DATA) --recipe $(RECIPE) $(if $(FOLDS),--folds $(FOLDS)) $(ARGS)

train thresholds predict report: .venv/ready
	@$(KIT) $@ $(RUN) $(ARGS)

submit: .venv/ready
	@$(KIT) submit $(RUN) --to $(TO) $(ARGS)

demo scores recipes download: .venv/ready
	@$(KIT) $@ $(ARGS)

stats tables: .venv/ready
	@$(KIT) $@ --data $(DATA) $(ARGS)

validate: .venv/ready
	@$(KIT) validate $(FILE) --data $(DATA) $(ARGS)

kernel: .venv/ready
	@$(KIT) kernel build $(RUN) $(ARGS)

kernel-check: .venv/ready
	@$(KIT) kernel check $(RUN) $(ARGS)

push: .venv/ready
	@$(KIT) kernel push $(RUN) $(ARGS)

bench: .venv/dev
	@$(BIN)/python -m tests.bench $(ARGS)

test: .venv/dev
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: .venv/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

clean:
	rm -rf build data/cache runs/demo data/demo .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
