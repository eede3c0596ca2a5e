# make course   set up, climb the ladder, train the general classifier, build the site
# make test     everything that must hold before a change is merged
# make chapters        run the slow cells of the notebooks too, and write down what with: hours
# make test-machines   the numeric tests and notebooks again as on other machines: threads, seeds, order
# make bench   score film reviews with ours and with others, in turn; needs make course first
# make lab      JupyterLab on the notebooks
# make docs     build the site into _docs;  make serve  shows it
# make clean    remove what can be made again (not the downloads in your cache folder)

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TF_CPP_MIN_LOG_LEVEL ?= 3
.PHONY: course test chapters test-machines bench lab docs serve clean

course: .venv/.installed-docs
	@$(BIN)/sentiment-course assets reviews minilm chinese multilingual
	@$(BIN)/sentiment-course ladder --out models
	@$(BIN)/sentiment-course general
	@echo "The general classifier, on sentences that it has never seen:"
	@printf '%s\n' "The battery died after two days." "I would buy it again tomorrow." \
		"The plot is thin, but you leave the cinema smiling." \
		"手机用了两天就坏了。" "房间干净，服务也很热情。" \
		| $(BIN)/sentiment-course predict -
	@$(BIN)/python tools/build_site.py
	@echo
	@echo "general      models/reviews       sentiment-course predict your.csv"
	@echo "films        models/films         sentiment-course predict --model models/films your.csv"
	@echo "ladder       models/ladder.csv    models/ladder.svg"
	@echo "site         _docs                make serve"
	@echo "notebooks    nbs                  make lab"
	@echo "The command is in $(BIN): run 'source $(BIN)/activate' first."

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sentiment-course assets
	$(BIN)/nbdev_test --n_workers 2
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests

chapters: .venv/.installed-dev
	$(BIN)/python tools/run_notebook.py --slow $$($(BIN)/python tools/slow_cells.py --notebooks)

test-machines: .venv/.installed-dev
	$(BIN)/sentiment-course assets
	$(BIN)/python tools/test_machines.py

bench: .venv/.installed-dev benchmarks/.venv/.installed
	$(BIN)/python benchmarks/score.py models/films benchmarks/.venv/bin/python

benchmarks/.venv/.installed: benchmarks/requirements.txt
	$(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/python -m pip install -q -r benchmarks/requirements.txt
	@touch $@

lab: .venv/.installed-dev
	$(BIN)/python -m ipykernel install --sys-prefix --name python3
	cd nbs && ../$(BIN)/jupyter lab

docs: .venv/.installed-docs
	$(BIN)/python tools/build_site.py $(STRICT)

serve: docs
	$(BIN)/python tools/serve_site.py

clean:
	rm -rf _docs _proc models build dist *.egg-info .venv .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Installed once; again when a requirement changes.
.venv/.installed-%: settings.ini setup.py constraints.txt
	@$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
		f'Python 3.11 or newer is needed, this is {v.major}.{v.minor}: make PYTHON=python3.12 $*')"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e '.[$*]'
	@touch $@
