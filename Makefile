help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

.PHONY: help tools check test test-build test-units test-units-beside test-cluster test-docs test-survival \
	failover-soak soak failover-node e2e e2e-shared e2e-alone e2e-cgroup2 record compat comparison lint fmt demo crds \
	admission docs chart generate binary image images bench bench-scale bench-mass-fault bench-commands fuzz mutants

tools: ## find or build the tools of the tests (etcd, kube-apiserver, Helm ...), and the images if a node can run here
	cargo run --quiet --package e2e --locked -- tools

check: lint test-units ## format, lints and all tests that need no API server

# In phases. Tests on a node mostly wait, but their probes need the processors at once: beside them run only the tests that
# compute, with a lower priority. Tests with an API server mostly wait, so their binaries run at the same time.
test: tools test-build ## all tests
	$(MAKE) --jobs=3 --output-sync=target $(NODE_TESTS) test-units-beside
	$(MAKE) --jobs=4 --output-sync=target test-survival test-cluster test-docs

test-units-beside:
	nice -n 5 $(MAKE) test-units

test-build:
	cargo test --workspace --locked --no-run
	cargo test --package e2e --test node --locked --no-run

test-units: ## tests that need no API server
	cargo test --package sidewatch --package testkit --package test-workload --locked
	cargo test --package e2e --lib --bins --locked
	cargo test --package e2e --doc --locked
	SIDEWATCH_TEST_ENCODING=json cargo test --package sidewatch --locked --test scripted --test operator_replay

test-cluster: ## tests with an API server, except survival and documentation
	cargo test --package e2e --test cluster --test operator --test chart --test bench_scale --locked -- --test-threads=4

test-docs: ## tests of the documentation, which run its commands
	cargo test --package e2e --test docs --locked

# How an operator ends, which replica leads, and permissions do not depend on the encoding of Pods.
JSON_SKIPS = failover soak killed_before killed_after killed_when terminated quiet permission token crds

test-survival: ## tests with faults of the network and the API server
	cargo test --package e2e --test survival --locked
	SIDEWATCH_TEST_ENCODING=json cargo test --package e2e --test survival --locked -- $(JSON_SKIPS:%=--skip %)

POINTS ?= 100

failover-soak: ## replace the leader at POINTS=100 random moments (docs/testing.md); takes a quarter of an hour
	SIDEWATCH_KILL_POINTS=$(POINTS) cargo test --package e2e --test survival --locked random_failover

MINUTES ?= 60
SEED ?= 1
ROUND ?= 1

soak: ## disturb two replicas for MINUTES=60, compare them with an undisturbed operator, measure what grows (docs/testing.md)
	cargo run --quiet --package e2e --locked -- soak --minutes $(MINUTES) --seed $(SEED) --first-round $(ROUND)

e2e: ## tests on a real node; SIDEWATCH_E2E_KUBECONFIG=FILE uses an existing cluster
	cargo test --package e2e --test node --locked

# The scenarios that disturb the node or the operator need five minutes, one after the other: `make test` runs them on a node
# of their own. An existing cluster has one operator.
NODE_TESTS = $(if $(SIDEWATCH_E2E_KUBECONFIG),e2e,e2e-shared e2e-alone)

e2e-shared:
	cargo test --package e2e --test node --locked -- --skip alone::

e2e-alone:
	cargo test --package e2e --test node --locked -- alone::

e2e-cgroup2: ## run SCENARIOS="NAME ..." on a node with cgroup v2, in a virtual machine (docs/testing.md); takes half an hour
	cargo run --quiet --package e2e --locked -- cgroup2 $(SCENARIOS)

record: ## record SCENARIOS="NAME ..." on a real node for tests/traces, into target/recordings
	cargo run --quiet --package e2e --locked -- record $(SCENARIOS)

failover-node: ## replace replicas on a real node: upgrade, deleted and killed leader, random Pods (docs/testing.md); takes a quarter of an hour
	cargo test --package e2e --test node_failover --locked

VERSIONS ?=
TESTS ?=

compat: ## run TESTS="operator node" or all with Kubernetes VERSIONS="1.30 1.37" or all; writes docs/compatibility.md
	cargo run --quiet --package e2e --locked -- compat $(TESTS:%=--test=%) $(VERSIONS)

comparison: ## write docs/comparison.md, the comparison with the usual alerts on a real node; takes half an hour
	cargo run --quiet --package e2e --locked -- comparison

