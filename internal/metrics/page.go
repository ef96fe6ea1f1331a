package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/common/expfmt"
)

// ContentType is what /metrics answers, as the Java worker writes it.
const ContentType = "text/plain;charset=utf-8;version=0.0.4"

// maxInstanceText bounds what is kept of the text of all instances together.
const maxInstanceText = 64 << 20

// ServeHTTP writes the page. It never fails: what cannot be had is said in a comment.
func (w *Worker) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	page := newPage()
	families, err := w.registry.Gather()
	if err != nil {
		page.comment("some families of the worker are missing: " + err.Error())
	}
	var own strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&own, family); err != nil {
			page.comment("a family of the worker is missing: " + err.Error())
		}
	}
	page.add(strings.ReplaceAll(own.String(), `quantile="1"}`, `quantile="1.0"}`)) // as Java writes the number
	if w.opts.Scrape != nil {
		w.addInstances(r.Context(), page)
	}
	out.Header().Set("Content-Type", ContentType)
	out.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = out.Write([]byte(page.String()))
	}
}

func (w *Worker) addInstances(ctx context.Context, page *page) {
	ctx, cancel := context.WithTimeout(ctx, w.opts.ScrapeTimeout)
	defer cancel()
	text := &boundedText{}
	if err := w.opts.Scrape(ctx, text); err != nil {
		page.comment(fmt.Sprintf("some instances are missing: %v", err))
	}
	page.add(text.String())
}

var errTooMuchText = errors.New("the metrics of the instances are too large")

// boundedText keeps whole writes up to a limit.
type boundedText struct{ bytes.Buffer }

func (b *boundedText) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxInstanceText {
		return 0, errTooMuchText
	}
	return b.Buffer.Write(p)
}
