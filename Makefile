# The commands for development. The first one sets up .venv; later ones start at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Of pip's output: what is downloaded, and errors. Without pipefail a failed installation would not end make.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
SHOW := 2>&1 | awk '/(Downloading|Using cached) .* [MG]B\)/ { print "  " $$0; fflush() } /Installing collected/ { print "  installing ..."; fflush() } /^ERROR|error:/ { print; fflush() }'
# setuptools warns about editable installs, which are meant here.
TARGET = $(VENV)
PIP = PYTHONWARNINGS=ignore $(TARGET)/bin/python -m pip install --disable-pip-version-check --progress-bar off
INSTALL_EXTRAS ?= torch,opencv,bags,video,view
EXTRAS ?= torch,opencv,ros,bags,video,view,export,train,study,test,dev,docs
# PyTorch's CPU build (190 MB) where there is no NVIDIA GPU: PyPI's wheel brings CUDA (3 GB to download, 5.7 GB on disk), and is taken with
# `TORCH_INDEX=`, and where PyTorch's index does not answer. A Jetson needs NVIDIA's wheel (docs/quickstart.md).
TORCH ?= torch==2.13.0
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu)
TORCH_FROM := $(if $(TORCH_INDEX),--retries 1 --timeout 15 --index-url $(TORCH_INDEX))
INSTALL_TORCH = { $(PIP) $(TORCH_FROM) '$(TORCH)' $(SHOW) || { echo "  again, from PyPI"; $(PIP) '$(TORCH)' $(SHOW); }; }

.PHONY: help install demo test check bench docs site clean

help:
	@echo "make install fuse files, videos and bags without ROS: installs into the active virtual environment, else into .venv"
	@echo "make demo    fuse the built-in thermal + RGB rig through real ROS 2 processes; pictures and a bag in demo_out/"
	@echo "make test    the tests of a few minutes; make test ALL=1 runs all: also fuzz, documentation, packaging and soak"
	@echo "make check   lint, types, import rules, generated files"
	@echo "make bench   measure the stages, the network and the node; JSON and a chart in benchmarks/results/"
	@echo "make docs    generate config/fusion.yaml and docs/parameters.md from the configuration"
	@echo "make site    build the documentation as web pages in site/; warnings are errors"
	@echo "make clean   remove everything that these commands created, .venv included"

$(READY): setup.py Makefile
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed; this is " + sys.version) if sys.version_info < (3, 10) else None'
	@echo "Setting up $(VENV). It downloads about 500 MB with a CPU build of torch, 3 GB with a CUDA build (with an NVIDIA GPU), needs"
	@echo "2 or 7 GB on disk, and takes 3 to 10 minutes on a fast line. It is done once."
	@echo "[1/4] $(VENV)" && $(PYTHON) -m venv $(VENV)
	@echo "[2/4] pip" && $(PIP) --upgrade pip $(SHOW)
	@echo "[3/4] $(TORCH)"; $(INSTALL_TORCH)
	@echo "[4/4] aenet_ros and what it needs" && $(PIP) --editable '.[$(EXTRAS)]' $(SHOW)
	@touch $@

install: TARGET = $(or $(VIRTUAL_ENV),$(VENV))
install:
	@test -x $(TARGET)/bin/python || $(PYTHON) -m venv $(TARGET)
	@echo "[1/2] $(TORCH), unless there is one"; $(TARGET)/bin/python -c 'import torch' 2>/dev/null || $(INSTALL_TORCH)
	@echo "[2/2] aenet_ros and what it needs" && $(PIP) '.[$(INSTALL_EXTRAS)]' $(SHOW)
	@echo "installed: $(TARGET)/bin/aenet"

demo: $(READY)
	$(BIN)/aenet demo

test: $(READY)
	$(BIN)/python -m pytest $(if $(ALL),,-m 'not slow')

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
