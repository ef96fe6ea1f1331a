package component

import "github.com/functions-worker/functions-worker/internal/pb"

// The interfaces of connectors, and the record that a sink's transform function must give.
const (
	ioSource      = "org.apache.pulsar.io.core.Source"
	ioBatchSource = "org.apache.pulsar.io.core.BatchSource"
	ioSink        = "org.apache.pulsar.io.core.Sink"
	apiRecord     = "org.apache.pulsar.functions.api.Record"
)

// SinkConfig is the JSON of a sink (contract rest-api.md, 9.3), in the order of the Java worker's answers.
type SinkConfig struct {
	Tenant                       *string                    `json:"tenant"`
	Namespace                    *string                    `json:"namespace"`
	Name                         *string                    `json:"name"`
	ClassName                    *string                    `json:"className"`
	SourceSubscriptionName       *string                    `json:"sourceSubscriptionName"`
	SourceSubscriptionPosition   Position                   `json:"sourceSubscriptionPosition"`
	Inputs                       []string                   `json:"inputs"`
	TopicToSerdeClassName        map[string]string          `json:"topicToSerdeClassName"`
	TopicsPattern                *string                    `json:"topicsPattern"`
	TopicToSchemaType            map[string]string          `json:"topicToSchemaType"`
	TopicToSchemaProperties      map[string]string          `json:"topicToSchemaProperties"`
	InputSpecs                   map[string]*ConsumerConfig `json:"inputSpecs"`
	MaxMessageRetries            *int32                     `json:"maxMessageRetries"`
	DeadLetterTopic              *string                    `json:"deadLetterTopic"`
	Configs                      Object                     `json:"configs"`
	Secrets                      FloatObject                `json:"secrets"`
	Parallelism                  *int32                     `json:"parallelism"`
	ProcessingGuarantees         Guarantees                 `json:"processingGuarantees"`
	RetainOrdering               *bool                      `json:"retainOrdering"`
	RetainKeyOrdering            *bool                      `json:"retainKeyOrdering"`
	Resources                    *Resources                 `json:"resources"`
	AutoAck                      *bool                      `json:"autoAck"`
	TimeoutMs                    *int64                     `json:"timeoutMs"`
	NegativeAckRedeliveryDelayMs *int64                     `json:"negativeAckRedeliveryDelayMs"`
	SinkType                     *string                    `json:"sinkType"`
	Archive                      *string                    `json:"archive"`
	CleanupSubscription          *bool                      `json:"cleanupSubscription"`
	RuntimeFlags                 *string                    `json:"runtimeFlags"`
	CustomRuntimeOptions         *string                    `json:"customRuntimeOptions"`
	TransformFunction            *string                    `json:"transformFunction"`
	TransformFunctionClassName   *string                    `json:"transformFunctionClassName"`
	TransformFunctionConfig      *string                    `json:"transformFunctionConfig"`
	LogTopic                     *string                    `json:"logTopic"`

	stored storedConnector
}

// SourceConfig is the JSON of a source (contract rest-api.md, 9.4), in the order of the Java worker's answers.
type SourceConfig struct {
	Tenant               *string            `json:"tenant"`
	Namespace            *string            `json:"namespace"`
	Name                 *string            `json:"name"`
	ClassName            *string            `json:"className"`
	TopicName            *string            `json:"topicName"`
	ProducerConfig       *ProducerConfig    `json:"producerConfig"`
	SerdeClassName       *string            `json:"serdeClassName"`
	SchemaType           *string            `json:"schemaType"`
	Configs              Object             `json:"configs"`
	Secrets              FloatObject        `json:"secrets"`
	Parallelism          *int32             `json:"parallelism"`
	ProcessingGuarantees Guarantees         `json:"processingGuarantees"`
	Resources            *Resources         `json:"resources"`
	SourceType           *string            `json:"sourceType"`
	Archive              *string            `json:"archive"`
	RuntimeFlags         *string            `json:"runtimeFlags"`
	CustomRuntimeOptions *string            `json:"customRuntimeOptions"`
	BatchSourceConfig    *BatchSourceConfig `json:"batchSourceConfig"`
	BatchBuilder         *string            `json:"batchBuilder"`
	LogTopic             *string            `json:"logTopic"`

	stored storedConnector
}

