package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/app"
	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/wasm"
)

// instanceCommand runs one instance as a process of its own, for workers with the process or the Kubernetes runtime.
// It reads its flags by itself: those of a Go function have one dash.
func (o Options) instanceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "instance --package FILE|builtin://NAME -instance-conf JSON",
		Short: "Run one instance of a function compiled into this program, or of a WebAssembly module (what a worker starts)",
		Long: "Runs one instance of a function until SIGTERM, with the control service and the metrics on the ports of its configuration.\n" +
			"  --package FILE|builtin://NAME   a WebAssembly module, or the name of a function compiled into this program\n" +
			"  --wasm_limits JSON              what a module may use (default: nothing of the host)\n" +
			"  --encryption_keys DIRECTORY     keys of end-to-end encryption: TENANT/NAMESPACE/NAME.public.pem and NAME.private.pem\n" +
			"  --pending_async_requests N      messages that a function which can may handle at a time (default 1000)\n" +
			"and the flags of a Go function: -instance-conf JSON, -instance-conf-path FILE.",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "-h" || args[0] == "--help") {
				return cmd.Help()
			}
			own, rest, err := ownFlags(args)
			if err != nil {
				return err
			}
			if status := o.instance(own, rest).Run(); status != 0 {
				return exitStatus(status)
			}
			return nil
		},
	}
}

// instanceFlags are those that only this command has.
type instanceFlags struct {
	file    string
	pending int
	limits  wasm.Limits
	keys    string
}

// ownFlags takes its flags out of the arguments.
func ownFlags(args []string) (own instanceFlags, rest []string, err error) {
	own.limits = wasm.DefaultLimits()
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if name != "package" && name != "pending_async_requests" && name != "wasm_limits" && name != "encryption_keys" || !strings.HasPrefix(args[i], "-") {
			rest = append(rest, args[i])
			continue
		}
		if !joined {
			if i++; i == len(args) {
				return own, nil, fmt.Errorf("flag %s needs a value", args[i-1])
			}
			value = args[i]
		}
		switch name {
		case "package":
			own.file = value
			continue
		case "encryption_keys":
			own.keys = value
			continue
		case "wasm_limits":
			if err := json.Unmarshal([]byte(value), &own.limits); err != nil {
				return own, nil, fmt.Errorf("--wasm_limits: %w", err)
			}
			continue
		}
		if own.pending, err = strconv.Atoi(value); err != nil || own.pending < 1 {
			return own, nil, fmt.Errorf("--pending_async_requests: %q is not a number above 0", value)
		}
	}
	if own.file == "" {
		return own, nil, errors.New("--package is missing: a WebAssembly module, or builtin://NAME")
	}
	return own, rest, nil
}

func (o Options) instance(own instanceFlags, rest []string) instance.Process {
	return instance.Process{
		Args: rest, MaxConcurrency: own.pending, KeysDirectory: own.keys,
		NoConfig: "-instance-conf is missing: the configuration that a worker gives an instance",
		Load: func(ctx context.Context, cfg *instance.Config, log *zap.Logger) (instance.Program, func(context.Context), error) {
			host, err := wasm.NewHost(ctx, wasm.Options{Limits: own.limits, Log: log})
			if err != nil {
				return nil, nil, err
			}
			programs, closePrograms, err := app.NewPrograms(host, o.Functions)
			if err != nil {
				return nil, nil, err
			}
			pkg, hosted, err := programs.Package(cfg.Details, own.file)
			switch {
			case err == nil && !hosted:
				err = fmt.Errorf("%s: %w", own.file, instance.ErrNotHosted)
			case err == nil:
				pkg.Log = log
				var program instance.Program
				if program, err = programs.Load(ctx, pkg); err == nil {
					return program, closePrograms, nil
				}
			}
			closePrograms(ctx)
			return nil, nil, err
		},
		State: app.InstanceState,
	}
}
