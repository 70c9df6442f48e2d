# The two commands a new reader needs are `make run` and `make test`; everything is fetched by the go command.
GO ?= go
export CGO_ENABLED = 0

# The version that the embedded kubectl tells of itself: that of the k8s.io modules.
K8S = 1.37.2
LDFLAGS = -s -w -X k8s.io/component-base/version.gitVersion=v$(K8S) \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37
OUT ?= wheelhouse

.PHONY: run build test test-race lint generate bench clean

# Build and run a master with three simulated nodes; its data stays in data/.
run: build
	./wheelhouse server --simulate-nodes=3

build:
	$(GO) build -ldflags '$(LDFLAGS)' -o $(OUT) ./cmd/wheelhouse

# All tests: units, the real server on a real socket, kubectl scripts, recorded answers, kills.
test: lint
	$(GO) test -timeout 25m ./...

# The same with the race detector, which needs a C compiler.
test-race:
	CGO_ENABLED=1 $(GO) test -race -timeout 60m ./...

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...

generate:
	$(GO) generate ./...

# One table: ours against limits measured in the same run.
bench: build
	$(GO) run ./bench

clean:
	rm -rf wheelhouse
