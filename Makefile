# Every verb of the kit: `make VERB` is `python -m kit VERB` in an environment of its own.
#   make folds train submit                                      the built-in demo
#   make folds train submit DATA=../siim RECIPE=exp5             the competition
#   make train RECIPE=exp5 SET="stages.0.epochs=2 seed=1"        any value of a recipe
# The variables that each verb takes; what is not given is left to the kit's own defaults.

takes_demo         := ARGS
takes_download     := ARGS
takes_doctor       :=
takes_check        := DATA ARGS
takes_import       := DATA OUT ARGS
takes_stats        := DATA ARGS
takes_folds        := DATA RECIPE SET FOLDS ARGS
takes_train        := DATA RECIPE SET FOLD ARGS
takes_thresholds   := DATA RECIPE SET ARGS
takes_predict      := DATA RECIPE SET ARGS
takes_export       := DATA RECIPE SET ARGS
takes_experiments  := DATA SET
takes_study        := DATA SET
takes_claims       := DATA SET
takes_validate     := FILE DATA ARGS
takes_submit       := DATA RECIPE SET TO FILE ARGS
takes_scores       := ARGS
takes_kernel       := DATA RECIPE SET ARGS
takes_kernel-check := DATA RECIPE SET ARGS
takes_push         := DATA RECIPE SET ARGS
takes_report       := DATA RECIPE SET ARGS
takes_figures      := DATA RECIPE SET ARGS
takes_compare      := RUNS DATA ARGS
takes_view         := IMAGE DATA RECIPE SET ARGS
takes_tables       := DATA ARGS
takes_recipes      := RECIPE SET ARGS
takes_bench        := ARGS
takes_bench-gpu    :=
takes_test         := ARGS
takes_test-fast    := ARGS
takes_coverage     := ARGS
takes_help         :=
takes_lint         :=
takes_docs         :=
takes_clean        :=

# A spinning OpenMP thread takes the core that another one needs.
export OMP_WAIT_POLICY ?= PASSIVE

PYTHON ?= python3
BIN    := .venv/bin
KIT    := $(BIN)/python -m kit
REPRODUCE := $(BIN)/python -m reproduce

# The rest of this part refuses what would be dropped in silence: a verb or a variable that nothing takes, and a
# variable without a value, which is what an unset $FILE of the shell gives. Only the command line counts: of the
# environment PYTHON and OMP_WAIT_POLICY are used, and a verb's variable that is set there is warned about.
ANYWHERE := PYTHON KIT REPRODUCE OMP_WAIT_POLICY
MAY_BE_EMPTY := SET ARGS
VERBS    := $(patsubst takes_%,%,$(filter takes_%,$(.VARIABLES)))
ASKED    := $(or $(filter-out .venv/%,$(MAKECMDGOALS)),help)
GIVEN    := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
TAKEN    := $(sort $(foreach verb,$(ASKED),$(takes_$(verb))))

# $(call nearest,WORD,KNOWN): "; did you mean …?" where a known word is near.
nearest  = $(shell $(PYTHON) -c 'import difflib, sys; word, *known = sys.argv[1:]; \
           near = {k.lower(): k for k in known}; best = difflib.get_close_matches(word.lower(), near, 1); \
           print("".join("; did you mean " + near[b] + "?" for b in best))' '$1' $2 2>/dev/null)
$(foreach verb,$(filter-out $(VERBS),$(ASKED)),\
  $(error there is no verb $(verb)$(call nearest,$(verb),$(VERBS)) (`make help` lists them)))
$(foreach name,$(filter-out $(TAKEN) $(ANYWHERE),$(GIVEN)),\
  $(error make $(ASKED) takes no $(name)$(call nearest,$(name),$(TAKEN)) ($(if $(TAKEN),it takes $(TAKEN),it takes none))))
$(foreach name,$(filter-out $(MAY_BE_EMPTY),$(GIVEN)),\
  $(if $(strip $($(name))),,$(error $(name)= is given without a value: give one, or leave it out)))
$(foreach name,$(TAKEN),$(if $(filter environment,$(firstword $(origin $(name)))),\
  $(warning $(name) of the environment is ignored: give it after `make $(ASKED)`)))