// BatchSourceConfig makes a source one that works off tasks which a triggerer discovers (section 7.1).
type BatchSourceConfig struct {
	DiscoveryTriggererClassName *string     `json:"discoveryTriggererClassName"`
	DiscoveryTriggererConfig    FloatObject `json:"discoveryTriggererConfig"`
}

// SetName sets tenant, namespace and name, which the path of a request decides, whatever the config says.
func (c *SinkConfig) SetName(tenant, namespace, name string) {
	c.Tenant, c.Namespace, c.Name = &tenant, &namespace, &name
}

// SetName sets tenant, namespace and name, which the path of a request decides, whatever the config says.
func (c *SourceConfig) SetName(tenant, namespace, name string) {
	c.Tenant, c.Namespace, c.Name = &tenant, &namespace, &name
}

// ParseSinkConfig reads the text of a sink config. Text that is empty or null counts as not provided.
func ParseSinkConfig(data []byte) (*SinkConfig, error) {
	c := &SinkConfig{}
	if err := parseConnector("Sink", data, c); err != nil {
		return nil, err
	}
	return c, nil
}

// ParseSourceConfig reads the text of a source config. Text that is empty or null counts as not provided.
func ParseSourceConfig(data []byte) (*SourceConfig, error) {
	c := &SourceConfig{}
	if err := parseConnector("Source", data, c); err != nil {
		return nil, err
	}
	return c, nil
}

func parseConnector(what string, data []byte, c any) error {
	if notProvided(data) {
		return javaError("%s config is not provided", what)
	}
	return decodeConfig(what, data, c)
}

// checkNamed are the first checks of sinks and sources.
func checkNamed(kind Kind, tenant, namespace, name *string) error {
	switch {
	case text(tenant) == "":
		return javaError("%s tenant cannot be null", kind)
	case text(namespace) == "":
		return javaError("%s namespace cannot be null", kind)
	case text(name) == "":
		return javaError("%s name cannot be null", kind)
	default:
		return nil
	}
}

// checkScale are the checks of log topic, parallelism and resources that sinks and sources share.
func checkScale(kind Kind, logTopic *string, parallelism *int32, r *Resources) error {
	if name := text(logTopic); name != "" && !validTopic(name) {
		return javaError("LogTopic topic %s is invalid", name)
	}
	if err := checkParallelism(kind, parallelism); err != nil {
		return err
	}
	return r.check()
}

// checkParallelism refuses more instances than workers deal with, too.
func checkParallelism(kind Kind, parallelism *int32) error {
	switch {
	case parallelism == nil:
		return nil
	case *parallelism <= 0:
		return javaError("%s parallelism must be a positive number", kind)
	case *parallelism > pb.MaxParallelism:
		return javaError("%s parallelism must be at most %d", kind, pb.MaxParallelism)
	}
	return nil
}

// connectorClassName is the class that the config names, also an empty one; without any, the one that the
// package declares.
func connectorClassName(kind Kind, given *string, classes Classes) (string, error) {
	if given != nil {
		return *given, nil
	}
	name, ok, err := declaredClass(classes, kind)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "", javaError("%s package doesn't contain the META-INF/services/pulsar-io.yaml file.", kind)
	case name == "" && kind == Sink:
		return "", javaError("Failed to extract sink class from archive")
	case name == "":
		return "", javaError("Failed to extract source class from archive")
	default:
		return name, nil
	}
}

// firstTypeArgument is the type that a class binds for an interface with one parameter.
func firstTypeArgument(class, iface string, classes Classes) (string, error) {
	args, err := classes.TypeArguments(class, iface)
	if err != nil {
		return "", err
	}
	if len(args) == 0 {
		return "", javaError("%s does not say the type of %s", class, iface)
	}
	return args[0], nil
}
