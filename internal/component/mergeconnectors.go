package component

// MergeSink applies an update to the config of stored details, as SinkConfigOf gives it (5.2). Neither
// argument is changed.
func MergeSink(existing, update *SinkConfig) (*SinkConfig, error) {
	m := *existing
	switch {
	case text(existing.Tenant) != text(update.Tenant):
		return nil, javaError("Tenants differ")
	case text(existing.Namespace) != text(update.Namespace):
		return nil, javaError("Namespaces differ")
	case text(existing.Name) != text(update.Name):
		return nil, javaError("Sink Names differ")
	case alters(existing.SourceSubscriptionName, update.SourceSubscriptionName):
		return nil, javaError("Subscription Name cannot be altered")
	}
	given := updatedInputs(update.InputSpecs, update.Inputs, update.TopicsPattern, update.TopicToSerdeClassName,
		update.TopicToSchemaType, Sink)
	var err error
	if m.InputSpecs, err = mergeInputs(existing.InputSpecs, given, Sink); err != nil {
		return nil, err
	}
	if err := unchangedSink(existing, update); err != nil {
		return nil, err
	}
	setText(&m.ClassName, update.ClassName)
	setText(&m.LogTopic, update.LogTopic)
	setText(&m.Archive, update.Archive)
	setText(&m.RuntimeFlags, update.RuntimeFlags)
	setText(&m.CustomRuntimeOptions, update.CustomRuntimeOptions)
	setObject(&m.Configs, update.Configs)
	setObject(&m.Secrets, update.Secrets)
	set(&m.Parallelism, update.Parallelism)
	set(&m.TimeoutMs, update.TimeoutMs)
	m.mergeRetries(update)
	set(&m.CleanupSubscription, update.CleanupSubscription)
	set(&m.TransformFunction, update.TransformFunction)
	set(&m.TransformFunctionClassName, update.TransformFunctionClassName)
	set(&m.TransformFunctionConfig, update.TransformFunctionConfig)
	if update.SourceSubscriptionPosition != "" {
		m.SourceSubscriptionPosition = update.SourceSubscriptionPosition
	}
	m.Resources = mergeResources(existing.Resources, update.Resources)
	return &m, nil
}

// mergeRetries applies what the Java worker ignores in updates. Numbers that are not positive mean none, as
// a GET shows them, so that a config which is sent again unchanged is no change.
func (c *SinkConfig) mergeRetries(update *SinkConfig) {
	setPositive(&c.NegativeAckRedeliveryDelayMs, update.NegativeAckRedeliveryDelayMs)
	setPositive(&c.MaxMessageRetries, update.MaxMessageRetries)
	switch {
	case c.MaxMessageRetries == nil:
		c.DeadLetterTopic = nil
	case !blank(text(update.DeadLetterTopic)):
		c.DeadLetterTopic = update.DeadLetterTopic
	}
}

// setPositive replaces a number that the update names, by null when it is not positive.
func setPositive[N int32 | int64](dst **N, update *N) {
	switch {
	case update == nil:
	case *update > 0:
		*dst = update
	default:
		*dst = nil
	}
}

// unchangedSink refuses what an update cannot change. The ordering flags of a GET are derived from the
// subscription; the ones that were once given are no change either.
func unchangedSink(existing, update *SinkConfig) error {
	stored := existing.stored.details
	switch {
	case update.ProcessingGuarantees != "" && update.ProcessingGuarantees != existing.ProcessingGuarantees:
		return javaError("Processing Guarantees cannot be altered")
	case flips(existing.RetainOrdering, update.RetainOrdering) && isTrue(update.RetainOrdering) != stored.GetRetainOrdering():
		return javaError("Retain Ordering cannot be altered")
	case flips(existing.RetainKeyOrdering, update.RetainKeyOrdering) && isTrue(update.RetainKeyOrdering) != stored.GetRetainKeyOrdering():
		return javaError("Retain Key Ordering cannot be altered")
	case flips(existing.AutoAck, update.AutoAck):
		return javaError("AutoAck cannot be altered")
	default:
		return nil
	}
}

// SameSink says whether a merge changed nothing ("Update contains no change").
func SameSink(existing, merged *SinkConfig) bool {
	return sameConfig(existing, merged) && equalJSON(Object(existing.Secrets), Object(merged.Secrets))
}

// MergeSource applies an update to the config of stored details, as SourceConfigOf gives it (5.3). Neither
// argument is changed. The update of a batch source must bring its batch config again.
func MergeSource(existing, update *SourceConfig) (*SourceConfig, error) {
	m := *existing
	switch {
	case text(existing.Tenant) != text(update.Tenant):
		return nil, javaError("Tenants differ")
	case text(existing.Namespace) != text(update.Namespace):
		return nil, javaError("Namespaces differ")
	case text(existing.Name) != text(update.Name):
		return nil, javaError("Function Names differ")
	case update.ProcessingGuarantees != "" && update.ProcessingGuarantees != existing.ProcessingGuarantees:
		return nil, javaError("Processing Guarantees cannot be altered")
	case (existing.BatchSourceConfig == nil) != (update.BatchSourceConfig == nil):
		return nil, javaError("Sources cannot be update between regular sources and batchsource")
	}
	if b := update.BatchSourceConfig; b != nil {
		if text(existing.BatchSourceConfig.DiscoveryTriggererClassName) != text(b.DiscoveryTriggererClassName) {
			return nil, javaError("DiscoverTriggerer class cannot be updated for batchsources")
		}
		batch := *existing.BatchSourceConfig
		batch.DiscoveryTriggererConfig = b.DiscoveryTriggererConfig
		if equalJSON(Object(existing.BatchSourceConfig.DiscoveryTriggererConfig), Object(b.DiscoveryTriggererConfig)) {
			batch.DiscoveryTriggererConfig = existing.BatchSourceConfig.DiscoveryTriggererConfig
		}
		m.BatchSourceConfig = &batch
	}
	setText(&m.ClassName, update.ClassName)
	setText(&m.TopicName, update.TopicName)
	setText(&m.SerdeClassName, update.SerdeClassName)
	setText(&m.SchemaType, update.SchemaType)
	setText(&m.LogTopic, update.LogTopic)
	setText(&m.Archive, update.Archive)
	setText(&m.RuntimeFlags, update.RuntimeFlags)
	setText(&m.CustomRuntimeOptions, update.CustomRuntimeOptions)
	setObject(&m.Configs, update.Configs)
	setObject(&m.Secrets, update.Secrets)
	set(&m.Parallelism, update.Parallelism)
	if !sameConfig(existing.ProducerConfig, update.ProducerConfig) {
		set(&m.ProducerConfig, update.ProducerConfig)
	}
	m.Resources = mergeResources(existing.Resources, update.Resources)
	return &m, nil
}

// SameSource says whether a merge changed nothing ("Update contains no change").
func SameSource(existing, merged *SourceConfig) bool {
	return sameConfig(existing, merged) && equalJSON(Object(existing.Secrets), Object(merged.Secrets))
}
