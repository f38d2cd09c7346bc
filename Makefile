# Two commands do everything: `make run` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run test long prove lint ui bench clean

help:
	@echo "make run    set up, retrain on the embedded data, print leaderboard and forecast"
	@echo "make test   set up, run the tests"
	@echo "make long   the tests that make test leaves out because they take long: retrainings that are killed, outages, schedules, every case"
	@echo "make prove  all tests, and those that need more than Python: a browser, a compiler, the shared files; installs Ray and Triton"
	@echo "make lint   ruff and mypy"
	@echo "make ui     the MLflow and Prefect servers, on this machine only"
	@echo "make bench  how long things take: the main job, taking files in, texts, training and forecasts beside torch, Keras, JAX, darts, neuralforecast and ONNX Runtime"

.venv/installed: pyproject.toml setup.py constraints.txt $(wildcard src/longshort/models/compiled/*.cpp src/longshort/models/compiled/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "longshort needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m longshort.databases
	@touch $@

run: .venv/installed
	@$(BIN)/longshort run

test: .venv/installed
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not long"

long: .venv/installed
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m long

.venv/proving: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray,triton]'
	@touch $@

prove: .venv/installed .venv/proving
	LONGSHORT_PROVE=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: .venv/installed
	$(BIN)/longshort ui

bench: .venv/installed
	$(BIN)/python benchmarks/main_job.py
	$(BIN)/python benchmarks/ingestion.py
	$(BIN)/python benchmarks/text.py
	$(BIN)/python benchmarks/run.py train-stock
	$(BIN)/python benchmarks/run.py train-fleet
	$(BIN)/python benchmarks/run.py train-variants
	$(BIN)/python benchmarks/run.py train-stock-wall --times 1
	$(BIN)/python benchmarks/run.py train-ptb
	$(BIN)/python benchmarks/run.py train-story
	$(BIN)/python benchmarks/run.py windows
	$(BIN)/python benchmarks/run.py forecast

clean:
	rm -rf .venv .state .pytest_cache .mypy_cache .ruff_cache
