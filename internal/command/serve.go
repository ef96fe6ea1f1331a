package command

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/functions-worker/functions-worker/internal/app"
	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/check"
	"github.com/functions-worker/functions-worker/internal/config"
)

// load reads the configuration from file, environment and flags.
func (o Options) load(cmd *cobra.Command) (*config.Worker, config.Report, error) {
	sources, err := config.SourcesFrom(cmd.Flags(), os.Environ())
	if err != nil {
		return nil, config.Report{}, err
	}
	sources.Runtimes = slices.Sorted(maps.Keys(o.Runtimes))
	return config.Load(sources)
}

// serve runs a worker until the command's context ends.
func (o Options) serve(cmd *cobra.Command) error {
	started := time.Now()
	cfg, report, err := o.load(cmd)
	if err != nil {
		for _, w := range report.Warnings {
			fmt.Fprintln(os.Stderr, "warning:", w)
		}
		return err
	}
	log, err := newLogger(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	log.Info("functions worker", zap.String("version", o.Version), zap.String("configuration", report.Path))
	for _, w := range report.Warnings {
		log.Warn("configuration", zap.String("key", w.Key), zap.String("warning", w.Text))
	}
	log.Debug("effective configuration", zap.String("yaml", cfg.Redacted()))
	worker, err := app.New(cfg, log, started, app.Extensions{Functions: o.Functions, Runtimes: o.Runtimes})
	if err != nil {
		return err
	}
	return worker.Run(cmd.Context())
}

// checkSetup prints what keeps a worker from running here; the exit status says whether one would run.
func (o Options) checkSetup(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	cfg, report, err := o.load(cmd)
	if err != nil {
		return tell(check.Refused(err, report), out)
	}
	result := check.Run(cmd.Context(), cfg, report, probes(cfg))
	if err := app.Supported(cfg); err != nil {
		result.Findings = append(result.Findings, check.Finding{Severity: check.Fail, Key: "configuration", What: err.Error()})
	}
	return tell(result, out)
}

func tell(result check.Result, out io.Writer) error {
	if err := result.Write(out); err != nil {
		return err
	}
	if status := result.ExitStatus(); status != 0 {
		return exitStatus(status)
	}
	return nil
}

// configCommand works on configuration files.
func configCommand() *cobra.Command {
	command := &cobra.Command{Use: "config", Short: "Work on configuration files", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	command.AddCommand(&cobra.Command{
		Use: "from-env FILE…", Short: "Write the PF_ environment variables into files, as the images' gen-yml-from-env.py does", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			for _, file := range files {
				warnings, err := config.WriteEnv(file, os.Environ())
				if err != nil {
					return err
				}
				for _, w := range warnings {
					fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
				}
			}
			return nil
		},
	})
	return command
}

// probes looks at the broker with the worker's own clients, where the configuration allows to make them.
func probes(cfg *config.Worker) check.Probes {
	p := check.System(cfg)
	if cfg.StateStorageServiceURL != "" && cfg.Computed.State == config.StateBookKeeper {
		p.State = func(ctx context.Context) error {
			store, err := app.NewState(cfg, zap.NewNop())
			if err != nil || store == nil {
				return err
			}
			defer store.Close()
			return store.Ping(ctx)
		}
	}
	if cfg.Computed.Runtime == config.RuntimeKubernetes {
		p.Kubernetes = func(ctx context.Context) ([]check.Right, int, error) { return app.MissingRights(ctx, cfg) }
	}
	p.OwnRole = func(ctx context.Context) error { return app.CheckOwnRole(ctx, cfg) }
	brokerConfig := app.BrokerConfig(cfg)
	admin, err := broker.NewAdmin(brokerConfig, zap.NewNop())
	if err != nil {
		p.Connect = func(context.Context) error { return err }
		return p
	}
	p.Admin = admin
	p.Connect = func(ctx context.Context) error {
		client, err := broker.NewClient(brokerConfig, zap.NewNop())
		if err != nil {
			return err
		}
		defer client.Close()
		_, err = client.TopicPartitions(cfg.Computed.MetadataTopic)
		if err != nil && strings.Contains(err.Error(), "TopicNotFound") { // the client gives no typed error
			return nil // the first worker makes namespace and topics
		}
		return err
	}
	if cfg.Computed.PackageStore == "broker" {
		p.Packages = func(ctx context.Context) error {
			_, err := admin.PackageMetadata(ctx, broker.PackageName{Type: "function", Tenant: "public", Namespace: "default", Name: "no-such-package", Version: "none"})
			if broker.IsNotFound(err) {
				return nil
			}
			return err
		}
	}
	return p
}

// newLogger writes to stdout, as the container logs of the Java worker do.
func newLogger(cfg *config.Worker) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(cfg.Go.LogLevel)
	if err != nil {
		return nil, fmt.Errorf("goWorker.logLevel: %w", err)
	}
	c := zap.NewProductionConfig()
	c.Level = zap.NewAtomicLevelAt(level)
	c.OutputPaths, c.ErrorOutputPaths = []string{"stdout"}, []string{"stderr"}
	c.DisableStacktrace, c.DisableCaller, c.Sampling = true, true, nil
	c.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	c.EncoderConfig.EncodeDuration = zapcore.StringDurationEncoder
	if cfg.Go.LogFormat != "json" {
		c.Encoding = "console"
		c.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
	}
	return c.Build()
}
