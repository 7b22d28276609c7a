# The project's commands. `make run` and `make test` work from a fresh clone; the rest assumes one of them has run.
PORT ?= 8000
# The newest Python that really runs: a version manager's shim may name one that is not there.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header
.DEFAULT_GOAL := help
.PHONY: help run test test-cluster bench lint requirements clean install-base install-dev

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: install-base ## the whole platform on this machine, at http://127.0.0.1:8000 (PORT= changes it)
	@PLATFORM_MODE=laptop PORT=$(PORT) exec $(BIN)/python manage.py up

test: install-dev ## every test (ARGS= is handed to pytest)
	@exec $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder -rfEs $(ARGS)

test-cluster: install-dev ## the Kubernetes conformance suite against the cluster that KUBECONFIG names
	@[ -n "$$KUBECONFIG" ] || { echo "Set KUBECONFIG to the file that describes the cluster to test, for example: KUBECONFIG=~/.kube/config make test-cluster"; exit 2; }
	@exec $(PYTEST) tests/cluster --real-cluster -rs $(ARGS)

bench: install-dev ## the benchmarks of docs/performance.md (KUBECONFIG= adds a real cluster)
	@exec $(BIN)/python -m bench $(ARGS)

lint: install-dev ## formatting, style, types, import rules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && PLATFORM_MODE=laptop $(BIN)/mypy && $(BIN)/lint-imports

requirements: install-dev ## exact versions with hashes, from the ranges in pyproject.toml (ARGS=--upgrade for newer ones)
	@$(COMPILE) $(ARGS) pyproject.toml -o requirements/base.txt
	@$(COMPILE) $(ARGS) --group dev --constraint requirements/base.txt pyproject.toml -o requirements/dev.txt

clean: ## remove var/: database, cluster, files, logs
	@[ ! -e var/run/lock ] || $(PYTHON) -c 'import fcntl; fcntl.flock(open("var/run/lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null \
		|| { echo "The platform is running on var/; stop it first, with Ctrl-C where it runs."; exit 2; }
	@rm -rf var

install-base install-dev: install-%:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed and none was found; name one: make run PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) requirements/install.py $*
