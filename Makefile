# Every target makes what it needs; a second call installs nothing again.
#   make browser  the tests in a real browser (Chromium)
#   make demo     install without torch, draw pictures, train, predict
#   make test     the test suite        make slow    the tests that take minutes
#   make lint types docs                make bench   the benchmarks (needs peers)

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
# Processes that share the tests.
JOBS ?= 2

.PHONY: demo test slow browser lint format types docs bench peers clean

demo: $(VENV)/.train
	$(VENV)/bin/tellapart demo

test: $(VENV)/.train $(VENV)/.tests
	$(VENV)/bin/python -m pytest --numprocesses $(JOBS)

# Those on a cluster need Linux's namespaces, and start one of two nodes that nothing outside can reach.
slow: $(VENV)/.ray $(VENV)/.tests
	$(VENV)/bin/python -m pytest -m slow

# The pages that answer. The others measure how smoothly a page scrolls, so they run one by one.
ANSWERING := $(addprefix tests/browser/test_,web_export.py same_answers.py serve_page.py)

# Debian's Chromium, or the one that TELLAPART_CHROMIUM names.
browser: $(VENV)/.train $(VENV)/.tests $(VENV)/.browser $(VENV)/.node
	$(VENV)/bin/python -m pytest -m browser tests/browser $(ANSWERING:%=--ignore=%)
	$(VENV)/bin/python -m pytest -m browser --numprocesses $(JOBS) $(ANSWERING)

lint: $(VENV)/.lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.lint
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: $(VENV)/.train $(VENV)/.lint
	$(VENV)/bin/mypy

docs: $(VENV)/.train $(VENV)/.docs
	$(VENV)/bin/python docs/generate_cli_page.py --check
	$(VENV)/bin/mkdocs build --strict --quiet --site-dir site

bench: $(VENV)/.finetune $(VENV)/.openvino $(VENV)/.ray peers
	$(VENV)/bin/python benchmarks/embed.py
	$(VENV)/bin/python benchmarks/embed.py --runtime openvino
	$(VENV)/bin/python benchmarks/memory.py --at-most 100
	$(VENV)/bin/python benchmarks/memory.py --finetune --at-most 4000
	$(VENV)/bin/python benchmarks/accuracy.py
	$(VENV)/bin/python benchmarks/gather.py
	$(VENV)/bin/python benchmarks/vs_fastai.py --pictures 950
	$(VENV)/bin/python benchmarks/lr_find.py --at-most-factor 3
	$(VENV)/bin/python benchmarks/trust.py
	$(VENV)/bin/python benchmarks/int8.py --library --at-least 1.5
	$(VENV)/bin/python benchmarks/serve.py
	$(VENV)/bin/python benchmarks/scale.py --at-least 1.7 --at-most-overhead 0.25
	$(VENV)/bin/python benchmarks/streamed_probe.py --rows 10000 100000 --at-most 1.3
	$(VENV)/bin/python benchmarks/neighbour_index.py
	$(VENV)/bin/python benchmarks/scale_predict.py --rows 100000
	$(VENV)/bin/python benchmarks/unit_costs.py --finetune

peers: $(PEERS)/.installed

clean:
	rm -rf $(VENV) $(PEERS) .make build dist site demo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip

$(VENV)/.train: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable '.[train]'
	touch $@

$(VENV)/.ray: pyproject.toml | $(VENV)/.train
	$(PIP) --editable '.[train,ray]'
	touch $@

$(VENV)/.openvino: pyproject.toml | $(VENV)/.train
	$(PIP) --editable '.[train,openvino]'
	touch $@

$(VENV)/.finetune: pyproject.toml | $(VENV)/.train
	$(PIP) --editable '.[finetune]'
	touch $@

$(VENV)/.tests $(VENV)/.browser $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(PIP) --group $*
	touch $@

# ONNX Runtime for browsers, in the version that the exported page is made for; without npm those tests are skipped.
$(VENV)/.node: src/tellapart/ship/web/browser_runtime.py | $(VENV)/.train
	! command -v npm >/dev/null || npm install --silent --no-fund --no-audit --ignore-scripts --prefix $(VENV)/node \
		onnxruntime-web@$$($(VENV)/bin/python -c 'from tellapart.ship.web.browser_runtime import VERSION; print(VERSION)')
	touch $@

# torch, torchvision and timm are asked for together and unpinned, so that pip finds a matching set.
$(PEERS)/.installed:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check \
		torch torchvision timm fastai scikit-learn img2dataset
	touch $@
