help: ## what make can do here
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

.PHONY: help tools test lint fmt demo crds

tools: ## find or build etcd, kube-apiserver, kubectl and promtool for the tests
	cargo run --quiet --package e2e --locked -- tools

test: tools ## every test of the project, the real API server included
	cargo test --workspace --locked

lint: ## formatting and lints, as CI runs them
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt: ## format the code
	cargo fmt --all

crds: ## write crds/ from the types in src/api
	UPDATE_CRDS=1 cargo test --quiet --package sidewatch --lib --locked crds

demo: ## the operator at work on Pods that go bad; HOLD=1 keeps it up
	cargo run --quiet --package e2e --locked -- demo $(if $(HOLD),--hold)
