//lint:file-ignore SA1019 autoAck is deprecated and still decides

package launch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// javaFloat is a number that JSON shows as Java does: 1.0, not 1.
type javaFloat float64

// MarshalJSON never fails: the resources were validated as finite at registration, and others become a JSON string.
func (f javaFloat) MarshalJSON() ([]byte, error) { return []byte(JavaDouble(float64(f))), nil }

// GoInstanceConf is the value of -instance-conf; every key is always present (process contract, section 3.7).
type GoInstanceConf struct {
	PulsarServiceURL       string `json:"pulsarServiceURL"`
	StateStorageServiceURL string `json:"stateStorageServiceUrl"`
	PulsarWebServiceURL    string `json:"pulsarWebServiceUrl"`
	InstanceID             int32  `json:"instanceID"`
	FuncID                 string `json:"funcID"`
	FuncVersion            string `json:"funcVersion"`
	MaxBufTuples           int    `json:"maxBufTuples"`
	Port                   int    `json:"port"`
	ClusterName            string `json:"clusterName"`
	KillAfterIdleMs        int    `json:"killAfterIdleMs"`
	// ExpectedHealthCheckInterval is 0 as with the Java worker: another value makes the function close its consumers and
	// go on running, which nobody notices. Orphans are prevented by the parent-death signal instead.
	ExpectedHealthCheckInterval    int               `json:"expectedHealthCheckInterval"`
	Tenant                         string            `json:"tenant"`
	NameSpace                      string            `json:"nameSpace"`
	Name                           string            `json:"name"`
	ClassName                      string            `json:"className"`
	LogTopic                       string            `json:"logTopic"`
	ProcessingGuarantees           int32             `json:"processingGuarantees"`
	SecretsMap                     string            `json:"secretsMap"`
	UserConfig                     string            `json:"userConfig"`
	ClientAuthenticationPlugin     string            `json:"clientAuthenticationPlugin"`
	ClientAuthenticationParameters string            `json:"clientAuthenticationParameters"`
	TLSTrustCertsFilePath          string            `json:"tlsTrustCertsFilePath"`
	TLSHostnameVerificationEnable  bool              `json:"tlsHostnameVerificationEnable"`
	TLSAllowInsecureConnection     bool              `json:"tlsAllowInsecureConnection"`
	Runtime                        int32             `json:"runtime"`
	AutoAck                        bool              `json:"autoAck"`
	Parallelism                    int32             `json:"parallelism"`
	SubscriptionType               int32             `json:"subscriptionType"` // always 0: only functionDetails tells
	TimeoutMs                      uint64            `json:"timeoutMs"`
	SubscriptionName               string            `json:"subscriptionName"`
	CleanupSubscription            bool              `json:"cleanupSubscription"`
	SubscriptionPosition           int32             `json:"subscriptionPosition"`
	SourceInputSpecs               map[string]string `json:"sourceInputSpecs"`
	SourceSpecsTopic               string            `json:"sourceSpecsTopic"`
	SourceSchemaType               string            `json:"sourceSchemaType"`
	ReceiverQueueSize              int               `json:"receiverQueueSize"`
	SinkSpecsTopic                 string            `json:"sinkSpecsTopic"`
	SinkSchemaType                 string            `json:"sinkSchemaType"`
	CPU                            javaFloat         `json:"cpu"`
	RAM                            int64             `json:"ram"`
	Disk                           int64             `json:"disk"`
	MaxMessageRetries              int32             `json:"maxMessageRetries"`
	DeadLetterTopic                string            `json:"deadLetterTopic"`
	MetricsPort                    int               `json:"metricsPort"`
	FunctionDetails                string            `json:"functionDetails"`
	RegexPatternSubscription       bool              `json:"regexPatternSubscription"`
}

// GoConf is the value of -instance-conf.
func (o Options) GoConf(in Instance) (string, error) {
	d := in.Details
	c := GoInstanceConf{
		PulsarServiceURL: o.PulsarServiceURL, StateStorageServiceURL: o.StateStorageServiceURL,
		InstanceID: in.ID, FuncID: in.FunctionID, FuncVersion: in.FunctionVersion,
		MaxBufTuples: maxBufferedTuples, Port: in.Port, MetricsPort: in.MetricsPort, ClusterName: o.ClusterName,
		Tenant: d.GetTenant(), NameSpace: d.GetNamespace(), Name: d.GetName(), LogTopic: d.GetLogTopic(),
		ProcessingGuarantees: int32(d.GetProcessingGuarantees()), SecretsMap: d.GetSecretsMap(), UserConfig: d.GetUserConfig(),
		Runtime: int32(d.GetRuntime()), AutoAck: d.GetAutoAck(), Parallelism: d.GetParallelism(),
		TimeoutMs: d.GetSource().GetTimeoutMs(), SubscriptionName: d.GetSource().GetSubscriptionName(),
		CleanupSubscription: d.GetSource().GetCleanupSubscription(), SubscriptionPosition: int32(d.GetSource().GetSubscriptionPosition()),
		SourceInputSpecs: map[string]string{}, SinkSpecsTopic: d.GetSink().GetTopic(),
		CPU: javaFloat(d.GetResources().GetCpu()), RAM: d.GetResources().GetRam(), Disk: d.GetResources().GetDisk(),
		MaxMessageRetries: d.GetRetryDetails().GetMaxMessageRetries(), DeadLetterTopic: d.GetRetryDetails().GetDeadLetterTopic(),
		FunctionDetails: MessageJSON(d, false),
	}
	if o.ExposeAdminClient {
		c.PulsarWebServiceURL = o.PulsarWebServiceURL
	}
	specs := d.GetSource().GetInputSpecs()
	for _, topic := range slices.Sorted(maps.Keys(specs)) {
		c.SourceInputSpecs[topic] = MessageJSON(specs[topic], false)
		c.SourceSpecsTopic = topic // the last one; only very old functions read it
	}
	if auth := in.Auth; auth != nil {
		if auth.Plugin != "" && auth.Params != "" {
			c.ClientAuthenticationPlugin, c.ClientAuthenticationParameters = auth.Plugin, auth.Params
		}
		c.TLSTrustCertsFilePath = auth.TrustCertsFile
		c.TLSHostnameVerificationEnable, c.TLSAllowInsecureConnection = auth.HostnameVerification, auth.AllowInsecure
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		return "", fmt.Errorf("writing the configuration of the Go instance: %w", err)
	}
	return string(bytes.TrimRight(b.Bytes(), "\n")), nil
}
