# make play    sound, on a fresh machine: sets itself up in .venv first (no torch), then runs `samplernn play`
# make test    sets up the rest (torch for the trainer, the checkers), then ruff, mypy and pytest
# make soak    the long counts and durations, and new random examples for the parsers
# make bench   speed of every shipped network, and against samplernn-pytorch's generation step
#
# VENV=folder moves the environment, PYTHON=python3.12 chooses the interpreter, ARGS="..." is passed on:
#     make play ARGS="--osc 127.0.0.1:9100 patches/default.yaml"
# Written for GNU make 3.81, which is what macOS ships.

VENV ?= .venv
PYTHON ?=
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CONSTRAINED := -c constraints.txt
# A bare `torch` on Linux pulls several gigabytes of CUDA libraries that neither the trainer's tests nor a CPU
# training use; this version is known to install without them where a CPU build is offered.
TORCH := torch==2.13.0

.PHONY: play test soak bench lint types check setup-play setup-test clean

play: $(VENV)/.play-ready
	@$(BIN)/samplernn play $(ARGS)

test: $(VENV)/.test-ready lint types
	@bash tools/run-tests $(BIN)/python $(ARGS)

soak: $(VENV)/.test-ready $(VENV)/.clients-ready
	@$(BIN)/python -m pytest -m soak --timeout 3600 $(ARGS)
	@HYPOTHESIS_PROFILE=many $(BIN)/python -m pytest -m hypothesis --timeout 3600

bench: $(VENV)/.test-ready
	@$(BIN)/samplernn bench $(ARGS)

lint: $(VENV)/.test-ready
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(VENV)/.test-ready
	@$(BIN)/mypy

setup-play: $(VENV)/.play-ready
setup-test: $(VENV)/.test-ready

$(BIN)/python:
	@PYTHON="$(PYTHON)" bash tools/make-venv "$(VENV)"

$(VENV)/.play-ready: pyproject.toml constraints.txt | $(BIN)/python
	@bash tools/system-packages libportaudio2
	@echo "installing samplernn-live into $(VENV) (about a minute, once) ..."
	@$(PIP) install $(CONSTRAINED) -e .
	@touch $@

$(VENV)/.test-ready: pyproject.toml constraints.txt | $(VENV)/.play-ready
	@bash tools/system-packages jackd2 chromium puredata-core
	@echo "installing what training and the tests need (a few minutes, once) ..."
	@$(PIP) install $(CONSTRAINED) "$(TORCH)" -e ".[train,dev]"
	@$(PIP) install $(CONSTRAINED) -e ".[cuda]" || echo "no Triton for this system; the tests of the GPU's kernels skip"
	@$(PIP) install $(CONSTRAINED) -e ".[link]" || echo "no Ableton Link for this system; its tests skip"
	@touch $@

# OSCQuery clients by others, and emulators of processors with other instructions, only for the checks that they find us
# and that those compute alike; without them those skip.
$(VENV)/.clients-ready:
	@bash tools/system-packages bochs bochs-term qemu-user gcc-aarch64-linux-gnu
	@bash tools/system-packages nodejs npm
	@$(PIP) install $(CONSTRAINED) python-oscquery==0.4.0 || echo "no python-oscquery; its test skips"
	@npm install --silent --no-save --prefix $(VENV)/oscquery oscquery@1.1.1 || echo "no oscquery from npm; its test skips"
	@touch $@

clean:
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
