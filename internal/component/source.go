package component

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Members of a batch source's stored configs: the batch config as a text of JSON, and the user's class (7.1).
const (
	batchConfigKey    = "__BATCHSOURCECONFIGS__"
	batchClassNameKey = "__BATCHSOURCECLASSNAME__"
)

// SourceDetails validates a source config and converts it to what the cluster stores. classes is the view of
// its package. The texts of the errors are the Java worker's; all of them mean that the request was bad.
func (o Options) SourceDetails(cfg *SourceConfig, classes Classes) (*pb.FunctionDetails, error) {
	if o.IsCompiledConnector(cfg.Archive) {
		return o.compiledSource(cfg)
	}
	if classes == nil {
		return nil, javaError("Source package is not provided")
	}
	className, typeName, err := cfg.check(classes)
	if err != nil {
		return nil, err
	}
	return cfg.details(className, typeName)
}

// check are the checks of a source, in the Java worker's order (4.2).
func (c *SourceConfig) check(classes Classes) (className, typeName string, err error) {
	if err := c.checkCommon(); err != nil {
		return "", "", err
	}
	if className, err = connectorClassName(Source, c.ClassName, classes); err != nil {
		return "", "", err
	}
	if typeName, err = c.resolve(className, classes); err != nil {
		return "", "", err
	}
	if text(c.SerdeClassName) != "" && text(c.SchemaType) != "" {
		return "", "", javaError("Only one of serdeClassName or schemaType should be set")
	}
	if err := checkSerDe(text(c.SerdeClassName), typeName, classes, output); err != nil {
		return "", "", err
	}
	if err := checkSchema(text(c.SchemaType), typeName, classes, output); err != nil {
		return "", "", err
	}
	if c.ProducerConfig != nil {
		err = checkKeyReader(c.ProducerConfig.CryptoConfig, classes, true)
	}
	return className, typeName, err
}

// checkCommon are the checks that come before those of classes.
func (c *SourceConfig) checkCommon() error {
	if err := checkNamed(Source, c.Tenant, c.Namespace, c.Name); err != nil {
		return err
	}
	if topic := text(c.TopicName); topic != "" && !validTopic(topic) {
		return javaError("Topic name is invalid")
	}
	return checkScale(Source, c.LogTopic, c.Parallelism, c.Resources)
}

// resolve checks the source's class and finds its type.
func (c *SourceConfig) resolve(className string, classes Classes) (typeName string, err error) {
	if !classes.Has(className) {
		return "", missingClass(Source, className, classes, "Source class %s not found in class loader")
	}
	plain, errPlain := classes.Implements(className, ioSource)
	batch, errBatch := classes.Implements(className, ioBatchSource)
	switch {
	case errPlain != nil || errBatch != nil:
		return "", javaError("Source class %s not found in class loader", className)
	case !plain && !batch:
		return "", javaError("Source class %s does not implement the correct interface", className)
	case batch && c.BatchSourceConfig == nil:
		return "", javaError("Source class %s implements %s but batch source source config is not specified", className, ioBatchSource)
	case batch && text(c.BatchSourceConfig.DiscoveryTriggererClassName) == "":
		return "", javaError("BatchSourceConfig does not specify Discovery Trigger ClassName")
	}
	iface := ioSource
	if !plain {
		iface = ioBatchSource
	}
	if typeName, err = firstTypeArgument(className, iface, classes); err != nil {
		return "", javaError("Failed to resolve type for Source class %s", className)
	}
	return typeName, nil
}

// details converts a config that has been validated (2.5).
func (c *SourceConfig) details(className, typeName string) (*pb.FunctionDetails, error) {
	source := &pb.SourceSpec{ClassName: className, TypeClassName: typeName}
	source.Builtin, _ = BuiltinName(c.Archive)
	if err := checkReserved("configs", c.Configs, "batchSourceConfig", batchConfigKey, batchClassNameKey); err != nil {
		return nil, err
	}
	configs := slices.Clone(c.Configs)
	if configs == nil {
		configs = Object{}
	}
	if c.BatchSourceConfig != nil {
		configs = append(configs, Member{batchConfigKey, gsonText(c.BatchSourceConfig.object())}, Member{batchClassNameKey, className})
		source.ClassName = batchSourceExecutor
	}
	source.Configs = gsonText(hashOrder(configs, len(c.Configs)))

	sink := &pb.SinkSpec{
		Topic:                        text(c.TopicName),
		SerDeClassName:               text(c.SerdeClassName),
		TypeClassName:                typeName,
		SchemaType:                   text(c.SchemaType),
		ForwardSourceMessageProperty: true, // whatever the worker setting says
	}
	var err error
	if sink.ProducerSpec, err = producerSpec(c.ProducerConfig, c.BatchBuilder); err != nil {
		return nil, err
	}
	if stored := c.stored.details.GetSink(); stored != nil && stored.GetProducerSpec() == nil && proto.Equal(sink.GetProducerSpec(), &pb.ProducerSpec{}) {
		sink.ProducerSpec = nil // the defaults of a GET's producerConfig are no change
	}
	return checkDetails(&pb.FunctionDetails{
		Tenant:               text(c.Tenant),
		Namespace:            text(c.Namespace),
		Name:                 text(c.Name),
		ClassName:            identityFunction,
		LogTopic:             text(c.LogTopic),
		ProcessingGuarantees: pb.ProcessingGuarantees(pb.ProcessingGuarantees_value[string(c.ProcessingGuarantees)]),
		//lint:ignore SA1019 deprecated, but what instances read
		AutoAck:              true,
		Parallelism:          orDefault(c.Parallelism, 1),
		Source:               source,
		Sink:                 sink,
		Resources:            resourcesSpec(c.Resources),
		SecretsMap:           secretsText(c.Secrets),
		RuntimeFlags:         text(c.RuntimeFlags),
		ComponentType:        pb.FunctionDetails_SOURCE,
		CustomRuntimeOptions: text(c.CustomRuntimeOptions),
	})
}

