# Everything a developer does. A target with a ## comment is shown by `make help`.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
SHELL_SCRIPTS = .ci/run $(shell grep -lE '^\#!.*\bbash|^\# shellcheck shell=bash' scripts/* tests/* tests/c/* -s -d skip)

help: ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target text; do \
	  printf '  make %-13s %s\n' "$$target" "$$text"; done

demo: postgres ## show a leak being found and taken back, against a throw-away server
	@tests/with-postgres cargo run -q -p leakpool --example story

demo-c: postgres ## the same story told by a C program
	@PREFIX="$(abspath $(TARGET_DIR))/c/plain" scripts/install-c --dev
	@mkdir -p "$(TARGET_DIR)/c/bin"
	@$(CC) -std=c99 -D_POSIX_C_SOURCE=200809L -g -pthread -I"$(TARGET_DIR)/c/plain/include" tests/c/story.c \
	  -o "$(TARGET_DIR)/c/bin/demo" -L"$(TARGET_DIR)/c/plain/lib" -Wl,-rpath,"$(abspath $(TARGET_DIR))/c/plain/lib" -lleakpool
	@tests/with-postgres "$(TARGET_DIR)/c/bin/demo"

test: postgres pgbouncer c-tools ## run every test, against a throw-away server and PgBouncer
	tests/test-with-postgres.sh
	tests/with-postgres tests/with-pgbouncer cargo test --workspace
	tests/with-postgres tests/c/run

test-c: postgres c-tools ## run the C tests: as they are, under valgrind, and under AddressSanitizer and UBSan
	tests/with-postgres tests/c/run

header: ## make include/leakpool.h, the list of symbols and the test of layouts from ffi/src
	LEAKPOOL_WRITE=1 cargo test -q -p leakpool-ffi --test header --test layout

install: ## install libleakpool, its header, leakpool.pc and the CMake package (PREFIX, LIBDIR, INCLUDEDIR, DESTDIR)
	PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" INCLUDEDIR="$(INCLUDEDIR)" DESTDIR="$(DESTDIR)" scripts/install-c

test-core: postgres ## run the core's tests only, without PgBouncer
	tests/with-postgres cargo test -p leakpool

loom: ## try every interleaving of the lock-free parts (slow)
	RUSTFLAGS="--cfg leakpool_loom" cargo test -p leakpool --release --lib --target-dir "$(TARGET_DIR)/loom" loom

check: ## format, lints, documentation, drift of the header, shell scripts
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	cargo test -q -p leakpool-ffi --test header --test layout
	for script in $(SHELL_SCRIPTS); do bash -n "$$script"; done
	if command -v shellcheck >/dev/null; then shellcheck -x -S warning $(SHELL_SCRIPTS); fi

bench: postgres ## compare with the peers, report and plot in target/bench (server pinned to one CPU)
	rm -rf "$(TARGET_DIR)/bench/rows"
	if [ -n "$${LEAKPOOL_BENCH_JAVA:-}" ]; then scripts/ensure-java-pools; fi
	LEAKPOOL_PIN_SERVER="$${LEAKPOOL_PIN_SERVER-0}" tests/with-postgres cargo bench -p leakpool --bench '*'
	-LEAKPOOL_PIN_SERVER="$${LEAKPOOL_PIN_SERVER-0}" tests/with-postgres scripts/bench-python
	cargo bench -q -p leakpool --bench report
	@echo "the report is in $(TARGET_DIR)/bench/report.md"

bench-python: postgres ## compare the Python host with psycopg, asyncpg and psqlpy; its rows go into the same report
	LEAKPOOL_PIN_SERVER="$${LEAKPOOL_PIN_SERVER-0}" tests/with-postgres scripts/bench-python
	cargo bench -q -p leakpool --bench report
	@echo "the report is in $(TARGET_DIR)/bench/report.md"

bench-%: postgres
	LEAKPOOL_PIN_SERVER="$${LEAKPOOL_PIN_SERVER-0}" tests/with-postgres cargo bench -p leakpool --bench "$*"

postgres:
	@scripts/ensure-postgres

pgbouncer:
	@scripts/ensure-pgbouncer

c-tools:
	@scripts/ensure-c-tools

.PHONY: help demo demo-c test test-core test-c loom check header install bench postgres pgbouncer c-tools
