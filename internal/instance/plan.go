package instance

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/window"
)

// Input is one consumer to open (process contract, section 9.2).
type Input struct {
	// Topic is a topic name, or a pattern of them when Regex is set.
	Topic string
	Regex bool

	Subscription string
	Type         pb.SubscriptionType
	Earliest     bool
	SkipToLatest bool
	// QueueSize is the receiver queue, in messages: -1 the client's default, 0 none (one message at a time).
	QueueSize int
	// NackDelay is how long a failed message waits for its redelivery; 0: the client's default (one minute).
	NackDelay time.Duration
	// MaxRedeliveries moves a message to DeadLetterTopic after so many redeliveries; 0: never.
	MaxRedeliveries int
	DeadLetterTopic string
	SchemaType      string
	// Settings are client settings by their Java names, such as readCompacted.
	Settings   map[string]string
	Properties map[string]string
	// Decrypt is set for an input whose messages are encrypted.
	Decrypt *Encryption
	// OnActive, unless nil, is told when this consumer becomes the active one of a partition of a failover subscription,
	// and when it ceases to be.
	OnActive func(topic string, active bool)
}

// Output says how producers are made (process contract, section 9.4).
type Output struct {
	Topic       string
	Compression pb.CompressionType
	KeyBased    bool
	MaxPending  int // messages; 0: maxPending
	SchemaType  string
	Properties  map[string]string
	BatchDelay  time.Duration
	// Encrypt is set when what is sent is to be encrypted.
	Encrypt *Encryption
	// DropWhenFull loses messages instead of waiting when the queue is full.
	DropWhenFull bool
	// Name of the producer; "": the broker chooses one. A named producer sends every message by itself and by a router
	// that depends on nothing but the message, so that the broker can tell a repetition.
	Name string
}

// Plan is what an instance has to open. It follows from the function's details alone.
type Plan struct {
	// Kind is whether it is a function, a source or a sink.
	Kind pb.FunctionDetails_ComponentType
	// Inputs are empty for a source.
	Inputs []Input
	// Output is the template of all producers; its Topic is empty when results go nowhere.
	Output Output
	// Log is the producer of the log topic; its Topic is empty when there is none.
	Log Output
	// ForwardProperties copies the properties of the input to the result.
	ForwardProperties bool
	Policy            Policy
	// Window is set for a function over windows; Policy is then that of the messages in them.
	Window *window.Spec
	// Warnings are for the log: settings that have no effect.
	Warnings []string
}

const (
	outputBatchDelay = 5 * time.Millisecond // half of the Java instance's
	logBatchDelay    = 100 * time.Millisecond
	maxPendingLines  = 1000
)

// NewPlan derives the plan and refuses what this engine cannot do; the error says which setting.
func NewPlan(cfg *Config, hostname string) (*Plan, error) {
	d := cfg.Details
	spec, policy, err := delivering(d)
	if err != nil {
		return nil, err
	}
	fqfn, kind := pb.FullyQualifiedName(d), kindOf(d)
	properties := map[string]string{
		"application": "pulsar-" + strings.ToLower(kind.String()), "id": fqfn,
		"instance_id": fmt.Sprint(cfg.InstanceID), "instance_hostname": hostname,
	}
	p := &Plan{Kind: kind, Policy: policy, Window: spec, ForwardProperties: d.GetSink().GetForwardSourceMessageProperty()}
	if kind != pb.FunctionDetails_SOURCE {
		if err := p.inputs(d, properties); err != nil {
			return nil, err
		}
	}
	if kind == pb.FunctionDetails_SINK && policy.Manual() { // a sink answers by its outcomes
		p.Policy = Policy{pb.ProcessingGuarantees_ATLEAST_ONCE}
	}
	if p.Output, err = p.output(d, properties); err != nil {
		return nil, err
	}
	p.Log = Output{
		Topic: d.GetLogTopic(), MaxPending: maxPendingLines, Compression: pb.CompressionType_LZ4, BatchDelay: logBatchDelay, DropWhenFull: true,
		Properties: map[string]string{"function": fqfn},
	}
	return p, nil
}

// delivering tells windows, if there are any, and the policy. With windows the details say MANUAL, and the guarantee is
// that of the windows (process contract, section 9.7).
func delivering(d *pb.FunctionDetails) (*window.Spec, Policy, error) {
	if d.GetClassName() != window.Executor {
		policy, err := NewPolicy(d)
		return nil, policy, err
	}
	spec, err := window.Parse(unquote(d.GetUserConfig()))
	if err != nil {
		return nil, Policy{}, err
	}
	if spec.AtMostOnce {
		return &spec, Policy{pb.ProcessingGuarantees_ATMOST_ONCE}, nil
	}
	return &spec, Policy{pb.ProcessingGuarantees_ATLEAST_ONCE}, nil
}

// inputSpecs joins the inputs with the fields that older workers fill.
func inputSpecs(source *pb.SourceSpec) map[string]*pb.ConsumerSpec {
	specs := map[string]*pb.ConsumerSpec{}
	for topic := range source.GetTopicsToSerDeClassName() { //nolint:staticcheck // old metadata still carries it
		specs[topic] = &pb.ConsumerSpec{}
	}
	if pattern := source.GetTopicsPattern(); pattern != "" { //nolint:staticcheck // likewise
		specs[pattern] = &pb.ConsumerSpec{IsRegexPattern: true}
	}
	maps.Copy(specs, source.GetInputSpecs())
	return specs
}

