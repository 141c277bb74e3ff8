# make up     builds mote and runs everything on this machine
# make test   runs every check and test; as root it installs what they need
.PHONY: up build gateway test check unit narrow fuzz torture bench cross tools

GO      ?= go
LDFLAGS := -s -w

up: build
	./bin/mote up

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/mote ./cmd/mote

# The gateway and its tools alone, without the cloud: bin/mote-gateway, for
# machines with little memory and small cards.
gateway:
	CGO_ENABLED=0 $(GO) build -tags gateway -trimpath -ldflags '$(LDFLAGS)' -o bin/mote-gateway ./cmd/mote

test: tools check cross unit narrow

# The tests talk to real clients: mosquitto, the AWS CLI, boto3, curl, a browser.
tools:
	./test/install-tools

check:
	@files=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); test -z "$$files" || { echo "gofmt would change: $$files"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags gateway ./cmd/mote
	$(GO) tool staticcheck ./...

# One architecture of each kind that boards' gateways have.
cross:
	CGO_ENABLED=0 GOOS=linux GOARCH=arm GOARM=6 $(GO) build -tags gateway -o /dev/null ./cmd/mote
	CGO_ENABLED=0 GOOS=linux GOARCH=arm GOARM=6 $(GO) build -o /dev/null ./cmd/mote
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/mote

# The whole-system tests have the machine to themselves: they kill, freeze and
# time real processes.
unit: build
	$(GO) test -race $$($(GO) list ./... | grep -v '^mote/test$$')
	$(GO) test -race ./test

# Small gateways have 32-bit integers: what computes with numbers and sizes runs
# as such a program too, where the machine can.
NARROW := ./internal/reading ./internal/mqtt ./internal/iotsql/... ./internal/sigv4 ./internal/cloud/table ./internal/edge/frame ./internal/edge/spool
narrow:
ifeq ($(shell $(GO) env GOHOSTARCH),amd64)
	CGO_ENABLED=0 GOARCH=386 $(GO) test $(NARROW)
endif

# Every fuzz target, for FUZZTIME each.
FUZZTIME ?= 30s
fuzz:
	./test/fuzz $(FUZZTIME)

# kill -9 of gateway and cloud under load, twenty times each.
torture: build
	$(GO) test ./test/... -run 'Torture' -count=1 -v -timeout 60m -torture=20

bench: build gateway
	./bench/run
