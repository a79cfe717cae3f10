.PHONY: test lint fmt demo crds

test: ## every test of the project, the real API server included
	cargo test --workspace --locked

lint: ## formatting and lints, as CI runs them
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt: ## format the code
	cargo fmt --all
