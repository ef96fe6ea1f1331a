package function

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

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Exit codes of a function process.
const (
	// ExitOK: stopped by a signal, or idle for as long as its configuration allows.
	ExitOK = 0
	// ExitFailed: the instance could not start, or failed for good; the last line of the log says why.
	ExitFailed = 1
	// ExitUsage: wrong flags, configuration or handler; starting it again will not help.
	ExitUsage = 2
	// ExitOrphaned: the worker that started it is gone.
	ExitOrphaned = 3
)

// stopLimit is the time from a signal to a forced exit; workers kill after ten seconds.
const stopLimit = 9 * time.Second

// defaultConfFile is read, if it exists, when no configuration is given.
const defaultConfFile = "conf/conf.yaml"

// Start runs handler as a Pulsar function and ends the process when the instance ends; it does not return.
//
// The handler is a function of one of these forms, where In and Out are []byte, string, json.RawMessage, a Go type that
// is read from and written as JSON, or a pointer to one; Out can also be *Message, for a result with key, properties or
// a topic of its own:
//
//	func()                          func() error
//	func(In) error                  func(In) (Out, error)
//	func() (Out, error)             func(context.Context) error
//	func(context.Context, In) error func(context.Context) (Out, error)
//	func(context.Context, In) (Out, error)
//
// Any other form ends the process with ExitUsage and a message that says what is wrong.
func Start(handler any) {
	a, err := adapt(handler)
	os.Exit(start(a, err))
}

// Run is Start for a handler whose types the compiler checks.
func Run[In, Out any](handler func(ctx context.Context, in In) (Out, error)) {
	Start(handler)
}

func start(a adapted, adaptErr error) int {
	if adaptErr != nil {
		fmt.Fprintln(os.Stderr, "function:", adaptErr)
		return ExitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	cfg, err := parseFlags(os.Args[1:], os.Stderr)
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
	return exitCode(log, instance.Serve(ctx, cfg, a.handler, a.schemas, log))
}

func exitCode(log *zap.Logger, err error) int {
	switch {
	case err == nil:
		log.Info("instance stopped")
		return ExitOK
	case errors.Is(err, instance.ErrIdle):
		log.Info("instance stopped", zap.Error(err))
		return ExitOK
	case errors.Is(err, instance.ErrOrphaned):
		log.Error("instance stopped", zap.Error(err))
		return ExitOrphaned
	case errors.Is(err, instance.ErrConfig):
		log.Error("instance cannot run", zap.Error(err))
		return ExitUsage
	default:
		log.Error("instance failed", zap.Error(err))
		return ExitFailed
	}
}

// parseFlags reads the command line that a worker makes.
func parseFlags(args []string, out io.Writer) (*instance.Config, error) {
	flags := flag.NewFlagSet("function", flag.ContinueOnError)
	flags.SetOutput(out)
	text := flags.String("instance-conf", "", "the instance's configuration as `JSON`; it goes before the file, key by key")
	path := flags.String("instance-conf-path", "", "a YAML `file` with the instance's configuration (default "+defaultConfFile+", if it exists and -instance-conf is not given)")
	help := flags.Bool("help", false, "print this and exit")
	if err := flags.Parse(args); err != nil {
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
			return nil, errors.New("this program is a Pulsar function: a functions worker starts it with -instance-conf; " +
				"submit it with: pulsar-admin functions create --go <this file> --name … --inputs … --output …")
		}
		*path = defaultConfFile
	}
	config, err := instance.ParseConfig(*path, *text)
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
