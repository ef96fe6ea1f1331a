package app

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/archive"
	"github.com/functions-worker/functions-worker/internal/catalog"
	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/goroutine"
	"github.com/functions-worker/functions-worker/internal/transform"
	"github.com/functions-worker/functions-worker/internal/wasm"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// NewRuntime makes a runtime of somebody else's from functionRuntimeFactoryConfigs.
type NewRuntime func(settings map[string]any) (runtime.Factory, error)

// Extensions are what a program has compiled in beyond the worker.
type Extensions struct {
	Functions []instance.Builtin
	// Runtimes by the class name that selects them.
	Runtimes map[string]NewRuntime
}

// NewPrograms makes what can run without a program of another language, around a host for WebAssembly. stop closes both.
func NewPrograms(host *wasm.Host, functions []instance.Builtin) (programs *instance.Programs, stop func(context.Context), err error) {
	stop = func(ctx context.Context) { _ = host.Close(ctx) } // what it cannot free ends with the process
	if programs, err = instance.NewPrograms(host.Load, append([]instance.Builtin{transform.Builtin()}, functions...)...); err != nil {
		stop(context.Background())
		return nil, nil, err
	}
	return programs, stop, nil
}

// podHost says why pods cannot run modules; nil if they can.
type podHost interface{ HostsPrograms() error }

// checkPackage refuses a WebAssembly module that could not run, when it is submitted. The name of a module is made to end as modules' names
// do: whoever makes its pod, or checks an update without its package, sees nothing else of it. pods is nil when functions do not run in any.
func checkPackage(limits wasm.Limits, pods podHost) func(d *pb.FunctionDetails, file, name string) (string, error) {
	return func(d *pb.FunctionDetails, file, name string) (string, error) {
		if d.GetRuntime() != pb.FunctionDetails_GO {
			return name, nil
		}
		if file == "" { // the package stays: what the options say of a module can be judged without it
			if !strings.Contains(d.GetCustomRuntimeOptions(), `"wasm"`) {
				return name, nil
			}
			_, err := wasm.ParseSettings(d.GetCustomRuntimeOptions(), limits)
			return name, err
		}
		isModule, err := instance.IsWASM(file)
		if err != nil {
			return name, err
		}
		if !isModule {
			if pods != nil && instance.NamedAsWASM(name) {
				return name, fmt.Errorf("the package is called %s, but it is no WebAssembly module; pods tell modules from programs by the name", name)
			}
			return name, nil
		}
		if !instance.NamedAsWASM(name) {
			name += instance.WASMSuffix
		}
		if pods != nil {
			if err := pods.HostsPrograms(); err != nil {
				return name, err
			}
		}
		f, err := os.Open(file)
		if err != nil {
			return name, fmt.Errorf("reading the package: %w", err)
		}
		defer f.Close()
		if _, err := wasm.Inspect(f, limits); err != nil {
			return name, fmt.Errorf("the WebAssembly module cannot run: %w", err)
		}
		_, err = wasm.ParseSettings(d.GetCustomRuntimeOptions(), limits)
		return name, err
	}
}

// compiledIn is how the catalog shows the compiled-in functions.
func compiledIn(programs *instance.Programs) []catalog.FunctionDefinition {
	var list []catalog.FunctionDefinition
	for _, b := range programs.Builtins() {
		if b.Kind != pb.FunctionDetails_FUNCTION {
			continue
		}
		d := catalog.FunctionDefinition{Name: b.Name}
		if b.Description != "" {
			d.Description = &b.Description
		}
		list = append(list, d)
	}
	return list
}

// compiledConnectors is how the catalog shows the compiled-in sources and sinks, those of one name together.
func compiledConnectors(programs *instance.Programs) []catalog.CompiledConnector {
	var list []catalog.CompiledConnector
	at := map[string]int{}
	for _, b := range programs.Builtins() {
		if b.Kind == pb.FunctionDetails_FUNCTION {
			continue
		}
		i, ok := at[b.Name]
		if !ok {
			i = len(list)
			at[b.Name] = i
			list = append(list, catalog.CompiledConnector{ConnectorDefinition: catalog.ConnectorDefinition{Name: b.Name}})
		}
		c := &list[i]
		if b.Description != "" && c.Description == nil {
			c.Description = &b.Description
		}
		if b.Kind == pb.FunctionDetails_SOURCE {
			c.SourceClass, c.SourceFields = &b.Name, configFields(b.Fields)
		} else {
			c.SinkClass, c.SinkFields = &b.Name, configFields(b.Fields)
		}
	}
	return list
}

// configFields are in the form that archives have; nil stays nil.
func configFields(fields []instance.ConfigField) []archive.ConfigField {
	if fields == nil {
		return nil
	}
	list := make([]archive.ConfigField, len(fields))
	for i, f := range fields {
		list[i] = archive.ConfigField{FieldName: f.Name, TypeName: f.Type, Attributes: map[string]string{
			"required": strconv.FormatBool(f.Required), "sensitive": strconv.FormatBool(f.Sensitive), "defaultValue": f.Default, "help": f.Help,
		}}
	}
	return list
}

// newFactory makes the runtime that the configuration selects.
func (a *App) newFactory(runtimes map[string]NewRuntime) (runtime.Factory, error) {
	cfg, log := a.cfg, a.log
	switch cfg.Computed.Runtime {
	case config.RuntimeKubernetes:
		pods, err := newKubernetesFactory(cfg, a.programs, a.rescale, log.Named("kubernetes"))
		if err != nil {
			return nil, err
		}
		a.pods = pods
		return pods, nil
	case config.RuntimeCustom:
		factory, err := runtimes[cfg.Computed.RuntimeClass](cfg.FunctionRuntimeFactoryConfigs)
		if err != nil {
			return nil, fmt.Errorf("making the runtime %s: %w", cfg.Computed.RuntimeClass, err)
		}
		return factory, nil
	}
	processes, err := newProcessFactory(cfg, a.security, a.programs, log.Named("process"))
	if err != nil || cfg.Computed.Runtime == config.RuntimeProcess {
		return processes, err
	}
	factory, err := a.newGoroutineFactory(processes, log.Named("thread"))
	if err != nil {
		_ = processes.Close(context.Background()) // it runs nothing yet
		return nil, err
	}
	return factory, nil
}

// newGoroutineFactory makes the runtime behind ThreadRuntimeFactory; others runs what cannot run in this process.
func (a *App) newGoroutineFactory(others runtime.Factory, log *zap.Logger) (runtime.Factory, error) {
	cfg := a.cfg
	towards, own := a.security.functionBroker(cfg)
	hostname, err := os.Hostname()
	if err != nil {
		hostname = cfg.WorkerHostname
	}
	options := goroutine.Options{
		Programs: a.programs, Others: others, Broker: towards, FunctionAuth: own, State: a.openState,
		LogDirectory: cfg.Computed.Process.LogDirectory, ClusterName: cfg.PulsarFunctionsCluster, Hostname: hostname,
		EncryptionKeys: cfg.Go.EncryptionKeysDirectory, MaxPendingAsyncRequests: int(cfg.MaxPendingAsyncRequests), StopGrace: cfg.Go.InstanceStopTimeout, Log: log,
	}
	if limit := cfg.Computed.Thread.PulsarClientMemoryLimit; limit != nil && limit.AbsoluteValue != nil {
		options.MemoryLimit = *limit.AbsoluteValue
	}
	factory, err := goroutine.New(options)
	if err != nil {
		return nil, err
	}
	return factory, nil
}
