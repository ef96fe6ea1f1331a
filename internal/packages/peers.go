package packages

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"
)

// PeerHeader marks a download that one worker asks of another. The worker that receives it must not ask on: it serves such a
// request with the context of WithoutPeers.
const PeerHeader = "X-Functions-Worker-Peer"

type noPeers struct{}

// WithoutPeers gives a context in which no other worker is asked for a package.
func WithoutPeers(ctx context.Context) context.Context {
	return context.WithValue(ctx, noPeers{}, true)
}

// fromPeers asks the live members in turn for a stored package (coordination contract, section 9.5).
func (f *Fetcher) fromPeers(ctx context.Context, location string) (io.ReadCloser, error) {
	peers, err := f.cfg.Peers(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot be listed: %w", err)
	}
	if len(peers) == 0 {
		return nil, errors.New("there are none")
	}
	var failures []error
	for _, peer := range peers {
		body, err := f.fromPeer(ctx, peer, location)
		if err == nil {
			f.cfg.Log.Info("package comes from another worker", zap.String("package", location), zap.String("worker", peer))
			return body, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", peer, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failures...)
}

func (f *Fetcher) fromPeer(ctx context.Context, peer, location string) (io.ReadCloser, error) {
	target := strings.TrimRight(peer, "/") + "/admin/v3/functions/download?path=" + url.QueryEscape(location)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set(PeerHeader, "1")
	client := f.cfg.PeerClient
	if client == nil {
		client = f.http
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if err := f.checkResponse(response); err != nil {
		response.Body.Close()
		return nil, err
	}
	// A Java worker answers 200 with nothing when its download fails (rest-api contract, section 6.7).
	buffered := bufio.NewReader(response.Body)
	if _, err := buffered.Peek(1); err != nil {
		response.Body.Close()
		if err == io.EOF {
			err = fmt.Errorf("%w: the answer is empty", ErrNotFound)
		}
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{buffered, response.Body}, nil
}
