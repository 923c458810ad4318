# `make help` lists the targets. CI (.ci/run) runs these very targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build test race kafka oidc registry chaos fuzz apifuzz lint fmt bench demo down

# What a real Kafka and the tools need is kept here, outside the tree.
CACHE := $(or $(STREAMER_TEST_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/streamer-test)
KAFKA_VERSION ?= 4.1.2
export KAFKA_VERSION
# Go packages and more flags for test, race and kafka, such as TESTFLAGS='-v -run Order'.
PKG ?=
TESTFLAGS ?=
FUZZTIME ?= 10s
BENCHFLAGS ?=
FOR ?=
CHAOS_ROWS ?= 200000
# Where make chaos leaves its reports, each under its seed.
CHAOS_REPORTS ?= $(CURDIR)/chaos/reports

LINT_VERSION := 2.15.0
LINT := $(CACHE)/bin/golangci-lint-$(LINT_VERSION)

help: ## this list
	@awk -F ' *## ' '/^[a-z]+:.*##/ { sub(/:.*/, "", $$1); printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/streamer
	go build -trimpath -o bin/streamer ./cmd/streamer

# The parts leave nothing out: one runs what the other skips. make -k test goes on after a failure.
test: race kafka ## all tests: those that need no real Kafka, with the race detector, then those on one (KAFKA_VERSION=4.3.1 for another one)
test: COUNT := -count=1

# The longest package comes first, so that it is not waited for alone at the end. A program with the race detector sleeps for a second before
# it exits, unless told otherwise, and hundreds are started here.
race: ## the tests that need no real Kafka, with the race detector
	GORACE=atexit_sleep_ms=20 go test -race $(COUNT) -skip '^TestKafka' -timeout 20m $(TESTFLAGS) $(or $(PKG),./consumer ./...)

# More tests at once than there are processors: they wait for sessions to end, and for brokers to start.
kafka: ## the tests on a real Kafka, which it installs and starts
	@test/realparts/setup.sh
	go test -count=1 -run '^TestKafka' -parallel 4 -timeout 20m $(TESTFLAGS) $(or $(PKG),./consumer $$(find . -name '*_kafka_test.go' | xargs dirname | sort -u))

oidc: ## the tests on a real OpenID Connect provider (Keycloak), which it installs and starts
	@up=$$(test/realparts/keycloak.sh up $(CACHE)/keycloak); trap 'test/realparts/keycloak.sh down $(CACHE)/keycloak' EXIT; \
	env $$up go test -count=1 -v -run '^TestRealKeycloak' ./control/people ./sink ./cmd/streamer

registry: ## the tests on a real schema registry (Apicurio), which it installs and starts
	@up=$$(test/realparts/registry.sh up $(CACHE)/registry); trap 'test/realparts/registry.sh down $(CACHE)/registry' EXIT; \
	env $$up go test -count=1 -v -run '^TestRealRegistry' ./consumer

chaos: ## kill, freeze, cut and slow everything while CHAOS_ROWS (200000) rows are delivered; STREAMER_SEED=n replays a run
	@test/realparts/setup.sh
	CHAOS_ROWS=$(CHAOS_ROWS) CHAOS_REPORTS=$(CHAOS_REPORTS) go test -count=1 -run '^TestKafkaChaos$$' -timeout 40m $(TESTFLAGS) ./chaos
	@echo "report: $$(ls -t $(CHAOS_REPORTS)/*.txt | head -1)"; head -6 "$$(ls -t $(CHAOS_REPORTS)/*.txt | head -1)"

# Go before 1.27 may end with "context deadline exceeded" when FUZZTIME is over (golang/go#75804), and calls that a failure. It is no finding:
# one is written to testdata/fuzz and says so.
fuzz: ## every fuzz target for FUZZTIME (10s)
	@found=0; failed=(); bin=$$(mktemp); log=$$(mktemp); trap 'rm -f "$$bin" "$$log"' EXIT; \
	for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r dirname | sort -u); do \
	  go test -c -fuzz . -o $$bin $$dir; known=$$(go env GOCACHE)/fuzz/$$(go list $$dir); \
	  targets=$$(cd $$dir && $$bin -test.list '^Fuzz'); \
	  for target in $$targets; do \
	    found=$$((found + 1)); echo "== $$dir $$target"; \
	    if (cd $$dir && $$bin -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 5s -test.fuzzcachedir $$known) > $$log 2>&1; then \
	      cat $$log; \
	    elif grep -q '^ *context deadline exceeded$$' $$log && ! grep -q testdata/fuzz $$log; then \
	      sed -n '/^fuzz: /p' $$log; echo "the time was over, and nothing was found"; \
	    else \
	      cat $$log; failed+=($$dir:$$target); \
	    fi; \
	  done; \
	done; \
	[ $$found -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }; \
	[ $${#failed[@]} = 0 ] || { echo "found something: $${failed[*]}" >&2; exit 1; }

apifuzz: build ## ask everything of a running instance that its OpenAPI document allows, and more, for SECONDS_AT_MOST (120) (schemathesis)
	@test/realparts/setup.sh
	test/apifuzz/run.sh $(CACHE) $(CURDIR)/bin/streamer

lint: $(LINT) ## formatting, vet and golangci-lint
	$(LINT) run ./...

fmt: $(LINT) ## write the formatting that lint wants
	$(LINT) fmt ./...

bench: ## speed and memory, beside a hand-written loop (BENCHFLAGS='-rounds 5'; see bench/README.md)
	go run ./bench $(BENCHFLAGS)

demo: build ## watch it work, with nothing installed (FOR=20s ends it by itself)
	bin/streamer demo $(if $(FOR),--for $(FOR))

down: ## end the container engine that make test started
	test/realparts/setup.sh down

# One go install, kept by version; a golangci-lint of that very version which is there already is used.
$(LINT):
	@mkdir -p $(@D)
	@have=$$(PATH="$$PATH:$$(go env GOPATH)/bin" command -v golangci-lint || true); \
	if [ -n "$$have" ] && "$$have" version 2>/dev/null | grep -qF 'version $(LINT_VERSION) '; then ln -sf "$$have" $@; else \
	  echo "installing golangci-lint $(LINT_VERSION)"; \
	  GOBIN=$(@D)/new go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(LINT_VERSION) && mv $(@D)/new/golangci-lint $@; fi
