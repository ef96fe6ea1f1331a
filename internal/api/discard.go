package api

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// discard deletes packages that were stored for a change which did not happen.
func (s *Server) discard(keys []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, key := range keys {
		if err := s.opts.Store.Delete(ctx, key); err != nil {
			s.log.Warn("a package of a failed request could not be removed", zap.String("package", key), zap.Error(err))
		}
	}
}
