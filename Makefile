# Every target makes the environment first, once: it is made again only when the dependencies change.
.PHONY: install demo test test-all check format docs site clean
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

install: $(READY)

demo: $(READY)
	$(BIN)/landshift demo

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# The slow tests too: whole comparisons, several processes, kills.
test-all: $(READY)
	$(BIN)/python -m pytest -m "slow or not slow"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A page about each method, with what it was held against just now, one about the commands, and the figure of the packages.
docs: $(READY)
	$(BIN)/python -m pytest -q tests/methods --references docs/methods/references.json
	$(BIN)/landshift methods --document docs/methods
	$(BIN)/python -m benchmark.cli.reference > docs/cli.md
	$(BIN)/python docs/draw_packages.py

# The documentation as web pages, with the docstrings of the Python interface; a link that leads nowhere is an error.
# Not --quiet: with it --strict does not see the warnings.
site: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# uv installs in a fraction of pip's time; compiling now keeps the first command from doing it. The compatible mode of
# editable installations is found before the clone's own folder, which is called landshift, too.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "landshift needs Python 3.11 or newer; name one with: make PYTHON=python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --config-settings editable_mode=compat --editable ".[dev,pretrained]"
	touch $@
	@echo "landshift is installed in .venv; next: source $(BIN)/activate"

clean:
	rm -rf .venv .landshift build dist site *.egg-info
