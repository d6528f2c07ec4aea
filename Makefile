# Three commands do everything: `make demo` shows it, `make run` starts the server, `make test` runs every check there is.
# CARGO may be set to another cargo; nothing else is needed beside a Rust toolchain and a C compiler.

CARGO ?= cargo
CONTRACT ?= ../shared/contract/seed_contract.py
# The sections of the contract that this version implements.
CONTRACT_SECTIONS = users things channels connect access messages orgs groups policies keys webhooks
# The tests that need real engines; `cargo test` by itself leaves them out.
ENGINES = thalweg-control-plane/engines,thalweg-log/engines,thalweg-outbound/engines,thalweg-service/engines,thalweg-store/engines
# The bench of the whole pipeline: nothing tests it, but it is checked.
PIPELINE = thalweg-bench/pipeline
# Tests that `cargo test` leaves out also with these: they need the whole machine, or a cluster.
BY_NAME = --test load --test cluster --test harm
# What these keep is in memory, if there is room: most of what they would wait for is the disk.
unit contract schema-test cluster-test: export TMPDIR = $(shell deploy/scratch)
# Builds take no part in make's counting of jobs: cargo has its own.
export CARGO_MAKEFLAGS =
# Where cargo builds to.
TARGET = $(shell $(CARGO) metadata --format-version 1 --no-deps 2>/dev/null | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
RELEASE = $(TARGET)/release

.PHONY: demo run build measuring built test check fetched load-test unit contract schema-test cluster-test cluster cluster-stop soak-short engines engines-stop bench soak generated help

help:
	@echo "make demo     build, and watch a few things publish; ARGS=\"--things 20\" and the like"
	@echo "make run      build, and start the server on 127.0.0.1:8080 with its data in ./thalweg-data"
	@echo "make test     check, every test, and the API contract where it is there"
	@echo "make check    format, lints, documentation, licences, deploy/"
	@echo "make schema-test  try a server against the document that it gives of its API"
	@echo "make engines  start Kafka, Cassandra and PostgreSQL on loopback and print their addresses; make engines-stop ends them"
	@echo "make cluster  start a whole cluster on loopback and print where it is; make cluster-stop ends it"
	@echo "make bench    measure, as ratios within one run; several minutes"
	@echo "make generated  write what is made from the settings' definitions"
	@echo "make soak     kill, stop and crowd the server under load, do harm to a cluster, and look for what is lost"
	@echo "make soak-short  5 rounds of harm to a cluster"

demo:
	$(CARGO) run --release --quiet --package thalweg -- demo $(ARGS)

run:
	$(CARGO) run --release --quiet --package thalweg -- serve

build:
	$(CARGO) build --release --package thalweg

# The load has the machine to itself; what needs no engines runs beside tests that wait for them.
test:
	$(MAKE) --no-print-directory --jobs=2 check fetched
	$(MAKE) --no-print-directory load-test
	$(MAKE) --no-print-directory --jobs=2 unit contract schema-test
	$(MAKE) --no-print-directory cluster-test

# The documentation with the features of the lints, and with `--examples`, of which there are none, because that takes the
# features of the tests in: with any others, cargo would check dependencies, and us, once more.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features $(ENGINES),$(PIPELINE) --quiet -- -D warnings
	$(CARGO) clippy --workspace $(BY_NAME) --features $(ENGINES),$(PIPELINE) --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --lib --bins --examples --features $(ENGINES),$(PIPELINE) --quiet
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --offline check bans licenses sources; else echo "cargo-deny is not installed: licences not checked"; fi
	@if command -v shellcheck >/dev/null; then shellcheck -x deploy/engines deploy/cluster deploy/contract deploy/scratch deploy/schemathesis deploy/verifiers deploy/engines.d/*.sh; else echo "shellcheck is not installed: scripts not checked"; fi
	@deploy/check

# What tests need from registries, once; while the checks go on.
fetched:
	deploy/verifiers fetch
	deploy/engines fetch
	deploy/schemathesis fetch

# Everything that is tested, always of the whole workspace: asked for by package, cargo would build the dependencies again with other
# features.
built:
	$(CARGO) test --workspace --features $(ENGINES) --no-run
	$(CARGO) test --workspace --features $(ENGINES) --no-run $(BY_NAME)

# Asserts what takes how long under load, so nothing else runs meanwhile, and what it stores goes to a disk.
load-test: built
	$(CARGO) test --workspace --features $(ENGINES) --test load

# Of these, most wait more than they compute: twice as many at a time as there are processors.
unit: export RUST_TEST_THREADS = $(shell echo $$(( 2 * $$(nproc) )))

# With real engines: started once, when everything is built, and stopped whatever becomes of the tests. And with those who verify our
# signatures.
unit: built
	deploy/verifiers with -- deploy/engines with kafka cassandra postgres -- $(CARGO) test --workspace --features $(ENGINES)

contract: built
	@if [ -f "$(CONTRACT)" ]; then deploy/contract "$(CONTRACT)" "$(TARGET)/debug/thalweg" $(CONTRACT_SECTIONS); \
	else echo "$(CONTRACT) is not there: the contract was not run"; fi

# What the document at /openapi.json allows, and what it forbids, sent to a fresh server.
schema-test: built
	deploy/schemathesis "$(TARGET)/debug/thalweg"

# The API at a cluster of two processes a role on three nodes of each engine, by the contract and by our tests at the same time, of which
# many wait for something: more of them at once than there are processors. And then harm to it.
cluster-test: built
	THALWEG=$(TARGET)/debug/thalweg deploy/cluster with --nodes 3 -- sh -ec '\
		trap wait EXIT; \
		contract() { if [ -f "$(CONTRACT)" ]; then deploy/contract "$(CONTRACT)" "$$THALWEG_URL" $(CONTRACT_SECTIONS); fi; }; \
		contract & contract=$$!; \
		$(CARGO) test --workspace --features $(ENGINES) --test cluster -- --test-threads 8; \
		wait $$contract; \
		$(CARGO) test --workspace --features $(ENGINES) --test harm'

# For a person: a whole cluster behind one port. Settings come from the environment.
cluster: build
	@THALWEG=$(RELEASE)/thalweg deploy/cluster start

cluster-stop:
	@deploy/cluster stop

# For a person who wants to look into real engines; how else to use them: deploy/README.md.
engines:
	@deploy/engines start

engines-stop:
	@deploy/engines stop

# What is made from the settings' definitions; a test holds it equal.
generated: built
	$(TARGET)/debug/thalweg config example >deploy/thalweg.example.toml
	$(TARGET)/debug/thalweg config reference >docs/configuration.md

# The product and what measures it, in one go: the second of two would build dependencies again with other features.
measuring:
	$(CARGO) build --release --quiet --package thalweg --package thalweg-bench --features $(PIPELINE)

# One run of each: the product against bare parts, then its parts by themselves.
bench: measuring
	$(RELEASE)/thalweg-pipeline-bench --server $(RELEASE)/thalweg
	$(CARGO) bench --quiet --package thalweg-domain --package thalweg-log --package thalweg-service --package thalweg-store --package thalweg-control-plane --benches
	THALWEG=$(RELEASE)/thalweg deploy/cluster with --each 4 -- $(RELEASE)/thalweg-pipeline-bench --only engines --rounds 3
	deploy/engines with kafka -- $(CARGO) bench --quiet --package thalweg-log --features engines --bench kafka
	deploy/engines with cassandra -- $(CARGO) bench --quiet --package thalweg-store --features engines --bench cql

soak: measuring
	$(RELEASE)/thalweg-ledger soak --server $(RELEASE)/thalweg --kills 200
	$(RELEASE)/thalweg-ledger soak --server $(RELEASE)/thalweg --kills 100 --stop
	$(RELEASE)/thalweg-ledger crowd --server $(RELEASE)/thalweg
	THALWEG=$(RELEASE)/thalweg deploy/cluster with --nodes 3 -- $(RELEASE)/thalweg-ledger harm --rounds 50

soak-short: measuring
	THALWEG=$(RELEASE)/thalweg deploy/cluster with --nodes 3 -- $(RELEASE)/thalweg-ledger harm --rounds 5
