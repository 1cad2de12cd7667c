# make demo    try it: http://127.0.0.1:8000, or another PORT=
# make cluster try it as five processes, on a PostgreSQL and a Redis: DATABASE_URL=
#              and REDIS_URL=; pages on PORT and the next one
# make test    the whole test suite, browsers included; what needs a database runs
#              beside it on PostgreSQL (TEST_DATABASE_URL), where there is one
# make check   lint, format, types, migrations, deployment settings
# make bench   the benchmarks
# make chaos   kill processes at every write, KILLS= a database, from SEED=
# make lock    pin the dependencies of pyproject.toml anew (needs uv)

PYTHON ?= python3
PORT ?= 8000
KILLS ?= 200

VENV := .venv
BIN := $(VENV)/bin
MANAGE := $(BIN)/python manage.py

.PHONY: setup demo cluster test check bench chaos lock

setup: $(VENV)/installed

$(VENV)/installed: requirements.lock
	@PYTHON='$(PYTHON)' sh tests/make_venv.sh $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --requirement requirements.lock
	@touch $@

demo: export PLACET_DEMO = true
demo: setup
	@$(MANAGE) migrate --verbosity 0
	@$(MANAGE) seed_demo
	@exec $(MANAGE) serve --port $(PORT)

cluster: setup
	@exec $(BIN)/python -m demo.cluster --port $(PORT)

test: setup
	@sh tests/ensure_chromium.sh
	@sh tests/run.sh $(BIN)/python

# With the demo, whose migrations and types count as well.
check: export PLACET_DEMO = true
check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .
	@$(MANAGE) makemigrations --check --dry-run
	@PLACET_HTTPS=true PLACET_SECRET_KEY=$$($(BIN)/python -c \
		'import secrets; print(secrets.token_urlsafe(50))') \
		$(MANAGE) check --deploy --fail-level WARNING

bench: setup
	@for bench in benchmarks/*.py; do \
		[ ! -e "$$bench" ] || $(BIN)/python "$$bench" || exit 1; done

chaos: setup
	@$(BIN)/python -m tests.chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED))

lock:
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-header \
		--group dev --output-file requirements.lock pyproject.toml
