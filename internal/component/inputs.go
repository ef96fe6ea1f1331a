package component

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// keys gives the keys of a map in a fixed order, so that the first error is always the same one.
func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// inputTopics lists the inputs of all five places, in the order in which they are checked.
func (c *FunctionConfig) inputTopics() []string {
	topics := slices.Clone(c.Inputs)
	if c.TopicsPattern != nil {
		topics = append(topics, *c.TopicsPattern)
	}
	topics = append(topics, keys(c.CustomSerdeInputs)...)
	topics = append(topics, keys(c.CustomSchemaInputs)...)
	return append(topics, keys(c.InputSpecs)...)
}

// parseSchemaInput reads a value of customSchemaInputs or customSchemaOutputs: the JSON of a ConsumerConfig.
func parseSchemaInput(conf string) (*ConsumerConfig, error) {
	c := NewConsumerConfig()
	if err := decodeConfig("schema", []byte(conf), c); err != nil {
		return nil, err
	}
	return c, nil
}

// inputSpecs folds the inputs of a function into one map; a later place replaces an earlier entry.
func (c *FunctionConfig) inputSpecs() (map[string]*pb.ConsumerSpec, error) {
	specs := map[string]*pb.ConsumerSpec{}
	for _, topic := range c.Inputs {
		specs[topic] = &pb.ConsumerSpec{}
	}
	if p := text(c.TopicsPattern); p != "" {
		specs[p] = &pb.ConsumerSpec{IsRegexPattern: true}
	}
	for topic, serde := range c.CustomSerdeInputs {
		specs[topic] = &pb.ConsumerSpec{SerdeClassName: serde}
	}
	for _, topic := range keys(c.CustomSchemaInputs) {
		schema, err := parseSchemaInput(c.CustomSchemaInputs[topic])
		if err != nil || schema.SchemaType == nil {
			return nil, javaError("Incorrect custom schema inputs,Topic %s ", topic)
		}
		specs[topic] = &pb.ConsumerSpec{
			SchemaType:         *schema.SchemaType,
			SchemaProperties:   schema.SchemaProperties,
			ConsumerProperties: schema.ConsumerProperties,
		}
	}
	for _, topic := range keys(c.InputSpecs) {
		spec, err := consumerSpec(c.InputSpecs[topic], Function)
		if err != nil {
			return nil, err
		}
		specs[topic] = spec
	}
	return specs, nil
}

// updatedInputs folds the places of an update that name inputs into its input specs. For a function every
// place overwrites; the plain inputs of a sink do not.
func updatedInputs(given map[string]*ConsumerConfig, inputs []string, pattern *string, serdes, schemas map[string]string, kind Kind) map[string]*ConsumerConfig {
	specs := make(map[string]*ConsumerConfig, len(given))
	maps.Copy(specs, given)
	for _, topic := range inputs {
		if _, there := specs[topic]; kind == Function || !there {
			specs[topic] = NewConsumerConfig()
		}
	}
	if p := text(pattern); p != "" {
		c := NewConsumerConfig()
		c.RegexPattern = true
		specs[p] = c
	}
	for topic, serde := range serdes {
		c := NewConsumerConfig()
		c.SerdeClassName = textOrNil(serde)
		specs[topic] = c
	}
	for topic, schema := range schemas {
		specs[topic] = updatedSchemaInput(schema, kind)
	}
	return specs
}

// updatedSchemaInput reads a schema input of an update: for functions the JSON that a create takes, or a bare
// schema type, which is all that the Java worker understands here.
func updatedSchemaInput(schema string, kind Kind) *ConsumerConfig {
	if kind == Function {
		if c, err := parseSchemaInput(schema); err == nil && c.SchemaType != nil {
			return c
		}
	}
	c := NewConsumerConfig()
	c.SchemaType = textOrNil(schema)
	return c
}

// mergeInputs replaces the inputs that an update names; their set and their kinds cannot change. Properties
// that a GET does not show are kept unless the update brings its own.
func mergeInputs(existing, update map[string]*ConsumerConfig, kind Kind) (map[string]*ConsumerConfig, error) {
	merged := make(map[string]*ConsumerConfig, len(existing))
	maps.Copy(merged, existing)
	for _, topic := range keys(update) {
		old, there := existing[topic]
		if !there {
			return nil, javaError("Input Topics cannot be altered")
		}
		if old.RegexPattern != update[topic].RegexPattern {
			return nil, javaError("isRegexPattern for input topic %s cannot be altered", topic)
		}
		c := *update[topic]
		c.stored = old.stored
		if !sameInput(old, &c, kind) {
			merged[topic] = &c
		}
	}
	return merged, nil
}

// sameInput says whether two configs of an input show or store the same.
func sameInput(a, b *ConsumerConfig, kind Kind) bool {
	if sameConfig(a, b) {
		return true
	}
	x, errX := consumerSpec(a, kind)
	y, errY := consumerSpec(b, kind)
	return errX == nil && errY == nil && proto.Equal(x, y)
}