func (p *Plan) inputs(d *pb.FunctionDetails, properties map[string]string) error {
	source := d.GetSource()
	specs := inputSpecs(source)
	if len(specs) == 0 {
		return fmt.Errorf("function %s has no input topic", pb.FullyQualifiedName(d))
	}
	for _, topic := range slices.Sorted(maps.Keys(specs)) {
		if strings.TrimSpace(topic) == "" {
			return errors.New("an input topic has no name")
		}
		spec := specs[topic]
		in := Input{
			Topic: topic, Regex: spec.GetIsRegexPattern(), Subscription: strings.TrimSpace(source.GetSubscriptionName()),
			Type:         subscriptionType(d),
			Earliest:     source.GetSubscriptionPosition() == pb.SubscriptionPosition_EARLIEST,
			SkipToLatest: source.GetSkipToLatest(), QueueSize: -1, NackDelay: nackDelay(source),
			SchemaType: spec.GetSchemaType(), Settings: spec.GetConsumerProperties(), Properties: properties,
		}
		if in.Subscription == "" {
			in.Subscription = pb.FullyQualifiedName(d)
		}
		if q := spec.GetReceiverQueueSize(); q != nil {
			if q.GetValue() < 0 {
				return fmt.Errorf("input %s: the receiver queue size %d is negative", topic, q.GetValue())
			}
			in.QueueSize = int(q.GetValue())
		}
		p.retries(d, &in)
		p.unsupported(topic, spec)
		var err error
		if in.Decrypt, err = encryption(spec.GetCryptoSpec(), "input "+topic); err != nil {
			return err
		}
		p.Inputs = append(p.Inputs, in)
	}
	return nil
}

// retries fills the dead-letter settings; without a topic its name is built as the Java client does.
func (p *Plan) retries(d *pb.FunctionDetails, in *Input) {
	r := d.GetRetryDetails()
	if r == nil {
		return
	}
	if r.GetMaxMessageRetries() <= 0 {
		p.Warnings = append(p.Warnings, "maxMessageRetries is not above 0: failed messages are redelivered without end")
		return
	}
	in.MaxRedeliveries, in.DeadLetterTopic = int(r.GetMaxMessageRetries()), r.GetDeadLetterTopic()
	if in.DeadLetterTopic == "" && !in.Regex {
		// a subscription name with slashes would end up in another namespace
		in.DeadLetterTopic = in.Topic + "-" + strings.ReplaceAll(in.Subscription, "/", "-") + "-DLQ"
	}
	if in.DeadLetterTopic == "" {
		in.MaxRedeliveries = 0
		p.Warnings = append(p.Warnings, "input "+in.Topic+" is a pattern and no dead letter topic is given: failed messages are redelivered without end")
	}
}

func (p *Plan) unsupported(topic string, spec *pb.ConsumerSpec) {
	if c := spec.GetSerdeClassName(); c != "" && c != defaultSerDe {
		p.Warnings = append(p.Warnings, "input "+topic+": the Java class "+c+" has no effect, payloads are not translated")
	}
}

const defaultSerDe = "org.apache.pulsar.functions.api.utils.DefaultSerDe"

// subscriptionType folds the ordering flags in, in case the submitter's worker did not.
func subscriptionType(d *pb.FunctionDetails) pb.SubscriptionType {
	switch t := d.GetSource().GetSubscriptionType(); {
	case t != pb.SubscriptionType_SHARED:
		return t
	case d.GetRetainOrdering(), d.GetProcessingGuarantees() == pb.ProcessingGuarantees_EFFECTIVELY_ONCE:
		return pb.SubscriptionType_FAILOVER
	case d.GetRetainKeyOrdering():
		return pb.SubscriptionType_KEY_SHARED
	default:
		return t
	}
}

// nackDelay uses the acknowledgement timeout where no delay is set: the Go client has no such timeout, and this
// engine always answers a message, so that only the time to the redelivery is left of it.
func nackDelay(source *pb.SourceSpec) time.Duration {
	ms := source.GetNegativeAckRedeliveryDelayMs()
	if ms == 0 {
		ms = source.GetTimeoutMs()
	}
	const day = 24 * time.Hour
	if ms > uint64(day/time.Millisecond) {
		return day
	}
	return time.Duration(ms) * time.Millisecond
}

func (p *Plan) output(d *pb.FunctionDetails, properties map[string]string) (Output, error) {
	sink := d.GetSink()
	spec := sink.GetProducerSpec()
	encrypt, err := outputEncryption(spec.GetCryptoSpec())
	return Output{
		Topic: sink.GetTopic(), Compression: spec.GetCompressionType(), KeyBased: spec.GetBatchBuilder() == "KEY_BASED",
		MaxPending: max(0, int(spec.GetMaxPendingMessages())), SchemaType: sink.GetSchemaType(),
		Properties: properties, BatchDelay: outputBatchDelay, Encrypt: encrypt,
	}, err
}