// object is the batch config as Gson writes it.
func (b *BatchSourceConfig) object() Object {
	o := Object{}
	if b.DiscoveryTriggererClassName != nil {
		o = append(o, Member{"discoveryTriggererClassName", *b.DiscoveryTriggererClassName})
	}
	if b.DiscoveryTriggererConfig != nil {
		o = append(o, Member{"discoveryTriggererConfig", Object(b.DiscoveryTriggererConfig)})
	}
	return o
}

// SourceConfigOf gives the config that a GET answers for stored details.
func SourceConfigOf(d *pb.FunctionDetails) (*SourceConfig, error) {
	c := &SourceConfig{
		Tenant:               ptr(d.GetTenant()),
		Namespace:            ptr(d.GetNamespace()),
		Name:                 ptr(d.GetName()),
		ClassName:            textOrNil(d.GetSource().GetClassName()),
		TopicName:            ptr(d.GetSink().GetTopic()),
		SerdeClassName:       textOrNil(d.GetSink().GetSerDeClassName()),
		SchemaType:           textOrNil(d.GetSink().GetSchemaType()),
		Parallelism:          ptr(d.GetParallelism()),
		Resources:            resourcesConfig(d.GetResources()),
		RuntimeFlags:         textOrNil(d.GetRuntimeFlags()),
		CustomRuntimeOptions: textOrNil(d.GetCustomRuntimeOptions()),
		LogTopic:             textOrNil(d.GetLogTopic()),
		stored:               storedConnector{details: d},
	}
	if builtin := d.GetSource().GetBuiltin(); builtin != "" {
		c.Archive = ptr(builtinScheme + builtin)
	}
	if err := c.setObjects(d); err != nil {
		return nil, fmt.Errorf("%s: %w", pb.FullyQualifiedName(d), err)
	}
	return c, nil
}

func (c *SourceConfig) setObjects(d *pb.FunctionDetails) (err error) {
	if c.ProcessingGuarantees, err = guaranteesConfig(d.GetProcessingGuarantees()); err != nil {
		return err
	}
	if c.ProducerConfig, err = producerConfig(d.GetSink().GetProducerSpec()); err != nil {
		return err
	}
	secrets, err := storedObject("secrets map", d.GetSecretsMap())
	if err != nil {
		return err
	}
	c.Secrets = FloatObject(secrets)
	configs, err := storedObject("source configs", d.GetSource().GetConfigs())
	if err != nil || configs == nil {
		return err
	}
	if v, ok := configs.Get(batchConfigKey); ok {
		if c.BatchSourceConfig, err = batchConfigOf(v); err != nil {
			return err
		}
		if v, ok := configs.Get(batchClassNameKey); ok {
			name, _ := v.(string)
			c.ClassName = textOrNil(name)
		}
	}
	c.Configs = configs.Without(batchConfigKey, batchClassNameKey)
	return nil
}

// batchConfigOf reads the batch config, a text of JSON within the stored configs.
func batchConfigOf(v any) (*BatchSourceConfig, error) {
	data, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("the stored batch source config should be a text, not %s", describe(v))
	}
	b := &BatchSourceConfig{}
	if err := decodeConfig("the stored batch source", []byte(data), b); err != nil {
		return nil, err
	}
	return b, nil
}

// BatchTopic names what a batch source needs besides its topic: the topic of discovered tasks, and the
// subscription on it that its instances share (7.1). ok is false for everything that is no batch source.
func BatchTopic(d *pb.FunctionDetails) (topic, subscription string, ok bool) {
	if KindOf(d) != Source {
		return "", "", false
	}
	configs, err := storedObject("source configs", d.GetSource().GetConfigs())
	if err != nil {
		return "", "", false
	}
	if _, ok = configs.Get(batchConfigKey); !ok {
		return "", "", false
	}
	return fmt.Sprintf("persistent://%s-intermediate", pb.FullyQualifiedName(d)),
		"BatchSourceExecutor-" + pb.FullyQualifiedName(d), true
}
