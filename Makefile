# SPDX-License-Identifier: GPL-2.0-or-later
# make run    show a real migration, record by record
# make test   everything: style, types, architecture, tests (installs what they need)
# make bench  speed next to other tools, written into docs/performance.md (ten minutes, 10 GiB in bench/data);
#             make bench BENCH=--quick only prints, in a minute; BENCH="--docs --size 256M 1G 8G" adds 8 GiB
# make test-wireshark   the plugin in Wireshark 4.4 and 4.6, in Debian roots made for it (root only, 1 GB in ROOTS)
# make bench-wireshark  what the plugin costs tshark (minutes; 8 GiB in bench/data)
# make fuzz   every fuzz target for SECONDS (60), one after the other; installs atheris (docs/fuzzing.md)
# make bench-live       up to which bit rate a live capture loses nothing (root only, ten minutes)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CAPTURE ?= captures/hvm-colo-xl.pcap.gz
ROOTS ?= /var/tmp/xendissect-roots
BENCH ?= --docs
SECONDS ?= 60
TARGETS ?= frame halfflow framer codec files reader kernels filters

.PHONY: run test lua lint check tools bench captures clean fuzz test-wireshark bench-wireshark bench-live

run: $(VENV)/.installed
	$(BIN)/xendissect read $(CAPTURE)

test: tools $(VENV)/.dev lint check

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto

tools:
	.ci/tools

bench: $(VENV)/.bench
	$(BIN)/python bench/read.py $(BENCH)

test-wireshark: $(VENV)/.dev tools
	tests/wireshark/roots.sh $(ROOTS) trixie sid
	XENDISSECT_TSHARKS=$(ROOTS)/trixie:$(ROOTS)/sid $(BIN)/python -m pytest -n auto \
		tests/wireshark/test_roots.py tests/wireshark/test_tshark.py tests/wireshark/test_extcap_answers.py tests/pyshark_tools/test_roots.py \
		tests/cross/test_lua.py tests/cross/test_lua_fuzz.py tests/cross/test_luacheck.py

bench-wireshark: $(VENV)/.dev
	$(BIN)/python bench/wireshark.py

bench-live: $(VENV)/.dev
	$(BIN)/python bench/live.py

# A target that fails does not keep the others from their turn.
fuzz: $(VENV)/.fuzz
	@failed=; for target in $(TARGETS); do \
		echo "== $$target"; \
		nice -n 19 $(BIN)/python -m tests.fuzz.run $$target $(SECONDS) || failed="$$failed $$target"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed; see .fuzz/*/failed-*" >&2; exit 1; fi

lua: $(VENV)/.dev
	$(BIN)/xendissect lua -o lua/xenmig.lua
	$(BIN)/xendissect fields --markdown > docs/fields.md
	cp dissector/templates/profile/* lua/profile/

captures: $(VENV)/.dev
	$(BIN)/python captures/make.py
	$(BIN)/python captures/golden.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed ($(PYTHON) is older or missing); set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && rm -rf $(VENV) && \
		apt-get update -q >/dev/null && apt-get install -q -y python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); } || \
		{ echo "python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml dissector/wire/_forward.c dissector/recording/_blocks.c
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,pyshark]'
	@touch $@

# A tool that can not be had only leaves its row empty.
$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]' || echo "make bench goes on without" >&2
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,pyshark,fuzz]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz bench/data \
		dissector/wire/_forward*.so dissector/recording/_blocks*.so
