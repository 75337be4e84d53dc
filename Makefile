# make run      start the studio at http://127.0.0.1:7860
# make test     every test (the browser's too, where chromium is installed)
# make check    lint, format, types, architecture and the fast tests
# make format   rewrite the code in the project's format
# make train-cpu  train the little world's parts on this machine, in the order in which they build on each other
# TORCH_INDEX=URL  with any of them, at the first call: take torch from this index, such as PyTorch's own one of
#                  wheels without CUDA (its "Get started" page names it; 2 GB less to download)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: run test check format train-cpu
.DELETE_ON_ERROR:

run: $(VENV)/.installed
	$(BIN)/python -m studio run

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not e2e"

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train-cpu: $(VENV)/.installed
	for stage in perception vae clip upscale unet heads ddpm vae-lab noisy-classifier tdq; do $(BIN)/python -m studio train $$stage --preset cpu || exit 1; done
	for kind in canny depth pose; do $(BIN)/python -m studio train controlnet --kind $$kind --preset cpu || exit 1; done
	$(BIN)/python -m studio train ip-adapter --preset cpu
	for concept in blueprint pop_art rocket momo; do $(BIN)/python -m studio train lora --concept $$concept --preset cpu || exit 1; done
	$(BIN)/python -m studio train few-step --preset cpu

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "The studio needs Python 3.11 or newer; found: $(PYTHON). Name another one: make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "No virtual environment could be made. On Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: requirements.txt | $(BIN)/python
ifdef TORCH_INDEX
	$(PIP) install --index-url $(TORCH_INDEX) $(shell grep -E '^torch(vision)?==' requirements.txt)
endif
	$(PIP) install -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(PIP) install -r requirements-dev.txt
	@touch $@
