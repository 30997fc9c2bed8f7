# make demo   a real dataset from real video, and a picture of it
# make test   every check and the whole test suite
# Both install what they need into .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
DEMO ?= demo
VIDEOS ?=

.PHONY: demo test lint install clean

demo: .venv/demo
	@test -n "$(VIDEOS)" || $(BIN)/python jobs/demo_videos.py $(DEMO)/videos
	$(BIN)/python jobs/curate.py --input $(or $(VIDEOS),$(DEMO)/videos/videos.csv) --output $(DEMO)/dataset
	$(BIN)/python jobs/contact_sheet.py $(DEMO)/dataset $(DEMO)/contact_sheet.png

test: lint
	$(BIN)/python -m pytest

lint: .venv/all
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

install: .venv/all

# The demo needs neither torch nor the production engines: about a minute instead of five.
.venv/demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo]"
	touch $@

.venv/all: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all]"
	touch $@ .venv/demo

clean:
	rm -rf .venv $(DEMO)
