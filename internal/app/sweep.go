package app

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// sweeper removes what uploads left behind whose worker died under them.
type sweeper interface {
	Sweep(ctx context.Context, age time.Duration) (removed int, err error)
}

// An upload that has not ended after sweepAge never will: requests are cut long before.
const (
	sweepEvery = time.Hour
	sweepAge   = time.Hour
)

// sweep lets the leader remove leftovers now and then, until ctx ends.
func (a *App) sweep(ctx context.Context) {
	if a.sweeper == nil {
		return
	}
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !a.node.IsLeader() {
			continue
		}
		removed, err := a.sweeper.Sweep(ctx, sweepAge)
		if err != nil {
			a.log.Warn("leftovers of broken uploads could not be removed; the next try is in an hour", zap.Error(err))
		} else if removed > 0 {
			a.log.Info("leftovers of broken uploads are removed", zap.Int("topics", removed))
		}
	}
}
