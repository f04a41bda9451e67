# `make demo` and `make test` set everything up first, on a machine that has Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast properties test-oldest bench gpu gpu-rehearsal lint types format constraints clean

demo: .venv/.installed
	$(BIN)/python launch/demo.py

test: .venv/.installed lint types
	$(BIN)/python -m pytest --numprocesses 2

# The inner loop: unit tests, under 90 seconds.
test-fast: .venv/.installed
	$(BIN)/python -m pytest --numprocesses 2 -m "not slow" tests/unit tests/test_*.py

# Properties with a thousand new examples each, in about half an hour: what they find becomes a test.
properties: .venv/.installed
	$(BIN)/python -m pytest --numprocesses 2 --timeout 1200 --hypothesis-profile search -m "not slow" tests/unit

# The trainer with the oldest PyTorch and transformers that pyproject.toml promises; PyTorch's CUDA build, some GB.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	grep -Ev '^(torch|transformers|triton)==' constraints.txt > .venv-oldest/constraints.txt
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check --constraint .venv-oldest/constraints.txt \
		--editable '.[test]' torch==2.11.0 transformers==5.17.0
	.venv-oldest/bin/python -m pytest --numprocesses 2 tests/unit/trainer tests/integration/trainer tests/integration/launch

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed
	$(BIN)/mypy pipeline tokenizer trainer launch

# The figures of the README, in about an hour on 2 cores. The last three want real pages and sentences.
bench: .venv/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python tests/benchmarks/bench_links.py
	$(BIN)/python tests/benchmarks/bench_crawl.py
	$(BIN)/python tests/benchmarks/bench_memory.py
	$(BIN)/python tests/benchmarks/bench_archive.py --rows 20_000_000 --files 60 --links 200_000
	$(BIN)/python tests/benchmarks/bench_early.py
	$(BIN)/python tests/benchmarks/bench_duplicates.py
	$(BIN)/python tests/benchmarks/bench_exactness.py
	$(BIN)/python tests/benchmarks/bench_overlap.py
	$(BIN)/python tests/benchmarks/bench_boilerplate.py
	$(BIN)/python tests/benchmarks/bench_compare.py
	$(BIN)/python tests/benchmarks/bench_vocabulary.py
	$(BIN)/python tests/benchmarks/bench_export.py
	$(BIN)/python tests/benchmarks/bench_train.py
	$(BIN)/python tests/benchmarks/bench_muon.py
	$(BIN)/python tests/benchmarks/bench_checkpoint.py
	$(BIN)/python tests/benchmarks/bench_batches.py
	$(BIN)/python tests/benchmarks/bench_generate.py
	-$(BIN)/python tests/benchmarks/bench_encode.py
	-$(BIN)/python tests/benchmarks/bench_extract.py
	-$(BIN)/python tests/benchmarks/bench_patches.py
	-$(BIN)/python tests/benchmarks/cross_validate_extract.py
	-$(BIN)/python tests/benchmarks/bench_language.py
	-$(BIN)/python tests/benchmarks/bench_foreign.py

# What one NVIDIA GPU shows, in parts of under five minutes: results and tables in out/gpu.
gpu: .venv/.installed
	$(BIN)/python tests/benchmarks/bench_gpu.py

# The same at toy size on a CPU.
gpu-rehearsal: .venv/.installed
	$(BIN)/python tests/benchmarks/bench_gpu.py --rehearsal --output out/gpu-rehearsal

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Outbound needs Python 3.11 or newer"'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

# Pin what is installed now. The build of torch (CPU, CUDA) is the machine's affair, its version is not.
constraints: .venv/.installed
	$(BIN)/pip freeze --exclude-editable | sed -E 's/^torch==([0-9.]+).*/torch==\1/' | grep -Ev '^(nvidia|triton|cuda)' > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf .venv .venv-oldest out .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
