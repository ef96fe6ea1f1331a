package api

import (
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

func (s *Server) version(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]string{"version": s.opts.Version})
	return nil
}

// initialized answers true, as JSON when that is asked for, else as text; 503 until then.
func (s *Server) initialized(w http.ResponseWriter, r *http.Request) error {
	if !s.opts.Cluster.Initialized() {
		return framework(http.StatusServiceUnavailable, "Service Unavailable")
	}
	if r.Header.Get("Accept") != "" && accepts(r, "application/json") {
		writeJSON(w, http.StatusOK, true)
		return nil
	}
	writeText(w, r, "true")
	return nil
}

// live answers as long as the process can answer at all.
func (s *Server) live(w http.ResponseWriter, r *http.Request) error {
	writeText(w, r, "ok\n")
	return nil
}

// ready answers 200 once the worker takes part in the cluster.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	if !s.opts.Cluster.Initialized() {
		return fail(http.StatusServiceUnavailable, textNotInitialized)
	}
	writeText(w, r, "ok\n")
	return nil
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) error {
	if s.opts.Metrics == nil {
		w.Header().Set("Content-Type", "text/plain;charset=utf-8;version=0.0.4")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if !accepts(r, "text/plain") {
		return framework(http.StatusNotAcceptable, "Not Acceptable")
	}
	s.opts.Metrics.ServeHTTP(w, r)
	return nil
}

// dimensioned is the wrapper of worker-stats/metrics.
type dimensioned struct {
	Metrics    map[string]any    `json:"metrics"` // written in the order of the keys
	Dimensions map[string]string `json:"dimensions"`
}

// processMetrics answers numbers of this process under the names that the Java worker uses.
func (s *Server) processMetrics(w http.ResponseWriter, _ *http.Request) error {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		limit = int64(mem.Sys)
	}
	minutes := max(s.opts.Clock().Sub(s.started).Minutes(), 1)
	writeJSON(w, http.StatusOK, []dimensioned{{
		Dimensions: map[string]string{"metric": "jvm_metrics"},
		Metrics: map[string]any{
			"jvm_start_time":             s.started.UnixMilli(),
			"jvm_heap_used":              mem.HeapAlloc,
			"jvm_total_memory":           mem.HeapSys,
			"jvm_max_memory":             limit,
			"jvm_direct_memory_used":     0,
			"jvm_max_direct_memory":      limit,
			"jvm_thread_cnt":             threads(),
			"jvm_full_gc_count":          0,
			"jvm_full_gc_pause":          0,
			"jvm_gc_young_count":         int64(float64(mem.NumGC) / minutes), // per minute, over the life of the process
			"jvm_gc_young_pause":         int64(float64(mem.PauseTotalNs) / 1e6 / minutes),
			"jvm_gc_old_count":           0,
			"jvm_gc_old_pause":           0,
			"fun_default_pool_allocated": 0,
			"fun_default_pool_used":      0,
			"go_goroutines":              runtime.NumGoroutine(),
		},
	}})
	return nil
}

// threads is the number of operating system threads, or of goroutines where the runtime does not tell.
func threads() uint64 {
	sample := []metrics.Sample{{Name: "/sched/threads/total:threads"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() == metrics.KindUint64 {
		return sample[0].Value.Uint64()
	}
	return uint64(runtime.NumGoroutine())
}
