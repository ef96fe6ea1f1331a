package app

import (
	"context"
	"io"

	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/metrics"
	"github.com/functions-worker/functions-worker/internal/supervisor"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// observer hands what the parts of the worker do to the metrics.
type observer struct{ *metrics.Worker }

func (o observer) PhaseChanged(string, supervisor.Phase) {}

func (o observer) InstanceEnded(string, runtime.Exit) {}

// newMetrics makes the families; the parts that they ask exist only later, when the first scrape comes.
func (a *App) newMetrics(cfg *config.Worker) *metrics.Worker {
	return metrics.NewWorker(metrics.Options{
		Cluster:   cfg.PulsarFunctionsCluster,
		Instances: func() int { return len(a.node.Own()) },
		Leader: func() (metrics.LeaderNumbers, bool) {
			if !a.node.LeaderReady() {
				return metrics.LeaderNumbers{}, false
			}
			functions, instances := a.node.Counts()
			return metrics.LeaderNumbers{Functions: functions, ExpectedInstances: instances}, true
		},
		Scrape:        func(ctx context.Context, w io.Writer) error { return a.supervisor.Scrape(ctx, w) },
		Standard:      cfg.IncludeStandardPrometheusMetrics,
		ScrapeTimeout: 2 * cfg.Go.ScrapeTimeout,
	})
}
