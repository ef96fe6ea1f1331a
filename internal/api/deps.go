package api

import (
	"context"
	"io"
	"net/http"

	"github.com/functions-worker/functions-worker/internal/archive"
	"github.com/functions-worker/functions-worker/internal/catalog"
	"github.com/functions-worker/functions-worker/internal/cleanup"
	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Cluster is what the API asks of this worker's part in the cluster (internal/cluster/node).
type Cluster interface {
	// Function returns the metadata of one component of any kind; the value must not be changed.
	Function(tenant, namespace, name string) (*pb.FunctionMetaData, bool)
	Functions(tenant, namespace string) []*pb.FunctionMetaData
	AllFunctions() []*pb.FunctionMetaData
	// Write hands a change to the leader, wherever it is, and returns when the leader has written it.
	Write(ctx context.Context, meta *pb.FunctionMetaData, remove bool) error
	// WriteAsLeader applies a change that another worker forwarded here.
	WriteAsLeader(ctx context.Context, meta *pb.FunctionMetaData, remove bool) error
	// Assignments are all assignments known: worker id, then instance key.
	Assignments() map[string]map[string]*pb.Assignment
	FunctionAssignments(fqfn string) []*pb.Assignment
	Members(ctx context.Context) ([]cluster.WorkerInfo, error)
	Leader(ctx context.Context) (*cluster.WorkerInfo, error)
	Self() cluster.WorkerInfo
	LeaderReady() bool
	Initialized() bool
	Rebalance(ctx context.Context) error
	Drain(ctx context.Context, workerID string) error
	DrainStatus(ctx context.Context, workerID string) (cluster.ProcessStatus, error)
}

// Instances is what the API asks of the supervisor about the instances that this worker runs.
type Instances interface {
	Restart(ctx context.Context, instanceKey string) error
	// Status never fails: an instance that cannot be asked is reported as not running, with the reason.
	Status(ctx context.Context, instanceKey string, id int32) *pb.FunctionStatus
	Metrics(ctx context.Context, instanceKey string, id int32) (*pb.MetricsData, error)
}

// Runtime is the part of the runtime factory that requests depend on.
type Runtime interface {
	// ExternallyManaged: a function is assigned as a whole, under instance id -1 (Kubernetes).
	ExternallyManaged() bool
	// Admit refuses a function that this runtime cannot take.
	Admit(details *pb.FunctionDetails) error
}

// Broker answers whether a tenant and its namespaces exist, with the worker's own credentials.
type Broker interface {
	TenantExists(ctx context.Context, tenant string) (bool, error)
	Namespaces(ctx context.Context, tenant string) ([]string, error)
}

// PackageStore keeps uploaded packages under keys that are recorded in the metadata.
type PackageStore interface {
	// NewKey makes the key (packagePath) for a new package of a component.
	NewKey(kind Kind, tenant, namespace, name, fileName string) string
	// Put stores a package; it is visible only when complete.
	Put(ctx context.Context, key string, body io.Reader, fileName string, size int64) error
	// Delete removes a package; nil when there is none.
	Delete(ctx context.Context, key string) error
}

// Cleanups removes what a change makes superfluous, once nothing refers to it, whatever becomes of this worker.
type Cleanups interface {
	// Add records what is to be removed, before the change. It takes some seconds at most and does not fail: an entry
	// whose change does not happen is dropped later.
	Add(ctx context.Context, e cleanup.Entry)
}

// PackageSource opens a package by the location that the metadata records, whatever form it has: file:, http(s):,
// function://, builtin:// or a key of the store.
type PackageSource interface {
	Open(ctx context.Context, kind Kind, loc *pb.PackageLocationMetaData) (io.ReadCloser, error)
}

// URLRules says which package URLs may be used (security contract, section 8.1).
type URLRules interface {
	Allowed(connector bool, rawURL string) bool
}

// Catalog lists the built-in connectors and functions of this worker's disk.
type Catalog interface {
	Connectors() []catalog.ConnectorDefinition
	Functions() []catalog.FunctionDefinition
	// ConnectorFile and FunctionFile give the local archive of a built-in.
	ConnectorFile(name string) (path string, ok bool)
	FunctionFile(name string) (path string, ok bool)
	// ConfigFields describes the class that configures a built-in connector as a source or as a sink; false when it
	// declares none.
	ConfigFields(source bool, name string) ([]archive.ConfigField, bool, error)
	ReloadConnectors() error
	ReloadFunctions() error
}

// State is the state store; nil in Options means that none is configured.
type State interface {
	// Get returns the value and its version; ErrNoStateTable and ErrNoStateKey when there is none.
	Get(ctx context.Context, tenant, namespace, name, key string) (value []byte, number *int64, version int64, err error)
	Put(ctx context.Context, tenant, namespace, name, key string, value []byte) error
	// Cleanup removes all state of a deleted function.
	Cleanup(ctx context.Context, tenant, namespace, name string) error
}

// Triggerer sends one message to an input topic of a function and waits for the result (rest-api contract, section 6.5).
type Triggerer interface {
	Trigger(ctx context.Context, req TriggerRequest) (result []byte, hasOutput bool, err error)
}

// TriggerRequest is one call of a function from outside.
type TriggerRequest struct {
	Function    *pb.FunctionDetails
	Topic       string // a key of the function's input specs
	Data        []byte
	OutputTopic string // "" when the function has none
}

// Right is what a caller must hold for a request (rest-api contract, section 2.2).
type Right int

const (
	// RightComponent: functions, sinks or sources permission in the namespace, tenant admin, or superuser.
	RightComponent Right = iota
	// RightSuperuser: superuser only.
	RightSuperuser
	// RightPackages: packages permission in the namespace of a package, tenant admin, or superuser.
	RightPackages
	// RightProduce: produce permission for the topic or in its namespace, tenant admin, or superuser.
	RightProduce
	// RightConsume: consume permission for the topic or in its namespace, tenant admin, or superuser.
	RightConsume
)

// Access is one authorization question.
type Access struct {
	Right             Right
	Kind              Kind
	Tenant, Namespace string
	Topic             string // full name, with RightProduce and RightConsume
}

// Authorizer decides what an authenticated caller may do. A nil Authorizer in Options allows everything.
type Authorizer interface {
	// Authorize reports whether the caller of r holds the right; an error means that it could not be decided (500).
	Authorize(r *http.Request, access Access) (bool, error)
}

// AuthData keeps the credentials of a submitter for the instances of the function; nil when not configured.
type AuthData interface {
	// Cache stores the caller's credentials and returns what the metadata records, nil for none.
	Cache(ctx context.Context, r *http.Request, details *pb.FunctionDetails, existing *pb.FunctionAuthenticationSpec) (*pb.FunctionAuthenticationSpec, error)
}
