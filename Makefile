# Two commands do everything: `make run` and `make test`. The rest is for daily work.
BIN     := bin/functions-worker
PROTOC_GEN_GO      := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
PROTOC_GEN_GO_GRPC := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
MODULE  := github.com/functions-worker/functions-worker
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: run test test-differential test-kubernetes test-image image-rootfs check fuzz bench security build fmt docs proto clean help

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: build ## broker, worker and example functions in Java, Python and Go; Ctrl-C ends all
	@scripts/run.sh

test: ## every test; brings in, starts and stops what they need
	@scripts/test.sh

test-kubernetes: ## the Kubernetes runtime against a real control plane, which is built first (minutes, once)
	@scripts/test.sh kubernetes kubernetes-life

test-differential: ## the same requests to this worker and to the Java worker
	@scripts/test.sh differential

test-image: ## the image's files in pods of a real control plane, from the official chart's command (as root)
	@scripts/test.sh image

image-rootfs: build ## the slim image's file system in bin/rootfs, without a container engine
	rm -rf bin/rootfs && deploy/image/rootfs.sh bin/rootfs $(BIN) "$$(command -v busybox)" && du -sb bin/rootfs

check: ## format, vet, lint and unit tests with the race detector
	@scripts/check.sh

fuzz: ## every reader of foreign input for ten minutes each (FUZZTIME=30s: shorter)
	@scripts/fuzz.sh

security: ## known vulnerabilities (govulncheck) and suspicious code (gosec)
	@scripts/security.sh

bench: build ## figures of this worker and of the Java worker, in the same run
	@scripts/bench.sh

build: ## the worker's static binary in bin/
	@scripts/need-go.sh
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/functions-worker

fmt: ## gofmt
	gofmt -w $$(git ls-files '*.go')

docs: ## what is generated from the code
	go generate ./internal/config/...

proto: ## Go code from proto/ (needs protoc)
	GOBIN=$(CURDIR)/.cache/bin go install $(PROTOC_GEN_GO)
	GOBIN=$(CURDIR)/.cache/bin go install $(PROTOC_GEN_GO_GRPC)
	PATH=$(CURDIR)/.cache/bin:$$PATH protoc -I proto --go_out=internal/pb --go_opt=paths=source_relative \
		--go-grpc_out=internal/pb --go-grpc_opt=paths=source_relative proto/*.proto
	PATH=$(CURDIR)/.cache/bin:$$PATH protoc -I proto --go_out=. --go_opt=module=$(MODULE) \
		--go-grpc_out=. --go-grpc_opt=module=$(MODULE) proto/bookkeeper/*.proto
	cd internal/pb && mv Function.pb.go function.pb.go && mv Request.pb.go request.pb.go && \
		mv InstanceCommunication.pb.go instance_communication.pb.go && \
		mv InstanceCommunication_grpc.pb.go instance_communication_grpc.pb.go

clean: ## what was built (the downloads in .cache stay)
	rm -rf bin
