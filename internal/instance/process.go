package instance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/functions-worker/functions-worker/internal/gcpace"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Exit codes of the process of an instance.
const (
	ExitOK       = 0 // stopped by a signal, or idle for as long as its configuration allows
	ExitFailed   = 1 // it could not start, or failed for good
	ExitUsage    = 2 // wrong flags or configuration; starting it again will not help
	ExitOrphaned = 3 // the worker that started it is gone
)

// stopLimit is the time from a signal to a forced exit; workers kill after ten seconds.
const stopLimit = 9 * time.Second

// defaultConfFile is read, if it exists, when no configuration is given.
const defaultConfFile = "conf/conf.yaml"

// Process is an instance that has a process of its own.
type Process struct {
	// Args are the arguments of the command line: the flags of a Go function.
	Args []string
	// NoConfig is what to say when there is no configuration.
	NoConfig string
	// Load makes the program, which is closed at the end, and after it what it lives in: done, which may be nil.
	Load func(ctx context.Context, cfg *Config, log *zap.Logger) (program Program, done func(context.Context), err error)
	// State opens the state store of the configuration; nil, or a nil result: state is not enabled.
	State func(cfg *Config, log *zap.Logger) (open OpenState, stop func(), err error)
	// MaxConcurrency is Options.MaxConcurrency.
	MaxConcurrency int
	// KeysDirectory has the keys of end-to-end encryption.
	KeysDirectory string
}

// Run runs the instance until SIGTERM, SIGINT or SIGHUP, or until it ends by itself, and returns the exit code.
func (p Process) Run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	cfg, err := p.parseFlags(os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return ExitOK
	case err != nil:
		fmt.Fprintln(os.Stderr, "function:", err)
		return ExitUsage
	}
	log := newLog(os.Stdout, os.Getenv("LOGGING_LEVEL"))
	defer func() { _ = log.Sync() }() // stdout may be a pipe, which cannot be synced
	forced := context.AfterFunc(ctx, func() {
		time.AfterFunc(stopLimit, func() {
			log.Error("the function did not end in time, leaving it")
			os.Exit(ExitFailed)
		})
	})
	defer forced()
	return exitCode(log, p.serve(ctx, cfg, log))
}

func (p Process) serve(ctx context.Context, cfg *Config, log *zap.Logger) error {
	defer gcpace.Start()()
	program, done, err := p.Load(ctx, cfg, log)
	if err != nil {
		return fmt.Errorf("%w: loading the function: %w", ErrConfig, err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = program.Close(closing) // the process ends
		if done != nil {
			done(closing)
		}
	}()
	var open OpenState
	if p.State != nil {
		var stop func()
		if open, stop, err = p.State(cfg, log); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if stop != nil {
			defer stop()
		}
	}
	return Serve(ctx, cfg, program, ServeOptions{State: open, MaxConcurrency: p.MaxConcurrency, KeysDirectory: p.KeysDirectory}, log)
}

func exitCode(log *zap.Logger, err error) int {
	switch {
	case err == nil:
		log.Info("instance stopped")
		return ExitOK
	case errors.Is(err, ErrIdle):
		log.Info("instance stopped", zap.Error(err))
		return ExitOK
	case errors.Is(err, ErrOrphaned):
		log.Error("instance stopped", zap.Error(err))
		return ExitOrphaned
	case errors.Is(err, ErrConfig):
		log.Error("instance cannot run", zap.Error(err))
		return ExitUsage
	default:
		log.Error("instance failed", zap.Error(err))
		return ExitFailed
	}
}

// parseFlags reads the command line that a worker makes.
func (p Process) parseFlags(out io.Writer) (*Config, error) {
	flags := flag.NewFlagSet("function", flag.ContinueOnError)
	flags.SetOutput(out)
	text := flags.String("instance-conf", "", "the instance's configuration as `JSON`; it goes before the file, key by key")
	path := flags.String("instance-conf-path", "", "a YAML `file` with the instance's configuration (default "+defaultConfFile+", if it exists and -instance-conf is not given)")
	help := flags.Bool("help", false, "print this and exit")
	if err := flags.Parse(p.Args); err != nil {
		return nil, err
	}
	if *help {
		flags.Usage()
		return nil, flag.ErrHelp
	}
	if rest := flags.Args(); len(rest) > 0 {
		return nil, fmt.Errorf("unexpected argument %q; a function takes only flags (-help lists them)", rest[0])
	}
	if *text == "" && *path == "" {
		if _, err := os.Stat(defaultConfFile); err != nil {
			return nil, errors.New(p.NoConfig)
		}
		*path = defaultConfFile
	}
	config, err := ParseConfig(*path, *text)
	if err != nil {
		return nil, err
	}
	if config.HealthInterval == 0 { // workers leave it out of the configuration; ours tells it otherwise
		if seconds, err := strconv.Atoi(os.Getenv(pb.HealthIntervalVariable)); err == nil && seconds > 0 {
			config.HealthInterval = time.Duration(seconds) * time.Second
		}
	}
	return config, nil
}

// newLog writes lines for people; LOGGING_LEVEL (debug, info, warn, error) says from which level on.
func newLog(out io.Writer, level string) *zap.Logger {
	from, err := zapcore.ParseLevel(level)
	if err != nil || level == "" {
		from = zapcore.InfoLevel
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.ISO8601TimeEncoder
	encoding.EncodeLevel = zapcore.CapitalLevelEncoder
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.Lock(zapcore.AddSync(out)), from)
	log := zap.New(core)
	if err != nil && level != "" {
		log.Warn("LOGGING_LEVEL is none of debug, info, warn, error: info is used", zap.String("value", level))
	}
	return log
}
