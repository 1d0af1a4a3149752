# The verbs that people use. `make` lists them; what they do is in infra/local/*.py.

PYTHON ?= python3
STAGE  ?= default

export PATH := $(CURDIR)/.tools/bin:$(PATH)
export CAMARAD_TOOLS := $(CURDIR)/.tools
export SAM_CLI_TELEMETRY := 0

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test proof fuzz bench check fix build deploy stripe-setup redrive verify-audit clean audit-ledger

help: ## this list
	@echo "Camarad. On a fresh machine, start with: make demo"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## check the machine, put the tools into .tools (a second run only looks)
	@command -v $(PYTHON) >/dev/null || { echo "Python 3 is missing: install python3 (3.10 or newer) with the system's package manager."; exit 1; }
	@$(PYTHON) infra/local/tools.py

demo: setup ## play the main job on a local stack: sign in, onboard, pay, ask an agent, see what it cost
	@$(PYTHON) infra/local/demo.py

dev: setup ## run the local stack and reload functions as they change
	@$(PYTHON) infra/local/stack.py dev

test: setup ## run all tests
	@$(PYTHON) infra/local/tools.py stripe
	@cd tests/peers/oidc && npm test --silent
	@cd tests/peers/github && npm test --silent
	@cd tests/peers/stripe && npm test --silent
	@cargo build --workspace && cargo test --workspace

proof: setup ## run the long proofs too: more seeds, more parallel calls, kills
	@cargo build --workspace && CAMARAD_PROOF=50 cargo test --workspace

fuzz: setup ## send everything that the OpenAPI document allows, and what it forbids (a few minutes)
	@$(PYTHON) infra/local/fuzz.py $(EXAMPLES)

bench: setup ## measure starts, sizes, streaming, build times (FULL=1: builds from nothing, too)
	@$(PYTHON) benches/bench.py $(if $(FULL),--full)

check: setup ## format, lints, licences, template, routes
	@$(PYTHON) infra/local/check.py

fix: ## format the code and write again what is generated
	@cargo fmt --all && $(PYTHON) infra/local/router.py && $(PYTHON) infra/api.py

build: setup ## build what is deployed (release, arm64)
	@sam build

deploy: build ## deploy to AWS: make deploy, make deploy STAGE=staging
	@sam deploy --config-env $(STAGE)

stripe-setup: ## products, prices and portal at Stripe, by STRIPE_SECRET_KEY or the local one: [WEBHOOK=url]
	@$(PYTHON) infra/local/stripesetup.py $(if $(WEBHOOK),--webhook "$(WEBHOOK)")

redrive: ## send dead letters back once their cause is gone: QUEUE=billing|audit|mail|metering [STAGE=prod]
	@$(PYTHON) infra/redrive.py $(QUEUE) --stage $(STAGE)

verify-audit: ## check an exported audit log: FILE=export.ndjson [KEYS=audit-keys.json] [ANCHORS=log.ndjson]
	@node infra/verify-audit.mjs $(if $(KEYS),--keys "$(KEYS)") $(if $(ANCHORS),--anchors "$(ANCHORS)") "$(FILE)"

audit-ledger: ## add up an exported ledger: FILE=export.ndjson (several continue each other)
	@node infra/audit-ledger.mjs $(FILE)

clean: ## stop the local stack, delete its data and the built files; .tools stays
	@$(PYTHON) infra/local/stack.py down
	@rm -rf .local .aws-sam && cargo clean
