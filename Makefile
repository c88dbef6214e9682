# Everything here first brings what is missing (Node.js and packages; see scripts/bootstrap.sh), so each target works in a fresh clone
# on a machine that has only npm. `make help` lists them.
RUN := sh scripts/with-node.sh
NEXUS := $(RUN) node --conditions=nexus-source packages/server/bin/nexus.mjs

.DEFAULT_GOAL := help
.PHONY: help demo test dev serve verify gates bench build clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: ## See a governed, durable agent run: tools, approval, budget, fallback, crash and takeover
	@$(NEXUS) demo

test: ## Run the tests, but for those that kill processes again and again (npm run test:long)
	@$(RUN) vitest run --project units --project system

dev: ## Serve from source and start again on every change
	@$(RUN) node --watch --conditions=nexus-source packages/server/bin/nexus.mjs serve

serve: ## Serve on http://localhost:8080
	@$(NEXUS) serve

verify: ## Every gate and all tests; one gate alone: npm run verify -- types
	@$(RUN) node scripts/verify.ts

gates: ## Plant a violation of each gate and see it caught
	@$(RUN) node scripts/verify-gates.ts

bench: ## Measure against the bars and a peer
	@cd bench/peers && { test -d node_modules/ai || sh ../../scripts/with-node.sh npm ci --no-audit --no-fund; } || echo "the peers cannot be installed: measuring without them"
	@$(RUN) node --conditions=nexus-source bench/run.ts

build: ## Build dist/ of the packages and start the built server once
	@$(RUN) node scripts/build.ts
	@$(RUN) node scripts/checks/built-server.ts

clean: ## Remove what was built or recorded; what bootstrap brought stays
	@rm -rf packages/*/dist .nexus coverage
