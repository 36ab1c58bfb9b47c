# Every target makes what it needs: a virtual environment, locked dependencies, then the work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of tests; one more than the two cores that they are made for, because many wait for a time-out or a lease.
WORKERS ?= 3

.PHONY: demo test test-all check bench lock kafka clean

demo: $(VENV)/runtime.stamp
	$(BIN)/headrace demo

# Every promise, each at both ends of stream and registry.
test: $(VENV)/dev.stamp kafka
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not full"

# What lies between the ends, too.
test-all: $(VENV)/dev.stamp kafka
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pylint service
	$(BIN)/python -m pytest -q tests/migrations tests/integration/test_house_rules.py \
	  tests/integration/test_names_and_folders.py

bench: $(VENV)/dev.stamp kafka
	$(BIN)/python -m benchmarks

# The broker's jars, by their coordinates, where Maven is there to fetch them.
kafka: .cache/kafka/fetched
.cache/kafka/fetched: tests/services/pom.xml
	@mkdir -p .cache/kafka
	@if command -v mvn >/dev/null; then \
	  mvn -q -B -f tests/services/pom.xml dependency:copy-dependencies \
	    -DoutputDirectory=$(CURDIR)/.cache/kafka/libs -DincludeScope=runtime && touch $@; \
	else echo "mvn is not there: tests that need a Kafka broker will say so"; fi

lock: $(VENV)/dev.stamp
	$(BIN)/uv pip compile --generate-hashes --no-header --no-annotate --no-emit-index-url --universal \
	  --python-version 3.11 pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile --generate-hashes --no-header --no-annotate --no-emit-index-url --universal \
	  --python-version 3.11 --all-extras pyproject.toml -o requirements/image.txt
	$(BIN)/uv pip compile --generate-hashes --no-header --no-annotate --no-emit-index-url --universal \
	  --python-version 3.11 --all-extras --group dev pyproject.toml -o requirements/dev.txt

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.stamp: $(VENV)/bin/python requirements/runtime.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: $(VENV)/runtime.stamp requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

clean:
	rm -rf $(VENV) .cache build dist
