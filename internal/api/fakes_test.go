package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/functions-worker/functions-worker/internal/archive"
	"github.com/functions-worker/functions-worker/internal/catalog"
	"github.com/functions-worker/functions-worker/internal/cleanup"
	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/component"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/stretchr/testify/require"
)

// fakeCluster keeps metadata and assignments in memory and is its own leader unless an error is set.
type fakeCluster struct {
	mu           sync.Mutex
	functions    map[string]*pb.FunctionMetaData
	assigned     []*pb.Assignment
	members      []cluster.WorkerInfo
	writeErr     error
	membersErr   error
	leaderErr    error
	moveErr      error
	notReady     bool
	starting     bool
	writes       []string
	drained      []string
	drainStatus  cluster.ProcessStatus
	leaderWrites int
}

var self = cluster.WorkerInfo{WorkerID: "w1", Hostname: "host1", Port: 6750}

func newFakeCluster() *fakeCluster {
	return &fakeCluster{functions: map[string]*pb.FunctionMetaData{}, members: []cluster.WorkerInfo{self}}
}

func (c *fakeCluster) Function(tenant, namespace, name string) (*pb.FunctionMetaData, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.functions[tenant+"/"+namespace+"/"+name]
	return m, ok
}

func (c *fakeCluster) Functions(tenant, namespace string) []*pb.FunctionMetaData {
	var list []*pb.FunctionMetaData
	for _, m := range c.AllFunctions() {
		if m.GetFunctionDetails().GetTenant() == tenant && m.GetFunctionDetails().GetNamespace() == namespace {
			list = append(list, m)
		}
	}
	return list
}

func (c *fakeCluster) AllFunctions() []*pb.FunctionMetaData {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.functions))
}

func (c *fakeCluster) Write(_ context.Context, meta *pb.FunctionMetaData, remove bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	fqfn := pb.FullyQualifiedName(meta.GetFunctionDetails())
	c.writes = append(c.writes, fmt.Sprintf("%s v%d delete=%v", fqfn, meta.GetVersion(), remove))
	if c.writeErr != nil {
		return c.writeErr
	}
	if old, known := c.functions[fqfn]; known && old.GetVersion() >= meta.GetVersion() {
		return cluster.ErrOutdated{Delete: remove}
	}
	if remove {
		delete(c.functions, fqfn)
	} else {
		c.functions[fqfn] = meta
	}
	return nil
}

func (c *fakeCluster) WriteAsLeader(ctx context.Context, meta *pb.FunctionMetaData, remove bool) error {
	c.leaderWrites++
	if c.leaderErr != nil {
		return c.leaderErr
	}
	return c.Write(ctx, meta, remove)
}

func (c *fakeCluster) Assignments() map[string]map[string]*pb.Assignment {
	answer := map[string]map[string]*pb.Assignment{}
	for _, a := range c.assigned {
		if answer[a.WorkerId] == nil {
			answer[a.WorkerId] = map[string]*pb.Assignment{}
		}
		answer[a.WorkerId][pb.InstanceKey(a.Instance)] = a
	}
	return answer
}

func (c *fakeCluster) FunctionAssignments(fqfn string) []*pb.Assignment {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*pb.Assignment
	for _, a := range c.assigned {
		if pb.FullyQualifiedName(a.GetInstance().GetFunctionMetaData().GetFunctionDetails()) == fqfn {
			list = append(list, a)
		}
	}
	return list
}

func (c *fakeCluster) assign(meta *pb.FunctionMetaData, workerID string, ids ...int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		c.assigned = append(c.assigned, &pb.Assignment{WorkerId: workerID, Instance: &pb.Instance{FunctionMetaData: meta, InstanceId: id}})
	}
}

func (c *fakeCluster) Members(context.Context) ([]cluster.WorkerInfo, error) {
	return c.members, c.membersErr
}

func (c *fakeCluster) Leader(context.Context) (*cluster.WorkerInfo, error) {
	if c.leaderErr != nil {
		return nil, c.leaderErr
	}
	return &c.members[0], nil
}
func (c *fakeCluster) Self() cluster.WorkerInfo        { return self }
func (c *fakeCluster) LeaderReady() bool               { return !c.notReady }
func (c *fakeCluster) Initialized() bool               { return !c.starting }
func (c *fakeCluster) Rebalance(context.Context) error { return c.moveErr }
func (c *fakeCluster) Drain(_ context.Context, workerID string) error {
	c.drained = append(c.drained, workerID)
	return c.moveErr
}

