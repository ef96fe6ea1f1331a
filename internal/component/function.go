package component

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// windowConfigKey is the member of the stored user config that holds the window (section 6).
const windowConfigKey = "__WINDOWCONFIGS__"

// storedFunction ties a config to the details it was read from, so that an update does not lose what the
// config cannot express.
type storedFunction struct {
	details *pb.FunctionDetails // nil for a config that a client sent
	jar     bool                // Jar was taken from the details, not from a client
}

// ParseFunctionConfig reads the text of a function config. Text that is empty or null counts as not provided.
func ParseFunctionConfig(data []byte) (*FunctionConfig, error) {
	c := &FunctionConfig{SubscriptionPosition: Latest}
	if notProvided(data) {
		return nil, javaError("Function config is not provided")
	}
	if err := decodeConfig("Function", data, c); err != nil {
		return nil, err
	}
	return c, nil
}

// SetName sets tenant, namespace and name, which the path of a request decides, whatever the config says.
func (c *FunctionConfig) SetName(tenant, namespace, name string) {
	c.Tenant, c.Namespace, c.Name = &tenant, &namespace, &name
}

// AsNew makes a config that was read from details one as a client sends it: what its fields do not show is
// forgotten. The legacy API, whose clients send details, needs it.
func (c *FunctionConfig) AsNew() { c.stored = storedFunction{} }

// UsePackage is for an update that brings a package: a built-in function named only by the stored details
// no longer counts.
func (c *FunctionConfig) UsePackage() {
	if c.stored.jar {
		c.Jar = nil
		c.stored.jar = false
	}
}

// Infer sets what follows from other fields (3.1): the runtime from the kind of package, the defaults, the
// window's members. FunctionDetails does it too; it is exported for callers that must know the runtime first.
func (o Options) Infer(c *FunctionConfig) {
	if c.Parallelism == nil {
		c.Parallelism = ptr[int32](1)
	}
	if c.MaxPendingAsyncRequests == nil {
		c.MaxPendingAsyncRequests = ptr[int32](1000)
	}
	if !o.ForwardSourceMessageProperty {
		c.ForwardSourceMessageProperty = nil
	} else if c.ForwardSourceMessageProperty == nil && c.stored.details == nil {
		c.ForwardSourceMessageProperty = ptr(true)
	}
	if _, ok := o.compiledIn(c.Go); ok && c.Jar == nil {
		c.Jar, c.Go = c.Go, nil
	}
	switch {
	case c.Jar != nil:
		c.Runtime = Java
	case c.Py != nil:
		c.Runtime = Python
	case c.Go != nil:
		c.Runtime = Go
	}
	if c.WindowConfig != nil {
		w := *c.WindowConfig
		w.infer()
		c.WindowConfig = &w
		c.AutoAck = ptr(false) // the window acknowledges
	}
}

// FunctionDetails validates a function config and converts it to what the cluster stores. classes is the view
// of its package; nil when there is none, which is an error for a Java function. The texts of the errors are
// the Java worker's; all of them mean that the request was bad. The config is left as it is.
func (o Options) FunctionDetails(cfg *FunctionConfig, classes Classes) (*pb.FunctionDetails, error) {
	c := *cfg
	o.Infer(&c)
	types := functionTypes{className: c.ClassName}
	if name, ok := o.compiledIn(c.Jar); ok {
		if err := c.checkCommon(); err != nil {
			return nil, err
		}
		if blank(text(c.ClassName)) {
			types.className = &name // what status and stats show; nothing is loaded by it
		}
		return c.details(types)
	}
	if c.Runtime == Java {
		if classes == nil {
			return nil, javaError("Function package is not provided")
		}
		if err := c.checkCommon(); err != nil {
			return nil, err
		}
		var err error
		if types, err = c.checkJava(classes); err != nil {
			return nil, err
		}
	} else {
		if err := c.checkCommon(); err != nil {
			return nil, err
		}
		check := c.checkNotJava
		if _, module := classes.(Module); module && c.Runtime == Go {
			check = c.checkModule
		}
		if err := check(); err != nil {
			return nil, err
		}
	}
	return c.details(types)
}

