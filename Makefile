# The only commands a newcomer needs. Each makes .venv by itself; the second time that is quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The CPU build suffices here. On a robot torch is installed for its own GPU (README).
TORCH ?= torch==2.13.0

.PHONY: help demo test check bench docs site clean

help:
	@echo "make demo    fuse the built-in thermal + RGB rig through real ROS 2 processes; pictures and a bag in demo_out/"
	@echo "make test    all tests"
	@echo "make check   lint, types, import rules, generated files"
	@echo "make bench   stage times, the network beside a yardstick, the node beside a passthrough node, as JSON in benchmarks/results/"
	@echo "make docs    write the generated files again: config/fusion.yaml, docs/parameters.md"
	@echo "make site    the documentation as web pages in site/; warnings are errors"
	@echo "make clean   remove what these commands made"

$(READY): setup.py Makefile
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed; this is " + sys.version) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable '.[torch,opencv,ros,bags,view,export,train,study,test,dev,docs]'
	@touch $@

demo: $(READY)
	$(BIN)/aenet demo

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q test/test_import_rules.py test/test_config_files.py

bench: $(READY)
	$(BIN)/aenet bench --node -o benchmarks/results/bench-$$(date -u +%Y%m%d).json --plot benchmarks/results/bench-$$(date -u +%Y%m%d).png

docs: $(READY)
	$(BIN)/python -m aenet_ros.config.docs

site: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs site
	@echo "open site/index.html"

clean:
	rm -rf $(VENV) build install log demo_out site .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
