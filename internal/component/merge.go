package component

// MergeFunction applies an update to the config of stored details, as FunctionConfigOf gives it (5.1). Neither
// argument is changed. Fields that the update does not name keep their values, also those that a config does
// not show; what cannot change is an error with the Java worker's text.
func MergeFunction(existing, update *FunctionConfig) (*FunctionConfig, error) {
	m := *existing
	switch {
	case text(existing.Tenant) != text(update.Tenant):
		return nil, javaError("Tenants differ")
	case text(existing.Namespace) != text(update.Namespace):
		return nil, javaError("Namespaces differ")
	case text(existing.Name) != text(update.Name):
		return nil, javaError("Function Names differ")
	}
	setText(&m.ClassName, update.ClassName)
	m.mergeJar(update)

	given := updatedInputs(update.InputSpecs, update.Inputs, update.TopicsPattern, update.CustomSerdeInputs,
		update.CustomSchemaInputs, Function)
	var err error
	if m.InputSpecs, err = mergeInputs(existing.InputSpecs, given, Function); err != nil {
		return nil, err
	}
	if err := unchangedFunction(existing, update); err != nil {
		return nil, err
	}
	setText(&m.LogTopic, update.LogTopic)
	setText(&m.Output, update.Output)
	setText(&m.DeadLetterTopic, update.DeadLetterTopic)
	setText(&m.RuntimeFlags, update.RuntimeFlags)
	setText(&m.CustomRuntimeOptions, update.CustomRuntimeOptions)
	setObject(&m.UserConfig, update.UserConfig)
	setObject(&m.Secrets, update.Secrets)
	set(&m.MaxMessageRetries, update.MaxMessageRetries)
	set(&m.Parallelism, update.Parallelism)
	set(&m.WindowConfig, update.WindowConfig)
	set(&m.TimeoutMs, update.TimeoutMs)
	set(&m.CleanupSubscription, update.CleanupSubscription)
	if !sameConfig(existing.ProducerConfig, update.ProducerConfig) {
		set(&m.ProducerConfig, update.ProducerConfig)
	}
	m.Resources = mergeResources(existing.Resources, update.Resources)
	return &m, nil
}

// mergeJar takes the update's jar, or else names the built-in function that the details hold: a GET does not
// show it, and without it the merged function would have no package.
func (c *FunctionConfig) mergeJar(update *FunctionConfig) {
	if text(update.Jar) != "" {
		c.Jar = update.Jar
		c.stored.jar = false
		return
	}
	if builtin := c.stored.details.GetBuiltin(); builtin != "" && c.Jar == nil {
		c.Jar = ptr(builtinScheme + builtin)
		c.stored.jar = true
	}
}

// unchangedFunction refuses what an update cannot change.
func unchangedFunction(existing, update *FunctionConfig) error {
	switch {
	case alters(existing.OutputSerdeClassName, update.OutputSerdeClassName):
		return javaError("Output Serde mismatch")
	case alters(existing.OutputSchemaType, update.OutputSchemaType):
		return javaError("Output Schema mismatch")
	case update.ProcessingGuarantees != "" && update.ProcessingGuarantees != existing.ProcessingGuarantees:
		return javaError("Processing Guarantees cannot be altered")
	case flips(existing.RetainOrdering, update.RetainOrdering):
		return javaError("Retain Ordering cannot be altered")
	case flips(existing.RetainKeyOrdering, update.RetainKeyOrdering):
		return javaError("Retain Key Ordering cannot be altered")
	case update.Runtime != "" && update.Runtime != existing.Runtime:
		return javaError("Runtime cannot be altered")
	case flips(existing.AutoAck, update.AutoAck):
		return javaError("AutoAck cannot be altered")
	case alters(existing.SubName, update.SubName):
		return javaError("Subscription Name cannot be altered")
	default:
		return nil
	}
}

// alters says whether an update names another text; an empty one names nothing.
func alters(existing, update *string) bool {
	return text(update) != "" && (existing == nil || *existing != *update)
}

// flips says whether an update names another flag.
func flips(existing, update *bool) bool {
	return update != nil && (existing == nil || *existing != *update)
}

// setText replaces a text by a non-empty one.
func setText(dst **string, update *string) {
	if text(update) != "" {
		*dst = update
	}
}

// set replaces a field that the update names.
func set[T any](dst **T, update *T) {
	if update != nil {
		*dst = update
	}
}

// setObject replaces a free-form object, unless the update says the same in other spelling, as a client does
// that sends back what it has read: then the stored numbers stay integers.
func setObject[T ~[]Member](dst *T, update T) {
	if update != nil && !equalJSON(Object(*dst), Object(update)) {
		*dst = update
	}
}

// SameFunction says whether a merge changed nothing ("Update contains no change").
func SameFunction(existing, merged *FunctionConfig) bool {
	a, b := *existing, *merged
	if b.stored.jar {
		b.Jar = a.Jar
	} else if name, ok := BuiltinName(b.Jar); ok && name == a.stored.details.GetBuiltin() {
		b.Jar = a.Jar
	}
	return sameConfig(&a, &b) && equalJSON(Object(a.UserConfig), Object(b.UserConfig)) && equalJSON(Object(a.Secrets), Object(b.Secrets))
}