// details converts a config that has been validated.
func (c *FunctionConfig) details(types functionTypes) (*pb.FunctionDetails, error) {
	source, err := c.sourceSpec(types)
	if err != nil {
		return nil, err
	}
	sink, err := c.sinkSpec(types)
	if err != nil {
		return nil, err
	}
	d := &pb.FunctionDetails{
		Tenant:               text(c.Tenant),
		Namespace:            text(c.Namespace),
		Name:                 text(c.Name),
		ClassName:            text(types.className),
		LogTopic:             text(c.LogTopic),
		ProcessingGuarantees: pb.ProcessingGuarantees(pb.ProcessingGuarantees_value[string(c.ProcessingGuarantees)]),
		Runtime:              pb.FunctionDetails_Runtime(pb.FunctionDetails_Runtime_value[string(c.Runtime)]),
		//lint:ignore SA1019 deprecated, but what instances read
		AutoAck:              orDefault(c.AutoAck, true),
		Parallelism:          orDefault(c.Parallelism, 1),
		Source:               source,
		Sink:                 sink,
		Resources:            resourcesSpec(c.Resources),
		SecretsMap:           secretsText(c.Secrets),
		RuntimeFlags:         text(c.RuntimeFlags),
		ComponentType:        pb.FunctionDetails_FUNCTION,
		CustomRuntimeOptions: text(c.CustomRuntimeOptions),
		RetainOrdering:       isTrue(c.RetainOrdering),
		RetainKeyOrdering:    isTrue(c.RetainKeyOrdering),
	}
	if c.MaxMessageRetries != nil && *c.MaxMessageRetries >= 0 {
		d.RetryDetails = &pb.RetryDetails{MaxMessageRetries: *c.MaxMessageRetries, DeadLetterTopic: text(c.DeadLetterTopic)}
	}
	d.Builtin, _ = BuiltinName(c.Jar)

	settings := hashOrder(Object(c.UserConfig), len(c.UserConfig))
	if c.WindowConfig != nil {
		window, err := c.window(d)
		if err != nil {
			return nil, err
		}
		settings = hashOrder(append(slices.Clone(settings), Member{windowConfigKey, window}), len(c.UserConfig))
	}
	if len(settings) > 0 {
		d.UserConfig = gsonText(settings)
	}
	return checkDetails(d)
}

// window makes the details those of a function run by the window executor, and gives the window for the user
// config: the executor acknowledges by the guarantee that the function asked for.
func (c *FunctionConfig) window(d *pb.FunctionDetails) (Object, error) {
	if c.ProcessingGuarantees == EffectivelyOnce || c.ProcessingGuarantees == Manual {
		return nil, javaError("Windows Function not support %s delivery semantics.", c.ProcessingGuarantees)
	}
	w := *c.WindowConfig
	w.ProcessingGuarantees = WindowMode(d.GetProcessingGuarantees().String())
	w.ActualWindowFunctionClassName = textOrNil(d.GetClassName())
	d.ProcessingGuarantees = pb.ProcessingGuarantees_MANUAL
	d.ClassName = windowExecutor
	return w.object(), nil
}

func (c *FunctionConfig) sourceSpec(types functionTypes) (*pb.SourceSpec, error) {
	specs, err := c.inputSpecs()
	if err != nil {
		return nil, err
	}
	stored := c.stored.details.GetSource()
	s := &pb.SourceSpec{
		SubscriptionType:     subscriptionType(c.RetainOrdering, c.RetainKeyOrdering, c.ProcessingGuarantees),
		InputSpecs:           specs,
		SubscriptionPosition: positionSpec(c.SubscriptionPosition),
		SkipToLatest:         orDefault(c.SkipToLatest, stored.GetSkipToLatest()),
		CleanupSubscription:  orDefault(c.CleanupSubscription, true),
	}
	if !blank(text(c.SubName)) {
		s.SubscriptionName = *c.SubName
	}
	switch {
	case types.in != "":
		s.TypeClassName = types.in
	case text(c.InputTypeClassName) != "":
		s.TypeClassName = *c.InputTypeClassName
	case c.Runtime != Java:
		s.TypeClassName = stored.GetTypeClassName()
	}
	if c.TimeoutMs != nil {
		s.TimeoutMs = uint64(*c.TimeoutMs)
		s.NegativeAckRedeliveryDelayMs = uint64(*c.TimeoutMs) // a failed message comes again after the same time
	}
	return s, nil
}

