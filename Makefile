# Every common task. `make` alone lists them.
.DEFAULT_GOAL := help

GO        ?= go
ROOT      := build/app
FUNCTIONS := $(wildcard functions/*/function.json)
STAGED    := $(FUNCTIONS:functions/%=$(ROOT)/%)
# Every folder at the root but build: a new one is formatted and fuzzed without being named here.
SOURCES   := $(filter-out build,$(patsubst %/,%,$(wildcard */)))
# IDENTITY=az and GATEWAY=real put the real thing in place of a stand-in.
IDENTITY  ?= sandbox
GATEWAY   ?= sandbox
# CALL is the first call's path behind ApimUrl, TENANT a file of identities for the stand-in's tenant.
CALL      ?=
TENANT    ?=
APP       ?=
GORELEASER = $(GO) run github.com/goreleaser/goreleaser/v2@v2.12.7
# What a person gives goes by the environment: a shell does not read it as part of a command.
export IDENTITY GATEWAY CALL TENANT APP DURATION FUZZTIME

.PHONY: help
help: ## list the tasks
	@awk -F ':.*## ' '/^##@ / { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ On this machine

.PHONY: run
run: app sandbox ## start everything on this machine and show the first calls; IDENTITY=az GATEWAY=real for the real things
	@build/sandbox -root $(ROOT) -identity "$$IDENTITY" -gateway "$$GATEWAY" -tenant "$$TENANT" -call "$$CALL"

.PHONY: demo
demo: app sandbox ## the same once; the exit status tells
	@build/sandbox -root $(ROOT) -once -identity "$$IDENTITY" -gateway "$$GATEWAY" -tenant "$$TENANT" -call "$$CALL"

