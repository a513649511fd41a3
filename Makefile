# Everything runs in a virtual environment of its own, which is made on the first call.
# PYTHON=... names the interpreter to make it with, VENV=... another folder for it, PORT=... the
# server's port, NB=... the notebooks to refresh.

VENV ?= .venv
PORT ?= 8000
PY = $(VENV)/bin/python
INSTALLED = $(VENV)/.installed

# Two tests at a time, each on one thread: results do not depend on how a sum is split.
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST = $(ONE_THREAD) $(PY) -m pytest -q -n 2 --dist loadfile
NBVAL = $(PYTEST) --nbval --nbval-current-env book

.PHONY: help serve book test lab refresh bench bench-training exhaustive lint clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1 \t/p' $(MAKEFILE_LIST) | expand -t 18

$(INSTALLED): pyproject.toml constraints.txt
	@PYTHON='$(PYTHON)' sh tools/setup.sh $(VENV)

serve: book  ## build the book and serve it on http://localhost:8000
	@echo "The book is at http://localhost:$(PORT) (Ctrl-C stops)"
	@$(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT) \
		|| { echo "Is port $(PORT) taken? Try: make serve PORT=8001" >&2; exit 1; }

book: $(INSTALLED)  ## build the book into _build/html; any warning is an error
	$(VENV)/bin/jupyter-book build . -W -n --keep-going

test: book  ## run every test: notebooks on both backends, functions, claims, site
	@echo "1/3 The notebooks on NumPy, against their stored outputs"
	COMPANION_BACKEND=numpy $(NBVAL)
	@echo "2/3 The notebooks and the claims on torch, against the same outputs"
	COMPANION_BACKEND=torch $(NBVAL)
	COMPANION_BACKEND=torch $(PYTEST) tests/claims
	@echo "3/3 The functions, the claims, the notebooks under a jitter, the site"
	$(PYTEST)

lab: $(INSTALLED)  ## open the notebooks in JupyterLab
	$(PY) -m jupyterlab --notebook-dir=book $$([ "$$(id -u)" -ne 0 ] || echo --allow-root)

refresh: $(INSTALLED)  ## run the notebooks and the claims again and store what they print
	$(ONE_THREAD) $(PY) tools/refresh.py $(NB)
	$(ONE_THREAD) $(PY) -m pytest -q tests/claims --update-ledger

bench: $(INSTALLED)  ## time activations, trainings, optimizers and losses against torch (minutes)
	$(ONE_THREAD) $(PY) -m benchmarks

bench-training: $(INSTALLED)  ## time trainings against torch
	$(ONE_THREAD) $(PY) -m benchmarks.training

exhaustive: $(INSTALLED)  ## check all 2^32 float32 inputs of the main activations (an hour)
	$(ONE_THREAD) $(PY) -m benchmarks.exhaustive

lint: $(INSTALLED)  ## check the style and the types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

clean:  ## delete what was built; the virtual environment stays
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis
