package component

import (
	"fmt"
	"slices"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// storedConnector ties the config of a sink or source to the details it was read from.
type storedConnector struct {
	details *pb.FunctionDetails // nil for a config that a client sent
}

// sinkTypes is what validation found out about a sink's classes.
type sinkTypes struct {
	className string // of the sink
	function  string // of the transform function, "" for none
	typeName  string // of the values that come out of the topics
}

// SinkDetails validates a sink config and converts it to what the cluster stores. classes is the view of its
// package, transform that of its transform function's; nil when there is none. A sink whose stored details
// have a transform function that its config cannot name (one from a URL) keeps it when transform is nil.
// The texts of the errors are the Java worker's; all of them mean that the request was bad.
func (o Options) SinkDetails(cfg *SinkConfig, classes, transform Classes) (*pb.FunctionDetails, error) {
	if o.IsCompiledConnector(cfg.Archive) {
		return o.compiledSink(cfg)
	}
	if classes == nil {
		return nil, javaError("Sink package is not provided")
	}
	if transform == nil && !blank(text(cfg.TransformFunction)) {
		return nil, javaError("Transform Function package not found")
	}
	types, err := cfg.check(classes, transform)
	if err != nil {
		return nil, err
	}
	return cfg.details(types)
}

func (c *SinkConfig) inputTopics() []string {
	topics := slices.Clone(c.Inputs)
	topics = append(topics, keys(c.TopicToSerdeClassName)...)
	if c.TopicsPattern != nil {
		topics = append(topics, *c.TopicsPattern)
	}
	topics = append(topics, keys(c.TopicToSchemaType)...)
	return append(topics, keys(c.InputSpecs)...)
}

// check are the checks of a sink, in the Java worker's order (4.1).
func (c *SinkConfig) check(classes, transform Classes) (sinkTypes, error) {
	var none sinkTypes
	if err := c.checkCommon(); err != nil {
		return none, err
	}
	types, err := c.resolve(classes, transform)
	if err != nil {
		return none, err
	}
	if transform != nil {
		classes = transform
	}
	if err := c.checkInputClasses(classes, types.typeName); err != nil {
		return none, err
	}
	return types, checkOrdering(c.RetainOrdering, c.RetainKeyOrdering, c.ProcessingGuarantees)
}

// checkCommon are the checks that come before those of classes.
func (c *SinkConfig) checkCommon() error {
	if err := checkNamed(Sink, c.Tenant, c.Namespace, c.Name); err != nil {
		return err
	}
	inputs := c.inputTopics()
	if len(inputs) == 0 {
		return javaError("Must specify at least one topic of input via topicToSerdeClassName, topicsPattern, topicToSchemaType or inputSpecs")
	}
	for _, topic := range inputs {
		if !validTopic(topic) {
			return javaError("Input topic %s is invalid", topic)
		}
	}
	if err := checkScale(Sink, c.LogTopic, c.Parallelism, c.Resources); err != nil {
		return err
	}
	if c.TimeoutMs != nil && *c.TimeoutMs < 0 {
		return javaError("Sink timeout must be a positive number")
	}
	return nil
}

// resolve finds the sink's class and type: the type is the transform function's input when there is one.
func (c *SinkConfig) resolve(classes, transform Classes) (sinkTypes, error) {
	var types sinkTypes
	var err error
	if types.className, err = connectorClassName(Sink, c.ClassName, classes); err != nil {
		return types, err
	}
	if !classes.Has(types.className) {
		return types, missingClass(Sink, types.className, classes, "Sink class %s not found")
	}
	types.function = text(c.TransformFunctionClassName)
	switch stored := c.stored.details; {
	case transform != nil:
		return types, c.resolveTransform(&types, transform)
	case hasTransform(stored) && types.function == stored.GetClassName():
		types.typeName = stored.GetSource().GetTypeClassName()
		return types, nil
	}
	ok, err := classes.Implements(types.className, ioSink)
	if err != nil {
		return types, javaError("Sink class %s not found", types.className)
	}
	if !ok {
		return types, javaError("Sink class %s does not implement the correct interface", types.className)
	}
	types.typeName, err = firstTypeArgument(types.className, ioSink, classes)
	return types, err
}

// hasTransform says whether stored details of a sink have a transform function.
func hasTransform(d *pb.FunctionDetails) bool {
	return d.GetClassName() != "" && d.GetClassName() != identityFunction
}

func (c *SinkConfig) resolveTransform(types *sinkTypes, transform Classes) error {
	if c.TransformFunctionClassName == nil {
		name, ok, err := declaredClass(transform, Function)
		switch {
		case err != nil:
			return err
		case !ok:
			return javaError("Function package doesn't contain the META-INF/services/pulsar-io.yaml file.")
		case name == "":
			return javaError("Transform function class name must be set")
		}
		types.function = name
	}
	if !transform.Has(types.function) {
		return missingClass(Function, types.function, transform, "Function class %s not found")
	}
	in, _, kind, err := transform.FunctionTypes(types.function)
	if err != nil {
		return err
	}
	iface := apiFunction
	switch kind {
	case PulsarFunction:
	case JavaFunction, JavaWindowFunction:
		iface = javaFunction
	default:
		return javaError("Function class %s does not implement the correct interface", types.function)
	}
	args, err := transform.TypeArguments(types.function, iface)
	if err != nil {
		return err
	}
	if len(args) < 2 || !assignable(args[1], apiRecord, transform) {
		return javaError("Sink transform function output must be of type Record")
	}
	types.typeName = in
	return nil
}

func (c *SinkConfig) checkInputClasses(classes Classes, in string) error {
	for _, topic := range keys(c.TopicToSerdeClassName) {
		if err := checkSerDe(c.TopicToSerdeClassName[topic], in, classes, input); err != nil {
			return err
		}
	}
	for _, topic := range keys(c.TopicToSchemaType) {
		if err := checkSchema(c.TopicToSchemaType[topic], in, classes, input); err != nil {
			return err
		}
	}
	for _, topic := range keys(c.InputSpecs) {
		spec := c.InputSpecs[topic]
		if text(spec.SchemaType) != "" && text(spec.SerdeClassName) != "" {
			return javaError("Only one of serdeClassName or schemaType should be set")
		}
		if err := checkInputSpec(spec, in, classes); err != nil {
			return err
		}
	}
	return nil
}

func (c *SinkConfig) inputSpecs() (map[string]*pb.ConsumerSpec, error) {
	specs := map[string]*pb.ConsumerSpec{}
	for _, topic := range c.Inputs {
		specs[topic] = &pb.ConsumerSpec{}
	}
	if p := text(c.TopicsPattern); p != "" {
		specs[p] = &pb.ConsumerSpec{IsRegexPattern: true}
	}
	for topic, serde := range c.TopicToSerdeClassName {
		specs[topic] = &pb.ConsumerSpec{SerdeClassName: serde}
	}
	for topic, schema := range c.TopicToSchemaType {
		specs[topic] = &pb.ConsumerSpec{SchemaType: schema}
	}
	for _, topic := range keys(c.InputSpecs) {
		spec, err := consumerSpec(c.InputSpecs[topic], Sink)
		if err != nil {
			return nil, err
		}
		specs[topic] = spec
	}
	return specs, nil
}

// details converts a config that has been validated (2.4).
func (c *SinkConfig) details(types sinkTypes) (*pb.FunctionDetails, error) {
	specs, err := c.inputSpecs()
	if err != nil {
		return nil, err
	}
	source := &pb.SourceSpec{
		SubscriptionType:     subscriptionType(c.RetainOrdering, c.RetainKeyOrdering, c.ProcessingGuarantees),
		TypeClassName:        types.typeName,
		InputSpecs:           specs,
		SubscriptionPosition: positionSpec(c.SourceSubscriptionPosition),
		CleanupSubscription:  orDefault(c.CleanupSubscription, true),
		TimeoutMs:            uint64(orDefault(c.TimeoutMs, 0)),
	}
	if name := text(c.SourceSubscriptionName); !blank(name) {
		source.SubscriptionName = name
	}
	if delay := orDefault(c.NegativeAckRedeliveryDelayMs, 0); delay > 0 {
		source.NegativeAckRedeliveryDelayMs = uint64(delay)
	}
	sink := &pb.SinkSpec{ClassName: types.className, TypeClassName: types.typeName}
	sink.Builtin, _ = BuiltinName(c.Archive)
	if c.Configs != nil {
		sink.Configs = gsonText(c.Configs)
	}
	d := &pb.FunctionDetails{
		Tenant:               text(c.Tenant),
		Namespace:            text(c.Namespace),
		Name:                 text(c.Name),
		ClassName:            identityFunction,
		LogTopic:             text(c.LogTopic),
		ProcessingGuarantees: pb.ProcessingGuarantees(pb.ProcessingGuarantees_value[string(c.ProcessingGuarantees)]),
		UserConfig:           text(c.TransformFunctionConfig),
		//lint:ignore SA1019 deprecated, but what instances read
		AutoAck:              orDefault(c.AutoAck, true),
		Parallelism:          orDefault(c.Parallelism, 1),
		Source:               source,
		Sink:                 sink,
		Resources:            resourcesSpec(c.Resources),
		SecretsMap:           secretsText(c.Secrets),
		ComponentType:        pb.FunctionDetails_SINK,
		CustomRuntimeOptions: text(c.CustomRuntimeOptions),
		RetainOrdering:       isTrue(c.RetainOrdering),
		RetainKeyOrdering:    isTrue(c.RetainKeyOrdering),
	}
	if flags := text(c.RuntimeFlags); !blank(flags) {
		d.RuntimeFlags = flags
	}
	if stored := c.stored.details; stored != nil { // the config's flags are derived from the subscription
		d.RetainOrdering, d.RetainKeyOrdering = stored.GetRetainOrdering(), stored.GetRetainKeyOrdering()
	}
	if types.function != "" {
		d.ClassName = types.function
	}
	d.Builtin, _ = BuiltinName(c.TransformFunction)
	d.RetryDetails = c.retryDetails()
	return checkDetails(d)
}

// retryDetails are set from one retry on; a function's from zero.
func (c *SinkConfig) retryDetails() *pb.RetryDetails {
	retries := orDefault(c.MaxMessageRetries, 0)
	if retries <= 0 {
		return nil
	}
	r := &pb.RetryDetails{MaxMessageRetries: retries}
	if topic := text(c.DeadLetterTopic); !blank(topic) {
		r.DeadLetterTopic = topic
	}
	return r
}

// SinkConfigOf gives the config that a GET answers for stored details.
func SinkConfigOf(d *pb.FunctionDetails) (*SinkConfig, error) {
	source, sink := d.GetSource(), d.GetSink()
	c := &SinkConfig{
		Tenant:                     ptr(d.GetTenant()),
		Namespace:                  ptr(d.GetNamespace()),
		Name:                       ptr(d.GetName()),
		ClassName:                  textOrNil(sink.GetClassName()),
		SourceSubscriptionName:     textOrNil(source.GetSubscriptionName()),
		SourceSubscriptionPosition: positionConfig(source.GetSubscriptionPosition()),
		Parallelism:                ptr(d.GetParallelism()),
		RetainOrdering:             ptr(source.GetSubscriptionType() == pb.SubscriptionType_FAILOVER),
		RetainKeyOrdering:          ptr(source.GetSubscriptionType() == pb.SubscriptionType_KEY_SHARED),
		Resources:                  resourcesConfig(d.GetResources()),
		//lint:ignore SA1019 deprecated, but what instances read
		AutoAck:                 ptr(d.GetAutoAck()),
		CleanupSubscription:     ptr(source.GetCleanupSubscription()),
		RuntimeFlags:            textOrNil(d.GetRuntimeFlags()),
		CustomRuntimeOptions:    textOrNil(d.GetCustomRuntimeOptions()),
		TransformFunctionConfig: textOrNil(d.GetUserConfig()),
		LogTopic:                textOrNil(d.GetLogTopic()),
		stored:                  storedConnector{details: d},
	}
	if ms := source.GetTimeoutMs(); ms != 0 {
		c.TimeoutMs = ptr(int64(ms))
	}
	if ms := source.GetNegativeAckRedeliveryDelayMs(); ms != 0 {
		c.NegativeAckRedeliveryDelayMs = ptr(int64(ms))
	}
	if sink.GetBuiltin() != "" {
		c.Archive = ptr(builtinScheme + sink.GetBuiltin())
	}
	if d.GetBuiltin() != "" {
		c.TransformFunction = ptr(builtinScheme + d.GetBuiltin())
	}
	if d.GetClassName() != identityFunction {
		c.TransformFunctionClassName = ptr(d.GetClassName())
	}
	if r := d.GetRetryDetails(); r != nil {
		c.MaxMessageRetries = ptr(r.GetMaxMessageRetries())
		c.DeadLetterTopic = textOrNil(r.GetDeadLetterTopic())
	}
	if err := c.setObjects(d); err != nil {
		return nil, fmt.Errorf("%s: %w", pb.FullyQualifiedName(d), err)
	}
	return c, nil
}

func (c *SinkConfig) setObjects(d *pb.FunctionDetails) (err error) {
	if c.ProcessingGuarantees, err = guaranteesConfig(d.GetProcessingGuarantees()); err != nil {
		return err
	}
	if c.InputSpecs, err = inputConfigs(d, Sink); err != nil {
		return err
	}
	c.Inputs = append([]string{}, keys(c.InputSpecs)...)
	if c.Configs, err = storedObject("sink configs", d.GetSink().GetConfigs()); err != nil {
		return err
	}
	secrets, err := storedObject("secrets map", d.GetSecretsMap())
	c.Secrets = FloatObject(secrets)
	return err
}
