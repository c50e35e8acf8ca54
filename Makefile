# make report   the environment, the runs, the notebooks and the book of one edition; prints where the page is
# make test     the environment and the tests, two files of them at a time
# make book     the committed edition, from notebooks that are already executed
# make pdf      the same as one document; needs Chromium
# make lab      JupyterLab, installed when first asked for, with the notebooks
# make clean    takes away all pages that were built; the runs and the environment stay
PROFILE ?= demo
# more for the command: make report ARGS="--chapter students --set student_epochs=2", make test ARGS="-k report"
ARGS ?=
# the first Python that is new enough, unless one is given
PYTHON ?= $(firstword $(foreach python,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(python) -c 'import sys; sys.version_info >= (3, 11) and print("$(python)")' 2>/dev/null)))

BIN := .venv/bin
READY := .venv/.ready

.PHONY: report test book pdf lab clean
report: $(READY)
	$(BIN)/python -m kdlib report --profile $(PROFILE) $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

book: $(READY)
	$(BIN)/jupyter-book build book

pdf: $(READY)
	$(BIN)/python -m kdlib.report.pdf $(ARGS)

lab: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet jupyterlab -c constraints.txt
	$(BIN)/jupyter lab --notebook-dir=notebooks $(ARGS)

clean:
	rm -rf _build book/_build

# Done again only where the list of packages or of their versions has changed.
$(READY): install.py requirements.txt constraints.txt pyproject.toml
	$(if $(PYTHON),,$(error Python 3.11 or later is needed and none was found: make PYTHON=/path/to/python))
	@echo "Installing packages into .venv: the first time, some gigabytes are downloaded"
	$(PYTHON) install.py
	touch $@
