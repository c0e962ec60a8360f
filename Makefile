# All commands of the project. `make` lists them; CI uses only these.

PYTHON ?= python3

# The stack's parameters for `make deploy`: PARAMETERS="LogLevel=DEBUG BatchSize=50".
PARAMETERS ?=

VENV := .venv/bin
SAM := .tools/sam/bin/sam
SOURCES := handler local ops tools tests bench

export SAM_CLI_TELEMETRY := 0
# Containers often set it. Without bytecode each start of a tool compiles all of its libraries.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run local invoke bench test check format lint types imports template collect tests \
        chaos walk upgrade fuzz fmt docs audit \
        build deploy lock clean build-ForwarderFunction build-IngressFunction \
        build-StreamFunction build-WalkerFunction
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

# --- on this machine ------------------------------------------------------------------------------

run: tools ## send the sample events through the whole stack here, and show the results; EVENT=events/join.json for one
	@$(VENV)/python -m local.run $(EVENT)

local: tools ## keep the whole stack up here until Ctrl-C
	@$(VENV)/python -m local.serve

invoke: tools ## invoke the function here with an event file: EVENT=events/join.json
	@$(VENV)/python -m local.invoke $(EVENT)

bench: tools .tools/bench/.done ## compare the function with handlers that people would write instead; QUICK=1 for small sizes
	@$(VENV)/python -m bench $(if $(QUICK),--quick)

# --- checks ---------------------------------------------------------------------------------------

# The short ones side by side, while the tools for the tests are installed. Each prints its output
# in one piece, where make can: macOS's cannot.
IN_ONE_PIECE := $(if $(filter output-sync,$(.FEATURES)),--output-sync)

test: .venv/.done ## everything that CI checks
	@$(MAKE) --no-print-directory --jobs $(IN_ONE_PIECE) format lint types imports template collect tools
	@$(MAKE) --no-print-directory tests

check: test ## the same as test

format: .venv/.done ## check the formatting
	$(VENV)/ruff format --check .

lint: .venv/.done ## check the code with every rule
	$(VENV)/ruff check .

types: .venv/.done ## check the types, strictly
	$(VENV)/mypy $(SOURCES)

imports: .venv/.done ## check that imports run downward
	$(VENV)/lint-imports

template: .venv/.done .tools/sam/.done ## check the stack's template
	$(VENV)/cfn-lint --include-checks I --template template.yaml
	$(SAM) validate --region us-east-1

# Then the workers of `make tests` find everything compiled. Each would compile it for itself.
collect: .venv/.done ## import all tests
	$(VENV)/pytest --collect-only --quiet --quiet

# Two workers more than processors: three have a stack each to test, for which they mostly wait.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)

tests: tools ## run the tests, with coverage
	$(VENV)/pytest --numprocesses $(WORKERS) --cov

chaos: tools ## send random changes to a stack while faults are injected, and check the results; SEEDS="1 2" for some
	$(VENV)/python -m tests.chaos $(SEEDS)

walk: tools ## walk over 20,000 people here, beside fresh changes and killed three times
	@$(VENV)/python -m tests.chaos.walk

upgrade: tools ## upgrade a deployed stack and roll it back while messages flow: FROM=the version deployed, as `ops status` shows it
	$(VENV)/python -m tests.upgrade $(FROM)

# libFuzzer prints its seed; FUZZ_FLAGS=-seed=1 sets it. A body that causes a failure is written to
# .fuzz. Run it again with `PYTHONPATH=. .tools/fuzz/bin/python -m tests.fuzz.fuzz_bodies FILE`.
FUZZ_SECONDS ?= 60
FUZZ_FLAGS ?=

fuzz: tools .tools/fuzz/.done ## fuzz the function from record to outcome: FUZZ_SECONDS=60 of bytes, then structures
	@mkdir -p .fuzz
	PYTHONPATH=. .tools/fuzz/bin/python -m tests.fuzz.fuzz_bodies .fuzz/corpus \
	  -max_total_time=$(FUZZ_SECONDS) -max_len=20000 -artifact_prefix=.fuzz/ -print_final_stats=1 $(FUZZ_FLAGS)
	HYPOTHESIS_PROFILE=deep $(VENV)/pytest --numprocesses auto -k test_any tests/fuzz/test_bad_input.py

