# Everything that must hold before a commit; PYTHON=... picks another interpreter
PYTHON ?= .venv/bin/python

.PHONY: checks lint types test slow format reference reference-small reference-long reference-ladder reference-beyond
checks: lint types test

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -n auto --dist worksteal

# what takes more than a minute
slow:
	$(PYTHON) -m pytest -m slow

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

# the published runs and their reports; runs that are there are kept
REFERENCE = --engine fast --precision fp32 --keep-weights none --results results/reference

reference:
	$(PYTHON) run_ablations.py --all --profile demo $(REFERENCE) --reports reports/reference

# five and a half hours of two cores; wants the real corpora (AWD_DATA_DIR, or they are downloaded)
reference-small:
	$(PYTHON) run_ablations.py --all --profile small --dataset ptb --seeds 5 $(REFERENCE) --no-report
	$(PYTHON) run_ablations.py --all --profile small --dataset wikitext-2 $(REFERENCE) --no-report
	$(PYTHON) run_ablations.py report --profile small --results results/reference --reports reports/reference

# five hours of two cores; wants the real corpora too, and a processor that multiplies bf16 in hardware
reference-long:
	$(PYTHON) run_ablations.py --all --profile long --dataset ptb --engine fast --precision bf16 --keep-weights none \
	  --results results/reference --no-report
	$(PYTHON) run_ablations.py report --profile long --results results/reference --reports reports/reference

# each effect at every published scale
reference-ladder:
	$(PYTHON) run_ablations.py ladder --results results/reference --reports reports/reference

# the suites beyond Table 5 at the demo's scale: some two hours of two cores; what `reference` has trained is kept
BEYOND = buildup pairs strengths widths texts optimizers masks
reference-beyond:
	for suite in $(BEYOND); do \
	  $(PYTHON) run_ablations.py --all --suite $$suite --profile demo $(REFERENCE) --reports reports/reference || exit 1; \
	done
