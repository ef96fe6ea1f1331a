// Package check answers "would a worker with this configuration run here?" without starting one: files, directories,
// programs, ports, certificates, the broker, and the rights in it. It is what `functions-worker check` runs.
//
// Every check yields findings, each with what was seen and what to do. The checks run side by side, each with a
// deadline of its own, and are printed in a fixed order. What needs the packages around the broker comes in through
// Probes, so that the decisions can be tested without any of it.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/functions-worker/functions-worker/internal/config"
)

// Severity of a finding.
type Severity int

// OK needs nothing; Warn lets a worker start, but something will not work; Fail keeps it from starting or serving.
const (
	OK Severity = iota
	Warn
	Fail
)

func (s Severity) String() string { return [...]string{"ok", "warn", "FAIL"}[s] }

// Finding is the result of one look at one thing.
type Finding struct {
	Severity Severity
	Key      string // the configuration key or thing looked at
	What     string
	Remedy   string // "" when there is nothing to do
}

// Result is all findings in order.
type Result struct{ Findings []Finding }

// ExitStatus is 1 when anything failed, else 0.
func (r Result) ExitStatus() int {
	if r.count(Fail) > 0 {
		return 1
	}
	return 0
}

func (r Result) count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Write prints one line per finding, with the remedy below it, and a summary.
func (r Result) Write(out io.Writer) error {
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(out, "%-5s %s: %s\n", f.Severity, f.Key, f.What); err != nil {
			return err
		}
		if f.Remedy != "" {
			if _, err := fmt.Fprintf(out, "      remedy: %s\n", f.Remedy); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(out, "%d checked, %d failed, %d to look at\n", len(r.Findings), r.count(Fail), r.count(Warn))
	return err
}

// Admin is what is asked of the broker's admin interface, with the worker's credentials.
type Admin interface {
	Clusters(ctx context.Context) ([]string, error)
	// ActAsSuperuser fails when the worker's role is no superuser of the broker.
	ActAsSuperuser(ctx context.Context) error
	TenantExists(ctx context.Context, tenant string) (bool, error)
	Namespaces(ctx context.Context, tenant string) ([]string, error)
	Topics(ctx context.Context, namespace string) ([]string, error)
}

// Probes are the ways to look at the world. System fills all but the first group, which the caller supplies; a nil
// field means that its check is left out.
type Probes struct {
	Admin Admin
	// Connect makes a binary connection to the broker with the worker's credentials and looks a topic up.
	Connect func(ctx context.Context) error
	// Packages asks the broker's packages service, when it is the package store.
	Packages func(ctx context.Context) error
	// Kubernetes asks the API server which rights are missing, when functions run there, and says how many were asked for.
	Kubernetes func(ctx context.Context) (missing []Right, asked int, err error)
	// OwnRole asks what other workers with this configuration would say to this worker's credentials.
	OwnRole func(ctx context.Context) error
	// State asks the table service that keeps the state of functions, when one is configured.
	State func(ctx context.Context) error

	Run func(ctx context.Context, name string, args ...string) (output string, err error)
	// AsFunction runs a program as the user of functions; nil when they have none of their own.
	AsFunction func(ctx context.Context, name string, args ...string) (output string, err error)
	FindFile   func(name string) (string, error) // a program in PATH
	Get        func(ctx context.Context, url string) (Answer, error)
	Dial       func(ctx context.Context, address string) error
	Listen     func(address string) error // whether the address is free
	Resolve    func(ctx context.Context, host string) error
	Now        func() time.Time
	Timeout    time.Duration // of one check; 20 s when 0
}

// Answer is what matters of an HTTP answer.
type Answer struct {
	Status int
	Date   time.Time // zero when the answer had none
}

type step func(ctx context.Context, w *config.Worker, p Probes) []Finding

// Run makes all checks for a loaded configuration; report is what loading said.
func Run(ctx context.Context, w *config.Worker, report config.Report, p Probes) Result {
	if p.Timeout <= 0 {
		p.Timeout = 20 * time.Second
	}
	steps := []step{checkIdentity, checkPorts, checkTLS, checkSecretFiles, checkDirectories, checkJava, checkPython, checkFunctionUser,
		checkBrokerWeb, checkRights, checkOwnRole, checkBrokerBinary, checkPackages, checkState, checkKubernetes}
	results := make([][]Finding, len(steps))
	var group sync.WaitGroup
	for i, s := range steps {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, p.Timeout)
			defer cancel()
			results[i] = s(ctx, w, p)
		})
	}
	group.Wait()
	all := Result{Findings: []Finding{{Key: "configuration", What: report.Path + " can be used"}}}
	for _, warning := range report.Warnings {
		all.Findings = append(all.Findings, Finding{Severity: Warn, Key: warning.Key, What: warning.Text})
	}
	for _, findings := range results {
		all.Findings = append(all.Findings, findings...)
	}
	return all
}

// Refused turns the error of config.Load into a result.
func Refused(err error, report config.Report) Result {
	var r Result
	var problems *config.Error
	if !errors.As(err, &problems) {
		return Result{Findings: []Finding{{Severity: Fail, Key: "configuration", What: err.Error()}}}
	}
	for _, p := range problems.Problems {
		what := p.What
		if p.Value != "" {
			what = fmt.Sprintf("%q: %s", p.Value, what)
		}
		if p.Accepted != "" {
			what += "; accepted: " + p.Accepted
		}
		r.Findings = append(r.Findings, Finding{Severity: Fail, Key: p.Key, What: what, Remedy: p.Remedy})
	}
	for _, warning := range report.Warnings {
		r.Findings = append(r.Findings, Finding{Severity: Warn, Key: warning.Key, What: warning.Text})
	}
	return r
}

func ok(key, format string, args ...any) Finding {
	return Finding{Severity: OK, Key: key, What: fmt.Sprintf(format, args...)}
}

func warn(key, remedy, format string, args ...any) Finding {
	return Finding{Severity: Warn, Key: key, What: fmt.Sprintf(format, args...), Remedy: remedy}
}

func fail(key, remedy, format string, args ...any) Finding {
	return Finding{Severity: Fail, Key: key, What: fmt.Sprintf(format, args...), Remedy: remedy}
}