func (c *fakeCluster) DrainStatus(_ context.Context, workerID string) (cluster.ProcessStatus, error) {
	c.drained = append(c.drained, workerID)
	return c.drainStatus, c.moveErr
}

// fakeInstances answers for own instances.
type fakeInstances struct {
	mu        sync.Mutex
	status    map[string]*pb.FunctionStatus
	metrics   map[string]*pb.MetricsData
	restarted []string
	err       error
}

func (f *fakeInstances) Restart(_ context.Context, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restarted = append(f.restarted, key)
	return f.err
}

func (f *fakeInstances) Status(_ context.Context, key string, id int32) *pb.FunctionStatus {
	if st := f.status[fmt.Sprintf("%s#%d", key, id)]; st != nil {
		return st
	}
	return f.status[key]
}

func (f *fakeInstances) Metrics(_ context.Context, key string, _ int32) (*pb.MetricsData, error) {
	return f.metrics[key], f.err
}

type fakeRuntime struct {
	external bool
	refuse   error
}

func (f *fakeRuntime) ExternallyManaged() bool         { return f.external }
func (f *fakeRuntime) Admit(*pb.FunctionDetails) error { return f.refuse }

type fakeBroker struct{ err error }

func (f *fakeBroker) TenantExists(_ context.Context, tenant string) (bool, error) {
	return tenant == "public" || tenant == "httpd", f.err
}

func (f *fakeBroker) Namespaces(_ context.Context, tenant string) ([]string, error) {
	return []string{tenant + "/default", tenant + "/standalone/old"}, f.err
}

// fakeStore keeps packages in memory; it opens its own keys and the URLs it was given.
type fakeStore struct {
	mu     sync.Mutex
	blobs  map[string][]byte
	remote map[string][]byte
	putErr error
	next   int
}

func newFakeStore() *fakeStore {
	return &fakeStore{blobs: map[string][]byte{}, remote: map[string][]byte{}}
}

func (f *fakeStore) NewKey(kind Kind, tenant, namespace, name, fileName string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	return fmt.Sprintf("%s/%s/%s/%d-%s", tenant, namespace, name, f.next, fileName)
}

func (f *fakeStore) Put(_ context.Context, key string, body io.Reader, _ string, size int64) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if int64(len(data)) != size {
		return errors.New("the size is wrong")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.putErr != nil {
		return f.putErr
	}
	f.blobs[key] = data
	return nil
}

func (f *fakeStore) Delete(_ context.Context, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.blobs, key)
	return nil
}

func (f *fakeStore) keys() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.blobs))
}

func (f *fakeStore) Open(_ context.Context, _ Kind, loc *pb.PackageLocationMetaData) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.blobs[loc.GetPackagePath()]
	if !ok {
		data, ok = f.remote[loc.GetPackagePath()]
	}
	if !ok {
		return nil, errors.New("package not found")
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// fakeURLs allows URLs that begin with one of the prefixes.
type fakeURLs []string

func (f fakeURLs) Allowed(_ bool, rawURL string) bool {
	return slices.ContainsFunc(f, func(p string) bool { return strings.HasPrefix(rawURL, p) })
}

// fakeCatalog has one connector and one function.
type fakeCatalog struct {
	file string
	err  error
}

func str(s string) *string { return &s }

func (f *fakeCatalog) Connectors() []catalog.ConnectorDefinition {
	return []catalog.ConnectorDefinition{
		{Name: "zeta", SinkClass: str("z.Sink")},
		{Name: "data-generator", Description: str("Test"), SourceClass: str("g.Source"), SourceConfigClass: str("g.Config")},
	}
}

func (f *fakeCatalog) Functions() []catalog.FunctionDefinition {
	return []catalog.FunctionDefinition{{Name: "exclaim", FunctionClass: str("x.Exclaim")}}
}

func (f *fakeCatalog) ConnectorFile(name string) (string, bool) {
	return f.file, name == "data-generator" && f.file != ""
}

func (f *fakeCatalog) FunctionFile(name string) (string, bool) {
	return f.file, name == "exclaim" && f.file != ""
}

func (f *fakeCatalog) ConfigFields(source bool, name string) ([]archive.ConfigField, bool, error) {
	if source && name == "data-generator" {
		return []archive.ConfigField{{FieldName: "sleep", TypeName: "long", Attributes: map[string]string{}}}, true, nil
	}
	return nil, false, nil
}
func (f *fakeCatalog) ReloadConnectors() error { return f.err }
func (f *fakeCatalog) ReloadFunctions() error  { return f.err }

// fakeCleanups remembers the entries.
type fakeCleanups struct {
	mu      sync.Mutex
	entries []cleanup.Entry
}

func (c *fakeCleanups) Add(_ context.Context, e cleanup.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, e)
}

