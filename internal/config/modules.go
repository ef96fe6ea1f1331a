package config

// WASMOwn are what the operator allows functions that are WebAssembly modules (docs/wasm-functions.md).
type WASMOwn struct {
	CacheDirectory string   `yaml:"cacheDirectory" cat:"A" desc:"Directory that keeps compiled WebAssembly over restarts. What is there is executed: only the worker may be able to write it. Blank: functions-worker/wasm in the user's cache directory (XDG_CACHE_HOME or ~/.cache); where there is none, nothing is kept."`
	MaxModuleSize  ByteSize `yaml:"maxModuleSize" default:"64MiB" min:"1" cat:"A" desc:"Largest module that is run."`
	MaxMemory      ByteSize `yaml:"maxMemory" default:"256MiB" min:"65536" cat:"A" desc:"Most memory that a function may give to one guest (customRuntimeOptions wasm.maxMemory)."`
	DefaultMemory  ByteSize `yaml:"defaultMemory" default:"64MiB" min:"65536" cat:"A" desc:"Memory of a guest whose function does not say."`
	MaxTimeout     duration `yaml:"maxTimeout" default:"1m" min:"1" cat:"A" desc:"Longest time that a function may give to a guest for one message (wasm.timeout)."`
	DefaultTimeout duration `yaml:"defaultTimeout" default:"5s" min:"1" cat:"A" desc:"Time of a guest for one message when its function does not say."`
	MaxOutput      ByteSize `yaml:"maxOutput" default:"5MiB" min:"1" cat:"A" desc:"Largest result of a guest."`
	Directories    []string `yaml:"directories" cat:"A" desc:"Directories of the host of which functions may let their guests see parts (wasm.grants.directories)."`
	Environment    []string `yaml:"environment" cat:"A" desc:"Environment variables of the worker that functions may show to their guests (wasm.grants.environment)."`
}
