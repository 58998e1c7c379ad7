# Everything a developer does. A target with a ## comment is shown by `make help`.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
NODE_MODULES = bindings-node/node_modules/.package-lock.json
SHELL_SCRIPTS = .ci/run $(shell grep -lE '^\#!.*\bbash|^\# shellcheck shell=bash' scripts/* tests/* tests/c/* -s -d skip)

help: ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target text; do \
	  printf '  make %-20s %s\n' "$$target" "$$text"; done

demo: postgres ## show a leak being found and taken back, against a throw-away server
	@tests/with-postgres cargo run -q -p leakpool --example story

demo-c: postgres ## the same story told by a C program
	@PREFIX="$(abspath $(TARGET_DIR))/c/plain" scripts/install-c --dev
	@mkdir -p "$(TARGET_DIR)/c/bin"
	@$(CC) -std=c99 -D_POSIX_C_SOURCE=200809L -g -pthread -I"$(TARGET_DIR)/c/plain/include" tests/c/story.c \
	  -o "$(TARGET_DIR)/c/bin/demo" -L"$(TARGET_DIR)/c/plain/lib" -Wl,-rpath,"$(abspath $(TARGET_DIR))/c/plain/lib" -lleakpool
	@tests/with-postgres "$(TARGET_DIR)/c/bin/demo"

demo-node: postgres $(NODE_MODULES) ## the same story told by a Node program
	@node bindings-node/scripts/build.js >/dev/null
	@node bindings-node/bin/leakpool.js demo

npm-pack: $(NODE_MODULES) ## pack the Node package and its addon for this machine, into target/npm
	node bindings-node/scripts/build.js --release
	node bindings-node/scripts/npm-pack.js

test-node: postgres pgbouncer $(NODE_MODULES) ## run the Node tests: the package, its types, and what sits on top of it
	node bindings-node/scripts/build.js
	LEAKPOOL_LOG=off tests/with-postgres tests/with-pgbouncer node --test --test-force-exit --test-concurrency=2 bindings-node/test/*.test.js

check-python: ## format, lints and types of the Python, and whether the stubs are those of the module
	scripts/check-python

check-node: $(NODE_MODULES) ## format and types of the JavaScript
	cd bindings-node && npx --no-install prettier --check . && npx --no-install tsc -p .

test-npm: npm-pack ## install those tarballs in an empty folder, without Rust, and try them as a user does
	tests/with-postgres node bindings-node/scripts/npm-try.js

# Node's own record of what it installed, which is older than a lock file that has changed.
$(NODE_MODULES): bindings-node/package-lock.json
	@command -v npm >/dev/null || { echo "the Node package needs Node 20.9 or newer, with npm" >&2; exit 1; }
	cd bindings-node && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

demo-python: postgres ## the same story told in Python, on threads and on asyncio
	@python=$$(scripts/build-python) && "$$python" -m leakpool demo

# Nothing that is missing skips a test of these.
test test-core test-c test-python test-node: export LEAKPOOL_TEST_ALL := 1

test: postgres pgbouncer c-tools ## run every test, against a throw-away server and PgBouncer
	tests/test-with-postgres.sh
	tests/with-postgres tests/with-pgbouncer cargo test --workspace
	tests/with-postgres tests/with-pgbouncer tests/c/run
	$(MAKE) test-python test-node

test-python: postgres pgbouncer ## run the Python tests (ARGS: pytest's)
	tests/with-postgres tests/with-pgbouncer scripts/test-python $(ARGS)

test-c: postgres pgbouncer c-tools ## run the C tests: as they are, under valgrind, and under AddressSanitizer and UBSan
	tests/with-postgres tests/with-pgbouncer tests/c/run

wheel: ## build the Python wheel and source distribution into target/python/dist
	scripts/wheel-python

test-python-install: postgres ## the wheel in an empty environment without Rust: the README's examples and the demo
	tests/with-postgres scripts/test-python-install

header: ## make include/leakpool.h, the list of symbols and the test of layouts from ffi/src
	LEAKPOOL_WRITE=1 cargo test -q -p leakpool-ffi --test header --test layout

install: ## install libleakpool, its header, leakpool.pc and the CMake package (PREFIX, LIBDIR, INCLUDEDIR, DESTDIR)
	PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" INCLUDEDIR="$(INCLUDEDIR)" DESTDIR="$(DESTDIR)" scripts/install-c

test-core: postgres pgbouncer ## run the core's tests only
	tests/with-postgres tests/with-pgbouncer cargo test -p leakpool

deny: ## licences and sources of every dependency (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo "cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny check licenses bans sources

loom: ## try every interleaving of the lock-free parts (slow)
	RUSTFLAGS="--cfg leakpool_loom" cargo test -p leakpool --release --lib --target-dir "$(TARGET_DIR)/loom" loom

check: ## format, lints, documentation, drift of the header, shell scripts
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	cargo test -q -p leakpool-ffi --test header --test layout
	$(MAKE) check-python check-node
	for script in $(SHELL_SCRIPTS); do bash -n "$$script"; done
	if command -v shellcheck >/dev/null; then shellcheck -x -S warning $(SHELL_SCRIPTS); fi

bench: postgres ## compare with the peers, report and plot in target/bench (server pinned to one CPU)
	rm -rf "$(TARGET_DIR)/bench/rows"
	if command -v node >/dev/null; then $(MAKE) bench-node-rows; fi
	if command -v python3 >/dev/null; then $(MAKE) bench-python-rows; fi
	if [ -n "$${LEAKPOOL_BENCH_JAVA:-}" ]; then scripts/ensure-java-pools; fi
	LEAKPOOL_PIN_SERVER="$${LEAKPOOL_PIN_SERVER-0}" tests/with-postgres cargo bench -p leakpool --bench '*'
	@echo "the report is in $(TARGET_DIR)/bench/report.md"

bench-python: bench-python-rows ## the benchmarks of the Python package alone: against psycopg, asyncpg and psqlpy
	cargo bench -q -p leakpool --bench render
	@echo "the report is in $(TARGET_DIR)/bench/report.md"

bench-python-rows: postgres
	LEAKPOOL_PIN_SERVER="$${LEAKPOOL_PIN_SERVER-0}" tests/with-postgres scripts/bench-python

bench-node: bench-node-rows ## the benchmarks of the Node package alone: against pg, postgres and a wrapper by hand
	cargo bench -q -p leakpool --bench render
	@echo "the report is in $(TARGET_DIR)/bench/report.md"

bench-node-rows: postgres $(NODE_MODULES)
	node bindings-node/scripts/build.js --release
	LEAKPOOL_PIN_SERVER="$${LEAKPOOL_PIN_SERVER-0}" tests/with-postgres node bindings-node/bench/run.js

bench-%: postgres
	LEAKPOOL_PIN_SERVER="$${LEAKPOOL_PIN_SERVER-0}" tests/with-postgres cargo bench -p leakpool --bench "$*"

postgres:
	@scripts/ensure-postgres

pgbouncer:
	@scripts/ensure-pgbouncer

c-tools:
	@scripts/ensure-c-tools

.PHONY: help demo demo-c demo-python wheel test-python test-python-install check-python demo-node npm-pack test-node check-node test-npm \
  bench-node bench-node-rows bench-python bench-python-rows test test-core test-c deny loom check header install bench postgres pgbouncer c-tools