// fixture is a server over fakes.
type fixture struct {
	t         *testing.T
	cluster   *fakeCluster
	instances *fakeInstances
	runtime   *fakeRuntime
	broker    *fakeBroker
	store     *fakeStore
	cleanups  fakeCleanups
	catalog   *fakeCatalog
	opts      Options
	server    *Server
}

func newFixture(t *testing.T, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{
		t: t, cluster: newFakeCluster(), runtime: &fakeRuntime{}, broker: &fakeBroker{}, store: newFakeStore(), catalog: &fakeCatalog{},
		instances: &fakeInstances{status: map[string]*pb.FunctionStatus{}, metrics: map[string]*pb.MetricsData{}},
	}
	f.opts = Options{
		Cluster: f.cluster, Instances: f.instances, Runtime: f.runtime, Broker: f.broker, Store: f.store, Cleanups: &f.cleanups, Packages: f.store,
		URLs: fakeURLs{"http://allowed/"}, Catalog: f.catalog, Codecs: Codecs(component.Options{ForwardSourceMessageProperty: true}),
		FunctionsName: "standalone", TempDir: t.TempDir(), MaxPackageSize: 32 << 20,
	}
	for _, c := range change {
		c(&f.opts)
	}
	var err error
	f.server, err = New(f.opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		left, err := os.ReadDir(f.opts.TempDir)
		require.NoError(t, err)
		require.Empty(t, left, "temporary files are left")
	})
	return f
}

// part is one part of a multipart request.
type part struct{ name, value, contentType, file string }

func multipartBody(t *testing.T, parts ...part) (string, *bytes.Buffer) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, p := range parts {
		h := textproto.MIMEHeader{}
		d := fmt.Sprintf(`form-data; name=%q`, p.name)
		if p.file != "" {
			d += fmt.Sprintf(`; filename="%s"`, p.file)
		}
		h.Set("Content-Disposition", d)
		if p.contentType != "" {
			h.Set("Content-Type", p.contentType)
		}
		pw, err := w.CreatePart(h)
		require.NoError(t, err)
		_, err = io.WriteString(pw, p.value)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return w.FormDataContentType(), &buf
}

func (f *fixture) do(method, path string, headers ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	f.server.Handler().ServeHTTP(rec, r)
	return rec
}

func (f *fixture) send(method, path string, parts ...part) *httptest.ResponseRecorder {
	f.t.Helper()
	contentType, body := multipartBody(f.t, parts...)
	r := httptest.NewRequest(method, path, body)
	r.Header.Set("Content-Type", contentType)
	rec := httptest.NewRecorder()
	f.server.Handler().ServeHTTP(rec, r)
	return rec
}

func (f *fixture) want(rec *httptest.ResponseRecorder, status int, body string) {
	f.t.Helper()
	require.Equal(f.t, status, rec.Code, rec.Body.String())
	if strings.HasPrefix(body, "{") || strings.HasPrefix(body, "[") {
		require.JSONEq(f.t, body, rec.Body.String())
		require.Equal(f.t, "application/json", rec.Header().Get("Content-Type"))
		return
	}
	require.Equal(f.t, body, rec.Body.String())
}

func (f *fixture) wantReason(rec *httptest.ResponseRecorder, status int, reason string) {
	f.t.Helper()
	f.want(rec, status, fmt.Sprintf(`{"reason":%q}`, reason))
}

// python is a function that needs no class files.
const python = `{"runtime":"PYTHON","className":"m.F","inputs":["persistent://public/default/in"],"output":"persistent://public/default/out","parallelism":2}`

var pythonFile = part{name: "data", file: "m.py", value: "class F: pass", contentType: "application/octet-stream"}

func config1(json string) part {
	return part{name: "functionConfig", value: json, contentType: "application/json; charset=UTF-8"}
}

const one = "/admin/v3/functions/public/default/f"

// registered is a fixture with the python function f.
func registered(t *testing.T, change ...func(*Options)) (*fixture, *pb.FunctionMetaData) {
	t.Helper()
	f := newFixture(t, change...)
	f.want(f.send(http.MethodPost, one, config1(python), pythonFile), 204, "")
	meta, ok := f.cluster.Function("public", "default", "f")
	require.True(t, ok)
	return f, meta
}