# $(call option,NAME,--name): the option with the variable's value as one word, where it is given.
quoted = '$(subst ','\'',$1)'
option = $(if $(filter $1,$(GIVEN)),$2 $(call quoted,$($1)))
DATA_   = $(call option,DATA,--data)
RECIPE_ = $(call option,RECIPE,--recipe) $(if $(SET),$(call option,SET,--set))
ARGS_   = $(if $(filter ARGS,$(GIVEN)),$(ARGS))

.PHONY: $(VERBS)
.NOTPARALLEL:

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

demo download scores: .venv/ready
	@$(KIT) $@ $(ARGS_)

doctor: .venv/ready
	@$(KIT) doctor

check: .venv/ready
	@$(KIT) check $(call option,DATA,) $(ARGS_)

import: .venv/ready
	@$(KIT) import $(call option,DATA,) $(call option,OUT,--out) $(ARGS_)

stats: .venv/ready
	@$(KIT) stats $(DATA_) $(ARGS_)

folds: .venv/ready
	@$(KIT) folds $(DATA_) $(RECIPE_) $(call option,FOLDS,--folds) $(ARGS_)

train: .venv/ready
	@$(KIT) train $(DATA_) $(RECIPE_) $(call option,FOLD,--fold) $(ARGS_)

thresholds predict export report: .venv/ready
	@$(KIT) $@ $(DATA_) $(RECIPE_) $(ARGS_)

# The paper's tables, figures and trainings are no part of the package: they go on from a clone alone.
tables: .venv/ready
	@$(REPRODUCE) tables $(DATA_) $(ARGS_)

figures: .venv/ready
	@$(REPRODUCE) figures $(DATA_) $(RECIPE_) $(ARGS_)

experiments study claims: .venv/ready
	@$(REPRODUCE) $@ $(DATA_) $(if $(SET),$(call option,SET,--set))

compare: .venv/ready
	@$(KIT) compare $(RUNS) $(DATA_) $(ARGS_)

view: .venv/ready
	@$(KIT) view $(call option,IMAGE,) $(DATA_) $(RECIPE_) $(ARGS_)

validate: .venv/ready
	@$(KIT) validate $(call option,FILE,) $(DATA_) $(ARGS_)

submit: .venv/ready
	@$(KIT) submit $(DATA_) $(RECIPE_) $(call option,TO,--to) $(call option,FILE,--file) $(ARGS_)

recipes: .venv/ready
	@$(KIT) recipes $(call option,RECIPE,) $(if $(SET),$(call option,SET,--set)) $(ARGS_)

kernel: .venv/ready
	@$(KIT) kernel build $(DATA_) $(RECIPE_) $(ARGS_)

# Beside `kernel`, in one call, ARGS are its alone.
BESIDE_KERNEL := $(filter kernel,$(MAKECMDGOALS))

kernel-check: .venv/ready
	@$(KIT) kernel check $(DATA_) $(RECIPE_) $(if $(BESIDE_KERNEL),,$(ARGS_))

push: .venv/ready
	@$(KIT) kernel push $(DATA_) $(RECIPE_) $(if $(BESIDE_KERNEL),,$(ARGS_))

bench: .venv/dev
	@$(BIN)/python -m tests.bench $(ARGS_)

bench-gpu: .venv/dev
	@$(BIN)/python -m tests.bench.gpu

# A worker that dies ends the run, which names its test: a new one in its place waits for ever at times.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --max-worker-restart 0

test: .venv/dev
	@$(PYTEST) $(ARGS_)

test-fast: .venv/dev
	@$(PYTEST) -m "not slow" $(ARGS_)

coverage: .venv/dev
	@$(PYTEST) --cov --cov-report term:skip-covered $(ARGS_)

docs: .venv/dev
	@$(BIN)/python tests/support/reference.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo build/site/index.html

lint: .venv/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# The drawn demo and what was made of it; a data set of somebody's own, be it called demo too, is left alone.
clean:
	@if grep -qs 'drawn, of nobody' data/demo/phantom.json; then rm -rf data/cache/demo runs/demo data/demo; fi
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
