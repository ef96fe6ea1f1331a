package component

import (
	"slices"
	"strings"
)

// checkCommon are the checks of every function, in the Java worker's order (3.2).
func (c *FunctionConfig) checkCommon() error {
	switch {
	case text(c.Tenant) == "":
		return javaError("Function tenant cannot be null")
	case text(c.Namespace) == "":
		return javaError("Function namespace cannot be null")
	case text(c.Name) == "":
		return javaError("Function name cannot be null")
	case c.Runtime == Python && text(c.ClassName) == "":
		return javaError("Function classname cannot be null")
	}
	for _, check := range []func() error{c.checkTopics, c.checkWindow, func() error { return c.Resources.check() },
		c.checkDelivery, c.checkFiles, c.checkInputSpecs, c.checkProducer, c.checkUserConfig} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *FunctionConfig) checkTopics() error {
	inputs := c.inputTopics()
	if len(inputs) == 0 {
		return javaError("No input topic(s) specified for the function")
	}
	for _, topic := range inputs {
		if !validTopic(topic) {
			return javaError("Input topic %s is invalid", topic)
		}
	}
	for _, t := range []struct {
		what  string
		topic *string
	}{{"Output", c.Output}, {"LogTopic", c.LogTopic}, {"DeadLetter", c.DeadLetterTopic}} {
		if name := text(t.topic); name != "" && !validTopic(name) {
			return javaError("%s topic %s is invalid", t.what, name)
		}
	}
	if err := checkParallelism(Function, c.Parallelism); err != nil {
		return err
	}
	if c.Output != nil && slices.Contains(inputs, *c.Output) {
		return javaError("Output topic %s is also being used as an input topic (topics must be one or the other)", *c.Output)
	}
	return nil
}

func (c *FunctionConfig) checkWindow() error {
	if c.WindowConfig == nil {
		return nil
	}
	if isTrue(c.AutoAck) {
		return javaError("Cannot enable auto ack when using windowing functionality")
	}
	return c.WindowConfig.check()
}

func (r *Resources) check() error {
	switch {
	case r == nil:
		return nil
	case r.CPU != nil && !(*r.CPU > 0):
		return javaError("The cpu allocation for the function must be positive")
	case r.RAM != nil && *r.RAM <= 0:
		return javaError("The ram allocation for the function must be positive")
	case r.Disk != nil && *r.Disk <= 0:
		return javaError("The disk allocation for the function must be positive")
	default:
		return nil
	}
}

// checkDelivery are the checks of timeouts, retries and ordering.
func (c *FunctionConfig) checkDelivery() error {
	retries := c.MaxMessageRetries != nil && *c.MaxMessageRetries >= 0
	switch {
	case c.TimeoutMs != nil && *c.TimeoutMs <= 0:
		return javaError("Function timeout must be a positive number")
	case c.TimeoutMs != nil && c.ProcessingGuarantees != "" && c.ProcessingGuarantees != AtLeastOnce:
		return javaError("Message timeout can only be specified with processing guarantee is ATLEAST_ONCE")
	case retries && c.ProcessingGuarantees == EffectivelyOnce:
		return javaError("MaxMessageRetries and Effectively once don't gel well")
	case !retries && text(c.DeadLetterTopic) != "":
		return javaError("Dead Letter Topic specified, however max retries is set to infinity")
	}
	return checkOrdering(c.RetainOrdering, c.RetainKeyOrdering, c.ProcessingGuarantees)
}

// checkOrdering is shared with sinks.
func checkOrdering(retainOrdering, retainKeyOrdering *bool, g Guarantees) error {
	switch {
	case isTrue(retainKeyOrdering) && g == EffectivelyOnce:
		return javaError("When effectively once processing guarantee is specified, retain Key ordering cannot be set")
	case isTrue(retainKeyOrdering) && isTrue(retainOrdering):
		return javaError("Only one of retain ordering or retain key ordering can be set")
	default:
		return nil
	}
}

// checkFiles refuses built-in Python and Go functions, which do not exist.
func (c *FunctionConfig) checkFiles() error {
	for _, f := range []struct {
		what string
		file *string
	}{{"python", c.Py}, {"go", c.Go}} {
		name := text(f.file)
		if !strings.HasPrefix(name, builtinPrefix) {
			continue
		}
		if strings.Contains(name, "..") {
			return javaError("Invalid filename: %s", name)
		}
		return javaError("The supplied %s file does not exist", f.what)
	}
	return nil
}

func (c *FunctionConfig) checkInputSpecs() error {
	for _, topic := range keys(c.InputSpecs) {
		spec := c.InputSpecs[topic]
		if spec.ReceiverQueueSize != nil && *spec.ReceiverQueueSize < 0 {
			return javaError("Receiver queue size should be >= zero")
		}
		if spec.CryptoConfig != nil && blank(text(spec.CryptoConfig.CryptoKeyReaderClassName)) {
			return javaError("CryptoKeyReader class name required")
		}
	}
	return nil
}

func (c *FunctionConfig) checkProducer() error {
	if c.ProducerConfig == nil || c.ProducerConfig.CryptoConfig == nil {
		return nil
	}
	crypto := c.ProducerConfig.CryptoConfig
	if blank(text(crypto.CryptoKeyReaderClassName)) {
		return javaError("CryptoKeyReader class name required")
	}
	if len(crypto.EncryptionKeys) == 0 {
		return javaError("Must provide encryption key name for crypto key reader")
	}
	return nil
}

func (c *FunctionConfig) checkUserConfig() error {
	return checkReserved("userConfig", Object(c.UserConfig), "windowConfig", windowConfigKey)
}

// checkModule: a module is called by the engine of the worker, which can do more than the SDKs of native programs.
func (c *FunctionConfig) checkModule() error {
	if c.WindowConfig != nil {
		return javaError("Windowing is not supported in Go function yet")
	}
	return nil
}

// checkNotJava are the checks of Python and Go functions (3.5).
func (c *FunctionConfig) checkNotJava() error {
	retries := c.MaxMessageRetries != nil && *c.MaxMessageRetries >= 0
	switch c.Runtime {
	case Python:
		switch {
		case c.ProcessingGuarantees == EffectivelyOnce:
			return javaError("Effectively-once processing guarantees not yet supported in Python")
		case c.WindowConfig != nil:
			return javaError("There is currently no support windowing in python")
		case retries:
			return javaError("Message retries not yet supported in python")
		}
	case Go:
		switch {
		case c.ProcessingGuarantees == EffectivelyOnce:
			return javaError("Effectively-once processing guarantees not yet supported in Go function")
		case c.WindowConfig != nil:
			return javaError("Windowing is not supported in Go function yet")
		case retries:
			return javaError("Message retries not yet supported in Go function")
		case isTrue(c.RetainKeyOrdering):
			return javaError("Retain Key Orderering not yet supported in Go function")
		}
	default:
		return javaError("Function language runtime is either not set or cannot be determined")
	}
	return nil
}
