package instance

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Control is the InstanceControl service of an engine (process contract, section 6).
type Control struct {
	pb.UnimplementedInstanceControlServer
	engine *Engine
	now    func() time.Time

	mu        sync.Mutex
	lastCheck time.Time
}

// NewControl makes the service; the time of its making counts as the first health check.
func NewControl(engine *Engine) *Control {
	return &Control{engine: engine, now: time.Now, lastCheck: time.Now()}
}

// GetFunctionStatus reports counters and the latest errors; running is true once all inputs are open.
func (c *Control) GetFunctionStatus(context.Context, *emptypb.Empty) (*pb.FunctionStatus, error) {
	return c.engine.stats.Status(c.engine.Running()), nil
}

// GetMetrics reports the counters.
func (c *Control) GetMetrics(context.Context, *emptypb.Empty) (*pb.MetricsData, error) {
	return c.engine.stats.Metrics(), nil
}

// GetAndResetMetrics reports the counters, then clears those of the minute and the user metrics.
func (c *Control) GetAndResetMetrics(context.Context, *emptypb.Empty) (*pb.MetricsData, error) {
	metrics := c.engine.stats.Metrics()
	c.engine.stats.Reset()
	return metrics, nil
}

// ResetMetrics clears the counters of the minute and the user metrics.
func (c *Control) ResetMetrics(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	c.engine.stats.Reset()
	return &emptypb.Empty{}, nil
}

// HealthCheck tells the instance that its worker is alive, and the worker that the instance is.
func (c *Control) HealthCheck(context.Context, *emptypb.Empty) (*pb.HealthCheckResult, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastCheck = c.now()
	return &pb.HealthCheckResult{Success: true}, nil
}

// Watch returns true when no health check came for more than three intervals, false when ctx ends first.
func (c *Control) Watch(ctx context.Context, interval time.Duration) bool {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
			c.mu.Lock()
			silent := c.now().Sub(c.lastCheck)
			c.mu.Unlock()
			if silent > 3*interval {
				return true
			}
		}
	}
}
