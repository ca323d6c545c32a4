# `make train` on a machine with Python and make alone: sets everything up in .venv, then trains, measures, films
# and exports a UAV policy. `make help` lists the rest. Another Python: `make train PYTHON=python3.12`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# Folders that are imported as robo_ppo.<name> (package-dir in pyproject.toml), and MuJoCo's compiled modules, which come
# without type stubs: the type checker sees both through links and stubs in $(VENV)/typing. There, too, the published
# stubs of Isaac Gym meet those in typings/.
MAPPED := conf export policies robots tasks
COMPILED := _batch _callbacks _constants _enums _errors _functions _render _rollout _specs _structs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help train test lint format docs clean

help:
	@echo 'make train   set up .venv and train, evaluate, film and export a UAV policy (task=uav_nav)'
	@echo 'make test    run the tests'
	@echo 'make lint    check style and types'
	@echo 'make docs    build the documentation into site/, and check its links'
	@echo 'make format  format the code and sort its imports'
	@echo 'make clean   remove everything that was built, .venv included; runs/ stays'

train: $(VENV)/.installed
	$(BIN)/python train.py task=uav_nav

test: $(VENV)/.installed-dev
	$(BIN)/python -m robo_ppo.export.vehicles.betaflight build
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev $(VENV)/.typing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix-only --select I .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev
	rm -rf $(VENV)/source
	mkdir -p $(VENV)/source/robo_ppo
	for part in robo_ppo/* $(MAPPED); do \
		ln -s ../../../$$part $(VENV)/source/robo_ppo/$${part##*/} || exit 1; done
	ln -s ../../export/onboard $(VENV)/source/robo_ppo_onboard
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo 'site/index.html'

clean:
	rm -rf $(VENV) site build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Made when there is none, or when the Python behind it has gone.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "robo-ppo needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
		echo 'Name another one: make $(MAKECMDGOALS) PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo 'This Python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.typing: $(VENV)/.installed-dev Makefile
	rm -rf $(VENV)/typing
	mkdir -p $(VENV)/typing/robo_ppo $(VENV)/typing/mujoco-stubs
	for folder in $(MAPPED); do ln -s ../../../$$folder $(VENV)/typing/robo_ppo/$$folder || exit 1; done
	ln -s ../../export/onboard $(VENV)/typing/robo_ppo_onboard
	for module in $(COMPILED); do \
		$(BIN)/pybind11-stubgen mujoco.$$module \
			--root-suffix=-stubs --output-dir $(VENV)/typing --ignore-all-errors || exit 1; done
	echo partial > $(VENV)/typing/mujoco-stubs/py.typed
	mkdir $(VENV)/typing/isaacgym
	ln -s ../../../typings/isaacgym/__init__.pyi ../../../typings/isaacgym/gymtorch.pyi $(VENV)/typing/isaacgym
	cp $(VENV)/lib/python*/site-packages/isaacgym-stubs/gymapi.pyi $(VENV)/typing/isaacgym
	@touch $@