fmt: .venv/.done ## format the code, and fix what can be fixed
	$(VENV)/ruff check --fix-only .
	$(VENV)/ruff format .

docs: .venv/.done ## write the tables in docs/ that come from the template and the code
	$(VENV)/python -m tools.docs

# AUDIT_FLAGS=--strict fails if the package index has no vulnerability data for a dependency.
# Bandit's B608 reports the PartiQL statements as SQL built from values. They contain only the name
# of the table, a setting; every value is a parameter.
audit: .venv/.done .tools/audit/.done ## scan template, code and dependencies for known vulnerabilities
	.tools/audit/bin/checkov --config-file .checkov.yaml
	.tools/audit/bin/bandit --quiet --severity-level medium --skip B608 --recursive handler local ops tools
	.tools/audit/bin/pip-audit $(AUDIT_FLAGS) --disable-pip --no-deps --requirement requirements.txt

# --- to AWS ---------------------------------------------------------------------------------------

build: .venv/.done .tools/sam/.done ## build the functions' package, which runs on every runtime and architecture
	PYTHON=$(CURDIR)/$(VENV)/python $(SAM) build
	$(VENV)/python -m tools.version .aws-sam/build/template.yaml

deploy: build ## build and deploy the stack; PARAMETERS="LogLevel=DEBUG" for its parameters
	$(SAM) deploy $(if $(PARAMETERS),--parameter-overrides $(PARAMETERS))

# `sam build` calls this. Each function is the whole package: only their handlers differ.
build-ForwarderFunction build-IngressFunction build-StreamFunction build-WalkerFunction:
	@$(PYTHON) -m tools.package "$(ARTIFACTS_DIR)"

# --- environments ---------------------------------------------------------------------------------

# Each tool that pins its own libraries has an environment of its own. It has no pip, as that takes
# seconds to set up. uv installs in a tenth of the time. If uv fails, the pip of .venv installs: its
# settings may name another mirror.
define INSTALL
	@echo "Installing into $(1): $(2)"
	@$(VENV)/uv pip install --quiet --python $(1) $(2) || \
	  $(VENV)/python -m pip --python $(1)/bin/python install --quiet --disable-pip-version-check $(2)
endef

.PHONY: tools
tools: .venv/.done .tools/ministack/.done .tools/sam/.done

# The project is installed too, for its command: .venv/bin/ops.
.venv/.done: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, and $(PYTHON) is " + sys.version.split()[0] + ": say make PYTHON=python3.13 ...")'
	@$(PYTHON) -m venv .venv
	@$(VENV)/python -m pip install --quiet --disable-pip-version-check --constraint $< uv
	$(call INSTALL,.venv,--requirement $<)
	$(call INSTALL,.venv,--no-deps --editable .)
	@touch $@

.tools/%/.done: requirements/%.txt | .venv/.done
	@$(VENV)/python -m venv --without-pip .tools/$*
	$(call INSTALL,.tools/$*,--requirement $<)
	@touch $@

LOCK = $(VENV)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate

lock: .venv/.done ## pin the newest versions that requirements/*.in allow
	$(LOCK) requirements/run.in --output-file requirements.txt
	$(LOCK) requirements/ops.in --output-file requirements/ops.txt
	$(LOCK) requirements/dev.in --output-file requirements-dev.txt
	$(LOCK) requirements/ministack.in --output-file requirements/ministack.txt
	$(LOCK) requirements/sam.in --output-file requirements/sam.txt
	$(LOCK) requirements/audit.in --output-file requirements/audit.txt
	$(LOCK) requirements/fuzz.in --output-file requirements/fuzz.txt
	$(LOCK) requirements/bench.in --output-file requirements/bench.txt

clean: ## remove everything that these commands created
	rm -rf .venv .tools .aws-sam .fuzz .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
