package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// control talks to one instance: InstanceControl over plaintext loopback, and its metrics page.
type control struct {
	conn    *grpc.ClientConn
	client  pb.InstanceControlClient
	timeout time.Duration
	metrics string
	http    *http.Client
}

func dialControl(p ports, timeout time.Duration) (*control, error) {
	conn, err := grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", p.control),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		// While a JVM boots the port is closed; try again soon, not after the default of up to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second,
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: time.Second}}))
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to the instance: %w", err)
	}
	return &control{conn: conn, client: pb.NewInstanceControlClient(conn), timeout: timeout,
		metrics: fmt.Sprintf("http://127.0.0.1:%d/metrics", p.metrics),
		http:    &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}, nil
}

func (c *control) close() {
	_ = c.conn.Close()
	c.http.CloseIdleConnections()
}

// maxScrape bounds the metrics text of one instance.
const maxScrape = 8 << 20

// scrape copies the instance's metrics page to w.
func (c *control) scrape(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.metrics, nil)
	if err != nil {
		return fmt.Errorf("preparing the scrape of an instance: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("scraping an instance: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("scraping an instance: its metrics page answered %s", resp.Status)
	}
	n, err := io.Copy(w, io.LimitReader(resp.Body, maxScrape+1))
	if err == nil && n > maxScrape {
		err = errors.New("the metrics page is larger than 8 MiB")
	}
	if err != nil {
		return fmt.Errorf("scraping an instance: %w", err)
	}
	return nil
}
