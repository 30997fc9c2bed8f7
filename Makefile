# make demo        a real dataset from real video, a model trained on it, a video that it made
# make demo-data   the dataset and a picture of it alone, in a minute and a half
# make test-fast   the tests of everything that are quick: three and a half minutes on two processors
# make test        every check and the whole test suite: twenty-two minutes on two processors
# make test JOBS=6   more test files side by side
# make lock        requirements/: every package that a user installs, with the hashes of its files
# make sbom        the same packages as CycloneDX, bill-of-materials.json; and what is known against them
# All install what they need into .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
DEMO ?= demo
JOBS ?= 3
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
EXTRAS := s3 gcs aws hf shots tracking sound scale engines train eight-bit audit calibrate faces demo
LOCK = $(BIN)/uv pip compile --quiet pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--constraints constraints.txt --no-header --no-annotate --no-emit-index-url --no-emit-find-links
FAST := not (ray or faults or deepspeed or slow or browser)
VIDEOS ?=
REFERENCE ?= $(DEMO)/reference.jpg
PROMPT ?= A medium shot of a person with blond hair. The person is moving to the right across the picture.

.PHONY: demo demo-data demo-train test suite test-fast lint install lock sbom clean

demo: demo-data demo-train

demo-data: .venv/demo
	@test -n "$(VIDEOS)" || $(BIN)/python jobs/demo_videos.py $(DEMO)/videos --reference $(DEMO)/reference.jpg
	$(BIN)/python jobs/curate.py --input $(or $(VIDEOS),$(DEMO)/videos/videos.csv) --output $(DEMO)/dataset
	$(BIN)/python jobs/contact_sheet.py $(DEMO)/dataset $(DEMO)/contact_sheet.png

demo-train: .venv/train
	$(BIN)/python trainer/train.py --preset tiny --data $(DEMO)/dataset --output $(DEMO)/run
	$(BIN)/python trainer/export.py $(DEMO)/run $(DEMO)/model --ema --force
	$(BIN)/python trainer/generate.py --model $(DEMO)/model --reference $(REFERENCE) --prompt "$(PROMPT)" \
		--output $(DEMO)/video.mp4 --strip --force

# One process checks the types, for minutes: beside the tests, so that no processor waits for it.
test: .venv/all
	$(MAKE) --no-print-directory --jobs=2 lint suite

suite: .venv/all
	$(PYTEST)

test-fast: JOBS = 2
test-fast: .venv/all
	$(PYTEST) -m "$(FAST)"

lint: .venv/all
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

install: .venv/all

# Beside base.txt, an extra's file has what the extra adds.
lock: .venv/supply
	$(LOCK) -o requirements/base.txt
	for extra in $(EXTRAS); do \
		$(LOCK) --extra $$extra -o requirements/$$extra.txt \
			$$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' requirements/base.txt) || exit 1; \
	done

sbom: .venv/supply
	cat requirements/*.txt > .venv/locked.txt
	$(BIN)/cyclonedx-py requirements .venv/locked.txt --output-file bill-of-materials.json
	$(BIN)/pip-audit --disable-pip --require-hashes --requirement .venv/locked.txt

# Curating needs no torch: about a minute instead of five.
.venv/demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo]"
	touch $@

.venv/train: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo,train]"
	touch $@ .venv/demo

.venv/all: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all]"
	touch $@ .venv/demo .venv/train

.venv/supply: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv cyclonedx-bom pip-audit
	touch $@

clean:
	rm -rf .venv $(DEMO)