func (c *FunctionConfig) sinkSpec(types functionTypes) (*pb.SinkSpec, error) {
	stored := c.stored.details.GetSink()
	s := &pb.SinkSpec{Topic: text(c.Output), ForwardSourceMessageProperty: isTrue(c.ForwardSourceMessageProperty)}
	if serde := text(c.OutputSerdeClassName); !blank(serde) {
		s.SerDeClassName = serde
	}
	if schema := text(c.OutputSchemaType); !blank(schema) {
		s.SchemaType = schema
	}
	if conf := c.CustomSchemaOutputs[text(c.Output)]; c.Output != nil && conf != "" {
		schema, err := parseSchemaInput(conf)
		if err != nil {
			return nil, javaError("Incorrect custom schema outputs,Topic %s ", *c.Output)
		}
		s.SchemaProperties, s.ConsumerProperties = schema.SchemaProperties, schema.ConsumerProperties
	} else if c.CustomSchemaOutputs == nil && stored.GetTopic() == s.GetTopic() {
		s.SchemaProperties, s.ConsumerProperties = stored.GetSchemaProperties(), stored.GetConsumerProperties()
	}
	switch {
	case types.out != "":
		s.TypeClassName = types.out
	case text(c.OutputTypeClassName) != "":
		s.TypeClassName = *c.OutputTypeClassName
	case c.Runtime != Java:
		s.TypeClassName = stored.GetTypeClassName()
	}
	var err error
	s.ProducerSpec, err = producerSpec(c.ProducerConfig, c.BatchBuilder)
	if err == nil && stored != nil && stored.GetProducerSpec() == nil && proto.Equal(s.GetProducerSpec(), &pb.ProducerSpec{}) {
		s.ProducerSpec = nil // the defaults of a GET's producerConfig are no change
	}
	return s, err
}

// FunctionConfigOf gives the config that a GET answers for stored details: with nulls where the Java worker
// has them. What such a config cannot show stays attached to it, and comes back when it is merged and converted.
func FunctionConfigOf(d *pb.FunctionDetails) (*FunctionConfig, error) {
	c := &FunctionConfig{
		Tenant:              ptr(d.GetTenant()),
		Namespace:           ptr(d.GetNamespace()),
		Name:                ptr(d.GetName()),
		ClassName:           ptr(d.GetClassName()),
		Parallelism:         ptr(d.GetParallelism()),
		SubName:             textOrNil(d.GetSource().GetSubscriptionName()),
		RetainOrdering:      ptr(d.GetRetainOrdering()),
		RetainKeyOrdering:   ptr(d.GetRetainKeyOrdering()),
		CleanupSubscription: ptr(d.GetSource().GetCleanupSubscription()),
		//lint:ignore SA1019 deprecated, but what instances read
		AutoAck:                      ptr(d.GetAutoAck()),
		SubscriptionPosition:         positionConfig(d.GetSource().GetSubscriptionPosition()),
		Output:                       textOrNil(d.GetSink().GetTopic()),
		OutputSerdeClassName:         textOrNil(d.GetSink().GetSerDeClassName()),
		OutputSchemaType:             textOrNil(d.GetSink().GetSchemaType()),
		LogTopic:                     textOrNil(d.GetLogTopic()),
		Resources:                    resourcesConfig(d.GetResources()),
		RuntimeFlags:                 textOrNil(d.GetRuntimeFlags()),
		CustomRuntimeOptions:         textOrNil(d.GetCustomRuntimeOptions()),
		ForwardSourceMessageProperty: nil,
		stored:                       storedFunction{details: d},
	}
	if d.GetSink().GetForwardSourceMessageProperty() {
		c.ForwardSourceMessageProperty = ptr(true)
	}
	if ms := d.GetSource().GetTimeoutMs(); ms != 0 {
		c.TimeoutMs = ptr(int64(ms))
	}
	if r := d.GetRetryDetails(); r != nil {
		c.MaxMessageRetries = ptr(r.GetMaxMessageRetries())
		c.DeadLetterTopic = textOrNil(r.GetDeadLetterTopic())
	}
	language, ok := pb.FunctionDetails_Runtime_name[int32(d.GetRuntime())]
	if !ok {
		return nil, fmt.Errorf("%s: the stored runtime %d is not known", pb.FullyQualifiedName(d), d.GetRuntime())
	}
	c.Runtime = Language(language)
	if err := c.setObjects(d); err != nil {
		return nil, fmt.Errorf("%s: %w", pb.FullyQualifiedName(d), err)
	}
	return c, nil
}

// setObjects fills the members that are objects, and what the user config says about a window.
func (c *FunctionConfig) setObjects(d *pb.FunctionDetails) (err error) {
	if c.ProcessingGuarantees, err = guaranteesConfig(d.GetProcessingGuarantees()); err != nil {
		return err
	}
	if c.InputSpecs, err = inputConfigs(d, Function); err != nil {
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
	settings, err := storedObject("user config", d.GetUserConfig())
	if err != nil {
		return err
	}
	if settings == nil {
		settings = Object{}
	}
	if v, ok := settings.Get(windowConfigKey); ok {
		if c.WindowConfig, err = windowConfigOf(v); err != nil {
			return err
		}
		c.ClassName = c.WindowConfig.ActualWindowFunctionClassName
		if g := c.WindowConfig.ProcessingGuarantees; g != "" {
			c.ProcessingGuarantees = Guarantees(g)
		}
		settings = settings.Without(windowConfigKey)
	}
	c.UserConfig = FloatObject(settings)
	return nil
}
