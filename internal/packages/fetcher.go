package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/pb"
)

const (
	// DefaultMaxSize bounds a package where no other limit is configured.
	DefaultMaxSize = 2 << 30
	// DefaultTimeout bounds bringing one package to a local file.
	DefaultTimeout = 10 * time.Minute

	httpConnectTimeout = 10 * time.Second
	httpHeaderTimeout  = time.Minute
	httpMaxRedirects   = 5
)

// FetcherConfig configures a Fetcher. Store, URLs and DownloadDirectory are needed, the rest may be left out.
type FetcherConfig struct {
	Store    Store          // where this worker puts uploads
	Service  PackageService // the broker's, for function:// and the like; nil: not available
	Builtins Builtins       // installed archives; nil: none
	URLs     *URLPolicy
	Networks []netip.Prefix // where http(s) URLs may lead besides public addresses

	// Peers lists the base URLs (http://host:port) of the other live members. One of them, a Java worker, may have what
	// Store has not: the logs in BookKeeper. PeerClient carries this worker's credentials. Both nil: nobody is asked.
	Peers      func(ctx context.Context) ([]string, error)
	PeerClient *http.Client

	DownloadDirectory string
	// Private closes the directories of instances to other users; the runtime opens each to the user that its instance runs as.
	Private bool
	MaxSize int64         // bytes; 0 means DefaultMaxSize
	Timeout time.Duration // of Local when its context has no deadline; 0 means DefaultTimeout
	Log     *zap.Logger
}

// Fetcher resolves a packagePath of any form (coordination contract, sections 8.1 and 9). It is safe for concurrent use.
type Fetcher struct {
	cfg     FetcherConfig
	service Store        // cfg.Service as a store, or nil
	http    *http.Client // without credentials of this worker

	directories sync.Mutex // held while directories of instances are made or removed
}

// NewFetcher checks the configuration and fills in defaults.
func NewFetcher(cfg FetcherConfig) (*Fetcher, error) {
	if cfg.Store == nil || cfg.URLs == nil || cfg.DownloadDirectory == "" {
		return nil, errors.New("packages: a store, a URL policy and a download directory are needed")
	}
	directory, err := filepath.Abs(cfg.DownloadDirectory)
	if err != nil {
		return nil, fmt.Errorf("packages: download directory: %w", err)
	}
	cfg.DownloadDirectory = directory
	if cfg.MaxSize <= 0 {
		cfg.MaxSize = DefaultMaxSize
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	var service Store
	if cfg.Service != nil {
		service = NewBrokerStore(cfg.Service)
	}
	g := newGuard(cfg.Networks)
	return &Fetcher{cfg: cfg, service: service, http: &http.Client{Transport: &http.Transport{
		Proxy: g.choose, DialContext: g.dial, TLSHandshakeTimeout: httpConnectTimeout,
		ResponseHeaderTimeout: httpHeaderTimeout, IdleConnTimeout: time.Minute,
	}}}, nil
}

// Open streams a package to whoever asks for it over REST, with the file name it should have. kind selects the rules for
// URLs and the directory for builtin://. The caller closes the stream, which fails when the package exceeds the limit.
func (f *Fetcher) Open(ctx context.Context, loc *pb.PackageLocationMetaData, kind Kind) (io.ReadCloser, string, error) {
	location := loc.GetPackagePath()
	if file, ok, err := f.inPlace(location, kind); err != nil {
		return nil, "", err
	} else if ok {
		opened, err := openRegular(file)
		if err != nil {
			return nil, "", fmt.Errorf("opening package %s: %w", location, err)
		}
		return f.limit(opened, location), filepath.Base(file), nil
	}
	body, name, err := f.stream(ctx, location, kind)
	if err != nil {
		return nil, "", err
	}
	if original := baseName(loc.GetOriginalFileName()); original != "" {
		name = original
	}
	return f.limit(body, location), name, nil
}

// Delete removes a stored package that is no longer referenced; URLs and built-ins are left alone.
func (f *Fetcher) Delete(ctx context.Context, loc *pb.PackageLocationMetaData) error {
	location := loc.GetPackagePath()
	switch {
	case location == "" || isURL(location) || strings.HasPrefix(location, builtinPrefix):
		return nil
	case isPackageName(location):
		if f.service == nil {
			return nil
		}
		return f.service.Delete(ctx, location)
	}
	if err := f.cfg.Store.Delete(ctx, location); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil // also for the log of a Java worker, which only Java workers can delete
}

const builtinPrefix = "builtin://"

// The tests are for the whole scheme: a stored path may begin with a tenant named "file" or "http".
func isURL(location string) bool { return isFileURL(location) || isHTTPURL(location) }

func isFileURL(location string) bool { return strings.HasPrefix(location, "file:") }

func isHTTPURL(location string) bool {
	return strings.HasPrefix(location, "http://") || strings.HasPrefix(location, "https://")
}

func isPackageName(location string) bool {
	scheme, _, ok := strings.Cut(location, "://")
	return ok && (strings.EqualFold(scheme, "function") || strings.EqualFold(scheme, "sink") || strings.EqualFold(scheme, "source"))
}

// inPlace resolves what is a file on this host already: file: URLs and builtin://name.
func (f *Fetcher) inPlace(location string, kind Kind) (file string, ok bool, err error) {
	if isFileURL(location) {
		file, err := f.localFile(location, kind)
		return file, err == nil, err
	}
	if name, ok := strings.CutPrefix(location, builtinPrefix); ok {
		file, err := f.builtinFile(name, kind)
		if err == nil && file == "" {
			err = fmt.Errorf("%w: built-in function %q is compiled into the worker and has no package", ErrNotFound, name)
		}
		return file, err == nil, err
	}
	return "", false, nil
}

// localFile checks a file: URL, follows symbolic links, and checks again.
func (f *Fetcher) localFile(location string, kind Kind) (string, error) {
	permit, err := f.cfg.URLs.check(kind, location)
	if err != nil {
		return "", invalidURL(location, err)
	}
	file := filepath.Clean(permit.url.Path)
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return "", fmt.Errorf("opening package %s: %w", location, err)
	}
	if real != file && !f.cfg.URLs.allowsFile(kind, real) {
		where := permit.within
		if where == "" {
			where = "what the patterns of package URLs allow; name the file where it is"
		}
		return "", invalidURL(location, fmt.Errorf("%w: a symbolic link leads out of %s", ErrNotAllowed, where))
	}
	return real, nil
}