.PHONY: app
app: $(ROOT)/handler $(ROOT)/host.json $(STAGED) ## stage the script root for this machine in build/app
	@for d in $(ROOT)/*/; do test -f functions/$$(basename $$d)/function.json || rm -r $$d; done

.PHONY: $(ROOT)/handler
$(ROOT)/handler:
	@echo "building $@ ..." >&2
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags=-s -o $@ ./handler
$(ROOT)/host.json: host.json
	@mkdir -p $(@D) && cp $< $@
$(ROOT)/%: functions/%
	@mkdir -p $(@D) && cp $< $@

.PHONY: sandbox
sandbox: ## build the sandbox: stand-ins for the host, the identity endpoint and the gateway
	@echo "building build/sandbox ..." >&2
	@CGO_ENABLED=0 $(GO) build -trimpath -o build/sandbox ./sandbox

.PHONY: start
start: app ## start with Azure Functions Core Tools and your az login
	@handler/start.sh $(ROOT)

##@ When a call is refused

.PHONY: doctor
doctor: app ## say why calls are refused, and how to mend it: here, or in a deployed app with APP=<name>
	@handler/doctor.sh $(ROOT)/handler "$$APP"

.PHONY: request
request: app ## print what to ask of the team that owns the API, as Markdown
	@$(ROOT)/handler doctor -request

##@ Package, deployment, release

.PHONY: deploy
deploy: ## deploy everything with azd (docs/deploy.md)
	@command -v azd >/dev/null || { echo "make deploy: azd is not installed: install the Azure Developer CLI (https://aka.ms/azd)" >&2; exit 1; }
	@azd up

.PHONY: package
package: ## write the zip that is deployed: build/relay.zip, the same bytes on every system
	@$(GO) run ./deploy/package -o build/relay.zip

.PHONY: sbom
sbom: ## CycloneDX bill of materials beside the package: build/relay.cdx.json
	@mkdir -p build
	GOBIN=$(CURDIR)/build/tools $(GO) install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
	GOOS=linux GOARCH=amd64 CGO_ENABLED=0 build/tools/cyclonedx-gomod app -json -licenses -std -main handler -output build/relay.cdx.json .

.PHONY: snapshot
snapshot: ## make what a release has, of this commit, in dist/; the first time GoReleaser is built, which takes minutes
	$(GORELEASER) release --snapshot --skip=docker --clean

.PHONY: release
release: ## make the release of the tag v1.2.3 that this commit has, as a draft (the workflow release runs it)
	$(GORELEASER) release --clean

##@ Tests and checks

.PHONY: test
test: ## run the tests that are fast: a minute; the last line names the others, which make check runs
	@$(GO) test -short ./...
	@echo "Left out, being slow (make check runs them): $(SLOW)"

# A test is slow that skips itself where testing.Short() is true.
ASK_SHORT = $(shell grep -rl --include='*_test.go' 'testing\.Short' $(SOURCES))
SLOW      = $(shell awk -F '[^A-Za-z0-9_]' 'FNR == 1 { at = -1 } /^func Test/ { name = $$2 } \
	/testing\.Short/ { at = FNR } FNR == at + 1 && /t\.Skip/ { print name }' $(ASK_SHORT))
empty     :=

.PHONY: test-host
# HOST is the command of a Functions host, with {root} for the script root and {port} for where it serves.
# Many shells have a HOST of their own, which holds no {port}.
test-host: sandbox ## play the handler on a Functions host: HOST='build/sandbox host -root {root} -addr 127.0.0.1:{port}', or func
	@case "$$HOST" in *"{port}"*) ;; *) HOST=func ;; esac; $(GO) test -count=1 -v -timeout 20m ./e2e/host -run '^TestHost$$' -host "$$HOST"

.PHONY: check
check: check-format check-vet check-static check-tidy check-race check-slow check-deploy ## everything that must hold before a change lands

.PHONY: check-format check-vet check-static check-tidy check-race check-slow
check-format:
	@test -z "$$(gofmt -l $(SOURCES))" || { echo "gofmt: these files are not formatted:"; gofmt -l $(SOURCES); exit 1; }
check-vet:
	$(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
check-static:
	$(GO) tool staticcheck ./...
check-tidy:
	$(GO) mod tidy -diff
check-race:
	$(GO) test -race -short ./...
check-slow:
	$(GO) test -run "^($(subst $(empty) $(empty),|,$(strip $(SLOW))))$$" $(addprefix ./,$(sort $(dir $(ASK_SHORT))))

.PHONY: check-deploy
check-deploy: ## check deploy/ as far as it goes without Azure
	@sh deploy/check/run

.PHONY: vuln
vuln: ## known vulnerabilities in what is built (needs vuln.go.dev)
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

build/az/bin/az:
	python3 -m venv build/az && build/az/bin/pip install -q azure-cli==2.91.0

.PHONY: test-az
test-az: build/az/bin/az ## sign the real Azure CLI in to the sandbox (installs it in build/az: 700 MB)
	APIMRELAY_REAL_AZ=$(CURDIR)/build/az/bin/az $(GO) test -count=1 -v -run TestRealAzureCLI ./handler/internal/identity

##@ Measurements and long runs

DURATION ?= 1h
FUZZTIME ?= 30s

.PHONY: soak
soak: ## callers, timers and queues in changing weather for DURATION (1h); figures at the end
	$(GO) test ./e2e -count=1 -v -timeout 0 -run '^TestSoak$$' -soak.duration "$$DURATION"

.PHONY: fuzz
# Left to itself Go takes up to a minute to make each input that reached new code shorter, and tries no others meanwhile.
fuzz: ## run each fuzz target for FUZZTIME (30s)
	@for f in $$(grep -rl --include='*_test.go' '^func Fuzz' $(SOURCES) | sort); do \
		for n in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$f); do \
			echo "$$(dirname $$f) $$n"; $(GO) test -run '^$$' -fuzz "^$$n$$" -fuzztime "$$FUZZTIME" -fuzzminimizetime 20x ./$$(dirname $$f) || exit 1; \
		done; \
	done

.PHONY: bench
bench: ## the handler beside what a user would write instead, in alternating rounds
	@$(GO) run ./handler/cmd/bench relay

.PHONY: bench-full
bench-full: ## the same with more and longer rounds
	@$(GO) run ./handler/cmd/bench relay -full

.PHONY: bench-scale
bench-scale: ## a thousand instances in virtual time
	@$(GO) test -count=1 -v -run '^TestScale$$' ./handler -scale.full

.PHONY: bench-token
bench-token: ## azidentity alone beside our token source, in one run
	@$(GO) run ./handler/cmd/bench token
