package component

import (
	"fmt"
	"maps"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// storedConsumer is what the details of an input have beyond what a GET shows.
type storedConsumer struct {
	schemaProperties, consumerProperties map[string]string
}

// consumerSpec converts the config of an input. The schema properties of a sink's input are not stored.
func consumerSpec(c *ConsumerConfig, kind Kind) (*pb.ConsumerSpec, error) {
	spec := &pb.ConsumerSpec{
		IsRegexPattern:     c.RegexPattern,
		PoolMessages:       c.PoolMessages,
		SchemaProperties:   maps.Clone(c.SchemaProperties),
		ConsumerProperties: maps.Clone(c.ConsumerProperties),
	}
	if kind != Function {
		spec.SchemaProperties = maps.Clone(c.stored.schemaProperties)
	}
	if len(spec.ConsumerProperties) == 0 {
		spec.ConsumerProperties = maps.Clone(c.stored.consumerProperties)
	}
	if schema := text(c.SchemaType); !blank(schema) {
		spec.SchemaType = schema
	} else if serde := text(c.SerdeClassName); !blank(serde) {
		spec.SerdeClassName = serde
	}
	if c.ReceiverQueueSize != nil {
		spec.ReceiverQueueSize = &pb.ConsumerSpec_ReceiverQueueSize{Value: *c.ReceiverQueueSize}
	}
	var err error
	spec.CryptoSpec, err = cryptoSpec(c.CryptoConfig)
	return spec, err
}

// consumerConfig is the way back. Of the two property maps a GET shows the schema's for functions and the
// consumer's for sinks; the other one is kept out of sight so that an update does not lose it.
func consumerConfig(spec *pb.ConsumerSpec, kind Kind) (*ConsumerConfig, error) {
	c := NewConsumerConfig()
	c.SchemaType = textOrNil(spec.GetSchemaType())
	c.SerdeClassName = textOrNil(spec.GetSerdeClassName())
	c.RegexPattern = spec.GetIsRegexPattern()
	c.PoolMessages = spec.GetPoolMessages()
	if q := spec.GetReceiverQueueSize(); q != nil {
		c.ReceiverQueueSize = ptr(q.GetValue())
	}
	if kind == Function {
		maps.Copy(c.SchemaProperties, spec.GetSchemaProperties())
		c.stored.consumerProperties = spec.GetConsumerProperties()
	} else {
		maps.Copy(c.ConsumerProperties, spec.GetConsumerProperties())
		c.stored.schemaProperties = spec.GetSchemaProperties()
	}
	var err error
	c.CryptoConfig, err = cryptoConfig(spec.GetCryptoSpec())
	return c, err
}

// inputConfigs converts all inputs of stored details.
func inputConfigs(d *pb.FunctionDetails, kind Kind) (map[string]*ConsumerConfig, error) {
	inputs := make(map[string]*ConsumerConfig, len(d.GetSource().GetInputSpecs()))
	for topic, spec := range d.GetSource().GetInputSpecs() {
		c, err := consumerConfig(spec, kind)
		if err != nil {
			return nil, fmt.Errorf("input %s of %s: %w", topic, pb.FullyQualifiedName(d), err)
		}
		inputs[topic] = c
	}
	return inputs, nil
}

func cryptoSpec(c *CryptoConfig) (*pb.CryptoSpec, error) {
	if c == nil {
		return nil, nil
	}
	if c.CryptoKeyReaderClassName == nil {
		return nil, javaError("CryptoKeyReader class name required")
	}
	spec := &pb.CryptoSpec{
		CryptoKeyReaderClassName:    *c.CryptoKeyReaderClassName,
		ProducerEncryptionKeyName:   c.EncryptionKeys,
		ProducerCryptoFailureAction: pb.CryptoSpec_FailureAction(pb.CryptoSpec_FailureAction_value[string(c.ProducerCryptoFailureAction)]),
		ConsumerCryptoFailureAction: pb.CryptoSpec_FailureAction(pb.CryptoSpec_FailureAction_value[string(c.ConsumerCryptoFailureAction)]),
	}
	if c.CryptoKeyReaderConfig != nil {
		spec.CryptoKeyReaderConfig = gsonText(Object(c.CryptoKeyReaderConfig))
	}
	return spec, nil
}

func cryptoConfig(spec *pb.CryptoSpec) (*CryptoConfig, error) {
	if spec.GetCryptoKeyReaderClassName() == "" {
		return nil, nil
	}
	settings, err := storedObject("crypto key reader config", spec.GetCryptoKeyReaderConfig())
	if err != nil {
		return nil, err
	}
	return &CryptoConfig{
		CryptoKeyReaderClassName:    ptr(spec.GetCryptoKeyReaderClassName()),
		CryptoKeyReaderConfig:       FloatObject(settings),
		EncryptionKeys:              append([]string{}, spec.GetProducerEncryptionKeyName()...),
		ProducerCryptoFailureAction: ProducerAction(spec.GetProducerCryptoFailureAction().String()),
		ConsumerCryptoFailureAction: ConsumerAction(spec.GetConsumerCryptoFailureAction().String()),
	}, nil
}

// producerSpec converts a producer's config; batchBuilder is the component's own field, which wins.
func producerSpec(c *ProducerConfig, batchBuilder *string) (*pb.ProducerSpec, error) {
	if c == nil && batchBuilder == nil {
		return nil, nil
	}
	spec := &pb.ProducerSpec{}
	if c != nil {
		crypto, err := cryptoSpec(c.CryptoConfig)
		if err != nil {
			return nil, err
		}
		spec = &pb.ProducerSpec{
			MaxPendingMessages:                 orDefault(c.MaxPendingMessages, 0),
			MaxPendingMessagesAcrossPartitions: orDefault(c.MaxPendingMessagesAcrossPartitions, 0),
			UseThreadLocalProducers:            isTrue(c.UseThreadLocalProducers),
			CryptoSpec:                         crypto,
			BatchBuilder:                       text(c.BatchBuilder),
			CompressionType:                    pb.CompressionType(pb.CompressionType_value[string(c.CompressionType)]), // unset is LZ4, 0
		}
	}
	if batchBuilder != nil {
		spec.BatchBuilder = *batchBuilder
	}
	return spec, nil
}

// producerConfig is the way back: always an object, also for details without a producer spec.
func producerConfig(spec *pb.ProducerSpec) (*ProducerConfig, error) {
	crypto, err := cryptoConfig(spec.GetCryptoSpec())
	if err != nil {
		return nil, fmt.Errorf("producer: %w", err)
	}
	c := &ProducerConfig{
		UseThreadLocalProducers: ptr(spec.GetUseThreadLocalProducers()),
		CryptoConfig:            crypto,
		BatchBuilder:            ptr(spec.GetBatchBuilder()),
		CompressionType:         Compression(spec.GetCompressionType().String()),
	}
	if n := spec.GetMaxPendingMessages(); n != 0 {
		c.MaxPendingMessages = &n
	}
	if n := spec.GetMaxPendingMessagesAcrossPartitions(); n != 0 {
		c.MaxPendingMessagesAcrossPartitions = &n
	}
	return c, nil
}

func resourcesSpec(r *Resources) *pb.Resources {
	if r == nil {
		r = &Resources{}
	}
	return &pb.Resources{
		Cpu:  float64(orDefault(r.CPU, DefaultCPU)),
		Ram:  orDefault(r.RAM, DefaultRAM),
		Disk: orDefault(r.Disk, DefaultDisk),
	}
}

func resourcesConfig(r *pb.Resources) *Resources {
	if r == nil {
		return nil
	}
	return &Resources{CPU: ptr(Double(r.GetCpu())), RAM: ptr(r.GetRam()), Disk: ptr(r.GetDisk())}
}

// mergeResources replaces the members that the update names.
func mergeResources(existing, update *Resources) *Resources {
	if update == nil {
		return existing
	}
	merged := *update
	if existing != nil {
		if merged.CPU == nil {
			merged.CPU = existing.CPU
		}
		if merged.RAM == nil {
			merged.RAM = existing.RAM
		}
		if merged.Disk == nil {
			merged.Disk = existing.Disk
		}
	}
	return &merged
}

// storedObject reads a JSON object out of stored details; "" gives nil.
func storedObject(what, data string) (Object, error) {
	if data == "" {
		return nil, nil
	}
	o, err := ParseObject([]byte(data))
	if err != nil {
		return nil, fmt.Errorf("the stored %s cannot be read: %w", what, err)
	}
	return o, nil
}

// secretsText is the secrets map as it is stored.
func secretsText(secrets FloatObject) string {
	if len(secrets) == 0 {
		return ""
	}
	return gsonText(Object(secrets))
}

// guaranteesConfig is the way back of the processing guarantees.
func guaranteesConfig(g pb.ProcessingGuarantees) (Guarantees, error) {
	name, ok := pb.ProcessingGuarantees_name[int32(g)]
	if !ok {
		return "", fmt.Errorf("the stored processing guarantee %d is not known", g)
	}
	return Guarantees(name), nil
}

func positionConfig(p pb.SubscriptionPosition) Position {
	if p == pb.SubscriptionPosition_EARLIEST {
		return Earliest
	}
	return Latest
}

func positionSpec(p Position) pb.SubscriptionPosition {
	if p == Earliest {
		return pb.SubscriptionPosition_EARLIEST
	}
	return pb.SubscriptionPosition_LATEST
}

// subscriptionType follows from the ordering that is asked for.
func subscriptionType(retainOrdering, retainKeyOrdering *bool, g Guarantees) pb.SubscriptionType {
	switch {
	case isTrue(retainOrdering) || g == EffectivelyOnce:
		return pb.SubscriptionType_FAILOVER
	case isTrue(retainKeyOrdering):
		return pb.SubscriptionType_KEY_SHARED
	default:
		return pb.SubscriptionType_SHARED
	}
}