func (f *Fetcher) builtinFile(name string, kind Kind) (string, error) {
	if f.cfg.Builtins != nil {
		if kind != Function {
			if file, ok := f.cfg.Builtins.ConnectorFile(name); ok {
				return file, nil
			}
		}
		if kind == Function || kind == AnyKind {
			if file, ok := f.cfg.Builtins.FunctionFile(name); ok {
				return file, nil
			}
		}
	}
	what := string(kind)
	if kind == AnyKind {
		what = "function or connector"
	}
	return "", fmt.Errorf("%w: built-in %s %q is not installed on this worker", ErrNotFound, what, name)
}

// stream opens what has to be fetched.
func (f *Fetcher) stream(ctx context.Context, location string, kind Kind) (io.ReadCloser, string, error) {
	switch {
	case location == "":
		return nil, "", fmt.Errorf("%w: the metadata names no package", ErrNotFound)
	case isHTTPURL(location):
		return f.download(ctx, location, kind)
	case isPackageName(location):
		if f.service == nil {
			return nil, "", fmt.Errorf("opening package %s: the broker's packages service is not configured", location)
		}
		return openStored(ctx, f.service, location)
	}
	body, name, err := openStored(ctx, f.cfg.Store, location)
	if err == nil || f.cfg.Peers == nil || ctx.Value(noPeers{}) != nil {
		return body, name, err
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, "", err // the store cannot tell: no reason to think that a peer has it
	}
	body, peerErr := f.fromPeers(ctx, location)
	if peerErr != nil {
		return nil, "", fmt.Errorf("%w; other workers: %w", err, peerErr)
	}
	return body, path.Base(location), nil
}

func openStored(ctx context.Context, store Store, key string) (io.ReadCloser, string, error) {
	body, info, err := store.Get(ctx, key)
	return body, baseName(info.FileName), err
}

// download gets an http(s) URL. The policy sees every redirect; the name and password in a URL go to its host only.
func (f *Fetcher) download(ctx context.Context, location string, kind Kind) (io.ReadCloser, string, error) {
	permit, err := f.cfg.URLs.check(kind, location)
	if err != nil {
		return nil, "", invalidURL(location, err)
	}
	cancel := context.CancelFunc(func() {})
	if _, ok := ctx.Deadline(); !ok { // a server that trickles must not hold the caller for ever
		ctx, cancel = context.WithTimeout(ctx, f.cfg.Timeout)
	}
	body, err := f.get(ctx, permit, location, kind)
	if err != nil {
		cancel()
		return nil, "", err
	}
	return &boundedBody{body, cancel}, baseName(permit.url.Path), nil
}

// boundedBody ends the time limit of a download with it.
type boundedBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *boundedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

func (f *Fetcher) get(ctx context.Context, permit permit, location string, kind Kind) (io.ReadCloser, error) {
	target := *permit.url
	user := target.User
	target.User = nil
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("downloading package %s: %w", Redact(location), err)
	}
	if user != nil {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	client := *f.http
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if len(via) > httpMaxRedirects {
			return fmt.Errorf("stopped after %d redirects", httpMaxRedirects)
		}
		if _, err := f.cfg.URLs.check(kind, next.URL.String()); err != nil {
			return fmt.Errorf("redirect to %s: %w", next.URL.Redacted(), err)
		}
		return nil
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("downloading package %s: %w", Redact(location), err)
	}
	if err := f.checkResponse(response); err != nil {
		response.Body.Close()
		return nil, fmt.Errorf("downloading package %s: %w", Redact(location), err)
	}
	return response.Body, nil
}

func (f *Fetcher) checkResponse(response *http.Response) error {
	switch {
	case response.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: the server answered %s", ErrNotFound, response.Status)
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("the server answered %s", response.Status)
	case response.ContentLength > f.cfg.MaxSize:
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, response.ContentLength, f.cfg.MaxSize)
	}
	return nil
}

func invalidURL(location string, err error) error {
	//lint:ignore ST1005 Java's words
	return fmt.Errorf("Package URL %s is not valid: %w", Redact(location), err)
}

// Redact hides the password of a URL that goes into an error or a log.
func Redact(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		scheme, _, _ := strings.Cut(location, ":")
		return scheme + ":…"
	}
	return u.Redacted()
}

// limit makes reading fail beyond the largest size.
func (f *Fetcher) limit(body io.ReadCloser, location string) io.ReadCloser {
	return &limitedBody{ReadCloser: body, location: location, max: f.cfg.MaxSize, left: f.cfg.MaxSize}
}

type limitedBody struct {
	io.ReadCloser
	location  string
	max, left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more tells that there is more
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.left = 0
		return 0, fmt.Errorf("reading package %s: %w: the limit is %d bytes", Redact(b.location), ErrTooLarge, b.max)
	}
	return n, err
}

// openRegular opens a file that is neither directory nor device.
func openRegular(file string) (*os.File, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", file)
	}
	return os.Open(file)
}
