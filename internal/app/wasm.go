package app

import (
	"context"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/wasm"
)

// NewWASMHost makes the host of WebAssembly modules, one per process.
func NewWASMHost(ctx context.Context, cfg *config.Worker, log *zap.Logger) (*wasm.Host, error) {
	return wasm.NewHost(ctx, wasm.Options{CacheDirectory: cfg.Computed.Files.WASMCacheDirectory, Limits: WASMLimits(cfg), Log: log})
}

// WASMLimits are what the operator allows modules.
func WASMLimits(cfg *config.Worker) wasm.Limits {
	own := cfg.Go.WASM
	return wasm.Limits{
		Memory: uint64(own.MaxMemory), DefaultMemory: uint64(own.DefaultMemory),
		Timeout: own.MaxTimeout, DefaultTimeout: own.DefaultTimeout, Output: uint64(own.MaxOutput), Module: int64(own.MaxModuleSize),
		Directories: own.Directories, Environment: own.Environment,
	}
}
