package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// maxConfFile bounds a configuration file, in bytes.
const maxConfFile = 1 << 20

// Config is everything an instance is told at its start.
type Config struct {
	// Details describe the function.
	Details *pb.FunctionDetails
	// InstanceID counts from 0 to parallelism-1.
	InstanceID int
	// FunctionID and FunctionVersion are UUIDs of this run.
	FunctionID, FunctionVersion string
	// ClusterName is the label "cluster" of the metrics.
	ClusterName string
	// ServiceURL is the broker's binary service; WebServiceURL and StateURL may be empty.
	ServiceURL, WebServiceURL, StateURL string
	// Port and MetricsPort are where the control service and the metrics are served; 0 or less: not at all.
	Port, MetricsPort int
	// HealthInterval is how often the worker promises to call HealthCheck; 0: it does not say.
	HealthInterval time.Duration
	// MaxIdle ends the instance when no message came for this long; 0: never.
	MaxIdle time.Duration
	// AuthPlugin and AuthParams are the Java class name and parameters of the client authentication.
	AuthPlugin, AuthParams string
	// TrustCertsFile, AllowInsecure and HostnameVerification say whom to trust on TLS connections.
	TrustCertsFile                      string
	AllowInsecure, HostnameVerification bool
	// DetailsError says why functionDetails could not be read, when they were put together from the single keys.
	DetailsError error
}

// conf is the object of -instance-conf (process contract, section 3.7).
type conf struct {
	PulsarServiceURL            string     `json:"pulsarServiceURL"`
	StateStorageServiceURL      string     `json:"stateStorageServiceUrl"`
	PulsarWebServiceURL         string     `json:"pulsarWebServiceUrl"`
	InstanceID                  int        `json:"instanceID"`
	FuncID                      string     `json:"funcID"`
	FuncVersion                 string     `json:"funcVersion"`
	Port                        int        `json:"port"`
	ClusterName                 string     `json:"clusterName"`
	KillAfterIdleMs             int64      `json:"killAfterIdleMs"`
	ExpectedHealthCheckInterval int        `json:"expectedHealthCheckInterval"`
	Tenant                      string     `json:"tenant"`
	NameSpace                   string     `json:"nameSpace"`
	Name                        string     `json:"name"`
	LogTopic                    string     `json:"logTopic"`
	ProcessingGuarantees        int32      `json:"processingGuarantees"`
	SecretsMap                  objectText `json:"secretsMap"`
	UserConfig                  objectText `json:"userConfig"`
	AuthPlugin                  string     `json:"clientAuthenticationPlugin"`
	AuthParams                  string     `json:"clientAuthenticationParameters"`
	TrustCertsFile              string     `json:"tlsTrustCertsFilePath"`
	HostnameVerification        bool       `json:"tlsHostnameVerificationEnable"`
	AllowInsecure               bool       `json:"tlsAllowInsecureConnection"`
	AutoAck                     bool       `json:"autoAck"`
	Parallelism                 int32      `json:"parallelism"`
	SubscriptionType            int32      `json:"subscriptionType"`
	TimeoutMs                   uint64     `json:"timeoutMs"`
	SubscriptionName            string     `json:"subscriptionName"`
	CleanupSubscription         bool       `json:"cleanupSubscription"`
	SubscriptionPosition        int32      `json:"subscriptionPosition"`
	SourceInputSpecs            specTexts  `json:"sourceInputSpecs"`
	SourceSpecsTopic            string     `json:"sourceSpecsTopic"`
	SourceSchemaType            string     `json:"sourceSchemaType"`
	IsRegexPatternSubscription  bool       `json:"isRegexPatternSubscription"`
	ReceiverQueueSize           int32      `json:"receiverQueueSize"`
	SinkSpecsTopic              string     `json:"sinkSpecsTopic"`
	SinkSchemaType              string     `json:"sinkSchemaType"`
	CPU                         float64    `json:"cpu"`
	RAM                         int64      `json:"ram"`
	Disk                        int64      `json:"disk"`
	MaxMessageRetries           int32      `json:"maxMessageRetries"`
	DeadLetterTopic             string     `json:"deadLetterTopic"`
	MetricsPort                 int        `json:"metricsPort"`
	FunctionDetails             objectText `json:"functionDetails"`
}

// objectText is JSON text inside a string; a file written by hand may hold the object itself.
type objectText string

func (t *objectText) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err == nil {
		*t = objectText(s)
		return nil
	}
	if len(data) == 0 || data[0] != '{' {
		return errors.New("must be a string of JSON, or an object")
	}
	*t = objectText(data)
	return nil
}

// specTexts maps topics to ConsumerSpec texts.
type specTexts map[string]objectText

// ParseConfig reads what -instance-conf-path and -instance-conf hold: first the YAML file if path is not empty, then the
// JSON text, key by key over it. Unknown keys are ignored. The error names the key.
func ParseConfig(path, text string) (*Config, error) {
	var c conf
	if path != "" {
		if err := c.readFile(path); err != nil {
			return nil, fmt.Errorf("reading the instance configuration %s: %w", path, err)
		}
	}
	if text = unquote(text); text != "" {
		if err := c.merge([]byte(text)); err != nil {
			return nil, fmt.Errorf("reading the instance configuration of -instance-conf: %w", err)
		}
	}
	if c.InstanceID == wholeFunction {
		c.InstanceID = ordinal(os.Getenv("POD_NAME"))
	}
	return c.config()
}

// wholeFunction is what the Kubernetes runtime tells all pods of a Go function (Kubernetes contract, section 4.3).
const wholeFunction = -1

// ordinal is the number at the end of a StatefulSet pod's name; -1 if there is none.
func ordinal(podName string) int {
	n, err := strconv.Atoi(podName[strings.LastIndexByte(podName, '-')+1:])
	if err != nil || n < 0 {
		return wholeFunction
	}
	return n
}

