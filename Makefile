# The two commands a new reader needs are `make run` and `make test`; everything is fetched by the go command.
GO ?= go
export CGO_ENABLED = 0

# The version that the embedded kubectl tells of itself: that of the k8s.io modules.
K8S = 1.37.2
LDFLAGS = -s -w -X k8s.io/component-base/version.gitVersion=v$(K8S) \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37
OUT ?= wheelhouse

.PHONY: run build fetch test test-race test-failures conformance lint generate bench bench-masters clean

# Build and run a master with three simulated nodes; the data stay (README says where).
run: build
	./wheelhouse server --simulate-nodes=3

build: fetch
	$(GO) build -ldflags '$(LDFLAGS)' -o $(OUT) ./cmd/wheelhouse

# The modules that build and tests need, in one step that a network may fail a few times.
fetch:
	@GO="$(GO)" test/tools/fetch.sh . ./...

# All tests: units, the real server on a real socket, kubectl scripts, recorded answers, kills. None is taken from go's cache, which
# does not see what a test runs in a process of its own, and would give the result of another binary.
test: fetch lint
	@GO="$(GO)" test/tools/fetch.sh test/tools tool
	@GO="$(GO)" test/tools/fetch.sh test/tools/code tool
	$(GO) test -count 1 -timeout 25m ./...

# The same with the race detector, which needs a C compiler.
test-race:
	CGO_ENABLED=1 $(GO) test -race -count 1 -timeout 60m ./...

# The long form of the failure tests, about half an hour: fifty kills, a soak, clocks that are wrong.
test-failures:
	$(GO) test -timeout 90m -count 1 ./test/failures -v -args -long -rounds 50 -duration 10m

# Upstream's conformance specs that need no container, against a master with simulated nodes; writes docs/conformance.md. Its first run
# builds upstream's programs, which takes ten minutes.
conformance:
	$(GO) run ./test/conformance -document docs/conformance.md

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...

generate:
	$(GO) generate ./...

# One table: ours against limits measured in the same run.
bench: build
	$(GO) run ./bench

# Three masters beside three bare etcd members; a gigabyte backed up and restored.
bench-masters: build
	$(GO) run ./bench -run 'masters|gigabyte'

clean:
	rm -rf wheelhouse