bench: ## run the benchmarks (docs/performance.md)
	cargo bench --package sidewatch --locked --bench memory --bench pipeline --bench steps --bench latency

PODS ?= 50000
RUNS ?= 3
UPDATES ?= 10000

bench-scale: tools binary ## compare the operator with kube-state-metrics on PODS=50000 Pods (docs/performance.md); takes half an hour
	SIDEWATCH_BINARY=target/image/sidewatch RUSTFLAGS="$(STATIC)" cargo run --quiet --profile image --package e2e --locked \
		--target $(TARGET) --target-dir target -- bench-scale --pods $(PODS) --runs $(RUNS) --updates $(UPDATES)

FAULTY ?= $(PODS)

bench-mass-fault: tools binary ## measure the memory of the operator while FAULTY of PODS=50000 sidecars are unready (docs/performance.md)
	SIDEWATCH_BINARY=target/image/sidewatch RUSTFLAGS="$(STATIC)" cargo run --quiet --profile image --package e2e --locked \
		--target $(TARGET) --target-dir target -- mass-fault --pods $(PODS) --faulty $(FAULTY)

bench-commands: tools binary ## measure the memory of the commands while FAULTY of PODS=50000 sidecars are unready (docs/performance.md)
	SIDEWATCH_BINARY=target/image/sidewatch RUSTFLAGS="$(STATIC)" cargo run --quiet --profile image --package e2e --locked \
		--target $(TARGET) --target-dir target -- commands --pods $(PODS) --faulty $(FAULTY)

lint: ## check formatting and lints, as in CI
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --package e2e --test node --test node_failover --locked -- -D warnings

fmt: ## format the code
	cargo fmt --all

generate: crds admission docs chart ## generate everything that is generated

crds: ## generate crds/ from the types in src/api
	UPDATE_CRDS=1 cargo test --quiet --package sidewatch --lib --locked crds

admission: ## generate config/admission/policies.yaml from the rules of lint and the catalogue
	UPDATE_ADMISSION=1 cargo test --quiet --package sidewatch --lib --locked admission

docs: ## generate docs/api.md from the schema, and the pages in docs/lint from the rules
	UPDATE_DOCS=1 cargo test --quiet --package e2e --test docs --locked api_reference
	UPDATE_DOCS=1 cargo test --quiet --package sidewatch --test cli --locked lint_pages

FUZZ_TARGETS = pods policies patterns protobuf watch
FUZZ_SECONDS ?= 300

fuzz: ## run every fuzz target for FUZZ_SECONDS; needs cargo-fuzz and a nightly toolchain
	for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target && cargo +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 || exit 1; \
	done

mutants: ## run mutation tests of src/domain; FILE=src/domain/hash.rs limits them to one file; needs cargo-mutants
	cargo mutants $(if $(FILE),--re "^$(FILE):")

demo: ## run the demo; HOLD=1 keeps it running, KUBELET=simulated uses no real node
	cargo run --quiet --package e2e --locked -- demo $(if $(HOLD),--hold) $(if $(KUBELET),--kubelet=$(KUBELET))

chart: ## generate the chart's copies of crds/, config/prometheus/ and config/admission/, and the list of values in its README
	UPDATE_CHART=1 cargo test --quiet --package e2e --test chart --locked -- files readme

TARGET = $(shell rustc --print host-tuple)
STATIC = -C target-feature=+crt-static

binary: ## build the static binary for the image: target/image/sidewatch
	RUSTFLAGS="$(STATIC)" cargo $(shell cargo auditable --version >/dev/null 2>&1 && echo auditable) \
		build --release --package sidewatch --bin sidewatch --no-default-features --locked --target $(TARGET) --target-dir target
	mkdir -p target/image
	cp target/$(TARGET)/release/sidewatch target/image/sidewatch

images: ## build the archive with the images of the operator and the test Pods, for `kind load image-archive`; prints its path
	@cargo run --quiet --package e2e --locked -- images

IMAGE ?= sidewatch:$(VERSION)
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
REVISION = $(shell git rev-parse HEAD)

image: ## build the image from the binary with docker, podman or buildah; IMAGE=REGISTRY/sidewatch:TAG sets its name
	@for engine in docker podman buildah; do \
		if $$engine info >/dev/null 2>&1; then found=$$engine; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "make image: found no working docker, podman or buildah" >&2; exit 1; \
	fi; \
	$(MAKE) binary && $$found build --file Dockerfile --target prebuilt --tag $(IMAGE) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) target/image