// unquote takes off the single quotes that a worker may have left around JSON.
func unquote(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && s[0] == '\'' && s[len(s)-1] == '\'' {
		s = s[1 : len(s)-1]
	}
	return s
}

func (c *conf) readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfFile+1))
	if err != nil {
		return err
	}
	if len(data) > maxConfFile {
		return fmt.Errorf("it is larger than %d bytes", maxConfFile)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(data, &values); err != nil {
		return err
	}
	data, err = json.Marshal(values)
	if err != nil {
		return err
	}
	return c.merge(data)
}

func (c *conf) merge(data []byte) error {
	if err := json.Unmarshal(data, c); err != nil {
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			return fmt.Errorf("key %q: a JSON %s does not fit %s", wrong.Field, wrong.Value, wrong.Type)
		}
		return err
	}
	return nil
}

func (c *conf) config() (*Config, error) {
	details, detailsErr := c.details()
	cfg := &Config{
		Details: details, DetailsError: detailsErr,
		InstanceID: c.InstanceID, FunctionID: c.FuncID, FunctionVersion: c.FuncVersion, ClusterName: c.ClusterName,
		ServiceURL: c.PulsarServiceURL, WebServiceURL: c.PulsarWebServiceURL, StateURL: c.StateStorageServiceURL,
		Port: c.Port, MetricsPort: c.MetricsPort,
		HealthInterval: time.Duration(c.ExpectedHealthCheckInterval) * time.Second,
		MaxIdle:        time.Duration(c.KillAfterIdleMs) * time.Millisecond,
		AuthPlugin:     c.AuthPlugin, AuthParams: c.AuthParams, TrustCertsFile: c.TrustCertsFile,
		AllowInsecure: c.AllowInsecure, HostnameVerification: c.HostnameVerification,
	}
	return cfg, cfg.Validate()
}

// Validate says what is missing or impossible, by key.
func (cfg *Config) Validate() error {
	d := cfg.Details
	switch {
	case d.GetTenant() == "" || d.GetNamespace() == "" || d.GetName() == "":
		return errors.New("instance configuration: tenant, nameSpace and name (or functionDetails) must be set")
	case cfg.ServiceURL == "":
		return errors.New("instance configuration: pulsarServiceURL is not set")
	case cfg.InstanceID < 0:
		return fmt.Errorf("instance configuration: instanceID %d is negative", cfg.InstanceID)
	case cfg.Port > 65535 || cfg.MetricsPort > 65535:
		return fmt.Errorf("instance configuration: port %d or metricsPort %d is above 65535", cfg.Port, cfg.MetricsPort)
	case cfg.HealthInterval < 0 || cfg.MaxIdle < 0:
		return errors.New("instance configuration: expectedHealthCheckInterval or killAfterIdleMs is negative")
	}
	return nil
}

// details takes functionDetails if they can be read; otherwise the single keys, as workers before 4.0 pass them.
func (c *conf) details() (*pb.FunctionDetails, error) {
	text := unquote(string(c.FunctionDetails))
	if text == "" {
		return c.assembled(), nil
	}
	var d pb.FunctionDetails
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(text), &d); err != nil {
		return c.assembled(), fmt.Errorf("functionDetails cannot be read, the single keys are used: %w", err)
	}
	return &d, nil
}

func (c *conf) assembled() *pb.FunctionDetails {
	d := &pb.FunctionDetails{
		Tenant: c.Tenant, Namespace: c.NameSpace, Name: c.Name, LogTopic: c.LogTopic,
		ProcessingGuarantees: pb.ProcessingGuarantees(c.ProcessingGuarantees),
		UserConfig:           string(c.UserConfig), SecretsMap: string(c.SecretsMap),
		Runtime: pb.FunctionDetails_GO, AutoAck: c.AutoAck, Parallelism: c.Parallelism,
		ComponentType: pb.FunctionDetails_FUNCTION,
		Source: &pb.SourceSpec{
			SubscriptionType: pb.SubscriptionType(c.SubscriptionType), TimeoutMs: c.TimeoutMs,
			SubscriptionName: c.SubscriptionName, CleanupSubscription: c.CleanupSubscription,
			SubscriptionPosition: pb.SubscriptionPosition(c.SubscriptionPosition),
			InputSpecs:           map[string]*pb.ConsumerSpec{},
		},
		Sink:      &pb.SinkSpec{Topic: c.SinkSpecsTopic, SchemaType: c.SinkSchemaType},
		Resources: &pb.Resources{Cpu: c.CPU, Ram: c.RAM, Disk: c.Disk},
	}
	if c.MaxMessageRetries > 0 || c.DeadLetterTopic != "" {
		d.RetryDetails = &pb.RetryDetails{MaxMessageRetries: c.MaxMessageRetries, DeadLetterTopic: c.DeadLetterTopic}
	}
	for topic, text := range c.SourceInputSpecs {
		var spec pb.ConsumerSpec
		if (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(text), &spec) != nil {
			spec.Reset() // the topic counts even if its settings cannot be read
		}
		d.Source.InputSpecs[topic] = &spec
	}
	if len(d.Source.InputSpecs) == 0 && c.SourceSpecsTopic != "" {
		spec := &pb.ConsumerSpec{SchemaType: c.SourceSchemaType, IsRegexPattern: c.IsRegexPatternSubscription}
		if c.ReceiverQueueSize > 0 {
			spec.ReceiverQueueSize = &pb.ConsumerSpec_ReceiverQueueSize{Value: c.ReceiverQueueSize}
		}
		d.Source.InputSpecs[c.SourceSpecsTopic] = spec
	}
	return d
}
