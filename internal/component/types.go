package component

import "encoding/json"

// FunctionConfig is the JSON of a function as clients send and read it (contract rest-api.md, 9.1). Its fields
// have the order of the Java worker's answers; absent values are null. Times are milliseconds, sizes bytes.
type FunctionConfig struct {
	RuntimeFlags                   *string                    `json:"runtimeFlags"`
	Tenant                         *string                    `json:"tenant"`
	Namespace                      *string                    `json:"namespace"`
	Name                           *string                    `json:"name"`
	ClassName                      *string                    `json:"className"`
	Inputs                         []string                   `json:"inputs"`
	CustomSerdeInputs              map[string]string          `json:"customSerdeInputs"`
	TopicsPattern                  *string                    `json:"topicsPattern"`
	CustomSchemaInputs             map[string]string          `json:"customSchemaInputs"`
	CustomSchemaOutputs            map[string]string          `json:"customSchemaOutputs"`
	InputSpecs                     map[string]*ConsumerConfig `json:"inputSpecs"`
	InputTypeClassName             *string                    `json:"inputTypeClassName"`
	Output                         *string                    `json:"output"`
	ProducerConfig                 *ProducerConfig            `json:"producerConfig"`
	OutputSchemaType               *string                    `json:"outputSchemaType"`
	OutputTypeClassName            *string                    `json:"outputTypeClassName"`
	OutputSerdeClassName           *string                    `json:"outputSerdeClassName"`
	LogTopic                       *string                    `json:"logTopic"`
	ProcessingGuarantees           Guarantees                 `json:"processingGuarantees"`
	RetainOrdering                 *bool                      `json:"retainOrdering"`
	RetainKeyOrdering              *bool                      `json:"retainKeyOrdering"`
	BatchBuilder                   *string                    `json:"batchBuilder"`
	ForwardSourceMessageProperty   *bool                      `json:"forwardSourceMessageProperty"`
	UserConfig                     FloatObject                `json:"userConfig"`
	Secrets                        FloatObject                `json:"secrets"`
	Runtime                        Language                   `json:"runtime"`
	AutoAck                        *bool                      `json:"autoAck"`
	MaxMessageRetries              *int32                     `json:"maxMessageRetries"`
	DeadLetterTopic                *string                    `json:"deadLetterTopic"`
	SubName                        *string                    `json:"subName"`
	Parallelism                    *int32                     `json:"parallelism"`
	Resources                      *Resources                 `json:"resources"`
	FQFN                           *string                    `json:"fqfn"`
	WindowConfig                   *WindowConfig              `json:"windowConfig"`
	TimeoutMs                      *int64                     `json:"timeoutMs"`
	Jar                            *string                    `json:"jar"`
	Py                             *string                    `json:"py"`
	Go                             *string                    `json:"go"`
	FunctionType                   *string                    `json:"functionType"`
	CleanupSubscription            *bool                      `json:"cleanupSubscription"`
	CustomRuntimeOptions           *string                    `json:"customRuntimeOptions"`
	MaxPendingAsyncRequests        *int32                     `json:"maxPendingAsyncRequests"`
	ExposePulsarAdminClientEnabled *bool                      `json:"exposePulsarAdminClientEnabled"`
	SkipToLatest                   *bool                      `json:"skipToLatest"`
	SubscriptionPosition           Position                   `json:"subscriptionPosition"`

	stored storedFunction
}

// ConsumerConfig says how one input is consumed (9.2). Make it with NewConsumerConfig: its maps are never null.
type ConsumerConfig struct {
	SchemaType         *string           `json:"schemaType"`
	SerdeClassName     *string           `json:"serdeClassName"`
	SchemaProperties   map[string]string `json:"schemaProperties"`
	ConsumerProperties map[string]string `json:"consumerProperties"`
	ReceiverQueueSize  *int32            `json:"receiverQueueSize"`
	CryptoConfig       *CryptoConfig     `json:"cryptoConfig"`
	PoolMessages       bool              `json:"poolMessages"`
	// RegexPattern is also read from "isRegexPattern", which Gson-based clients send.
	RegexPattern bool `json:"regexPattern" alias:"isRegexPattern"`

	// stored is what the details have and the answer of a GET does not show.
	stored storedConsumer
}

// NewConsumerConfig is the config of an input given by its name alone.
func NewConsumerConfig() *ConsumerConfig {
	return &ConsumerConfig{SchemaProperties: map[string]string{}, ConsumerProperties: map[string]string{}}
}

// ProducerConfig says how results are produced (9.2).
type ProducerConfig struct {
	MaxPendingMessages                 *int32        `json:"maxPendingMessages"`
	MaxPendingMessagesAcrossPartitions *int32        `json:"maxPendingMessagesAcrossPartitions"`
	UseThreadLocalProducers            *bool         `json:"useThreadLocalProducers"`
	CryptoConfig                       *CryptoConfig `json:"cryptoConfig"`
	BatchBuilder                       *string       `json:"batchBuilder"`
	CompressionType                    Compression   `json:"compressionType"`
}

// CryptoConfig names the key reader of end-to-end encryption (9.2).
type CryptoConfig struct {
	CryptoKeyReaderClassName    *string        `json:"cryptoKeyReaderClassName"`
	CryptoKeyReaderConfig       FloatObject    `json:"cryptoKeyReaderConfig"`
	EncryptionKeys              []string       `json:"encryptionKeys"`
	ProducerCryptoFailureAction ProducerAction `json:"producerCryptoFailureAction"`
	ConsumerCryptoFailureAction ConsumerAction `json:"consumerCryptoFailureAction"`
}

// Resources are what one instance may use: cores and bytes (9.2). A member that is nil has the default.
type Resources struct {
	CPU  *Double `json:"cpu"`
	RAM  *int64  `json:"ram"`
	Disk *int64  `json:"disk"`
}

// The resources of a function that names none.
const (
	DefaultCPU  Double = 1
	DefaultRAM  int64  = 1 << 30
	DefaultDisk int64  = 10 << 30
)

// WindowConfig makes a Java function one that runs over windows (section 6). Durations are milliseconds.
type WindowConfig struct {
	WindowLengthCount             *int32     `json:"windowLengthCount"`
	WindowLengthDurationMs        *int64     `json:"windowLengthDurationMs"`
	SlidingIntervalCount          *int32     `json:"slidingIntervalCount"`
	SlidingIntervalDurationMs     *int64     `json:"slidingIntervalDurationMs"`
	LateDataTopic                 *string    `json:"lateDataTopic"`
	MaxLagMs                      *int64     `json:"maxLagMs"`
	WatermarkEmitIntervalMs       *int64     `json:"watermarkEmitIntervalMs"`
	TimestampExtractorClassName   *string    `json:"timestampExtractorClassName"`
	ActualWindowFunctionClassName *string    `json:"actualWindowFunctionClassName"`
	ProcessingGuarantees          WindowMode `json:"processingGuarantees"`
}

// Double is a number that is always written with a decimal point, as Java writes doubles.
type Double float64

// MarshalJSON writes 1 as 1.0.
func (d Double) MarshalJSON() ([]byte, error) { return []byte(javaDouble(float64(d))), nil }

// The enumerations of the configs; "" is null. Names are exact, and the numbers of their order are read too.
type (
	// Guarantees are the processing guarantees.
	Guarantees string
	// WindowMode are the guarantees a window has.
	WindowMode string
	// Language is the runtime of a function.
	Language string
	// Position is where a new subscription starts.
	Position string
	// Compression is a producer's.
	Compression string
	// ProducerAction is what a producer does when it cannot encrypt.
	ProducerAction string
	// ConsumerAction is what a consumer does when it cannot decrypt.
	ConsumerAction string
)

// The names of the enumerations that code decides by.
const (
	AtLeastOnce     Guarantees = "ATLEAST_ONCE"
	AtMostOnce      Guarantees = "ATMOST_ONCE"
	EffectivelyOnce Guarantees = "EFFECTIVELY_ONCE"
	Manual          Guarantees = "MANUAL"

	Java   Language = "JAVA"
	Python Language = "PYTHON"
	Go     Language = "GO"

	Latest   Position = "Latest"
	Earliest Position = "Earliest"
)

func (Guarantees) names() []string {
	return []string{"ATLEAST_ONCE", "ATMOST_ONCE", "EFFECTIVELY_ONCE", "MANUAL"}
}
func (WindowMode) names() []string     { return []string{"ATLEAST_ONCE", "ATMOST_ONCE"} }
func (Language) names() []string       { return []string{"JAVA", "PYTHON", "GO"} }
func (Position) names() []string       { return []string{"Latest", "Earliest"} }
func (Compression) names() []string    { return []string{"NONE", "LZ4", "ZLIB", "ZSTD", "SNAPPY"} }
func (ProducerAction) names() []string { return []string{"FAIL", "SEND"} }
func (ConsumerAction) names() []string { return []string{"FAIL", "DISCARD", "CONSUME"} }

// MarshalJSON writes the name, or null.
func (g Guarantees) MarshalJSON() ([]byte, error) { return enumJSON(string(g)) }

// MarshalJSON writes the name, or null.
func (m WindowMode) MarshalJSON() ([]byte, error) { return enumJSON(string(m)) }

// MarshalJSON writes the name, or null.
func (l Language) MarshalJSON() ([]byte, error) { return enumJSON(string(l)) }

// MarshalJSON writes the name, or null.
func (p Position) MarshalJSON() ([]byte, error) { return enumJSON(string(p)) }

// MarshalJSON writes the name, or null.
func (c Compression) MarshalJSON() ([]byte, error) { return enumJSON(string(c)) }

// MarshalJSON writes the name, or null.
func (a ProducerAction) MarshalJSON() ([]byte, error) { return enumJSON(string(a)) }

// MarshalJSON writes the name, or null.
func (a ConsumerAction) MarshalJSON() ([]byte, error) { return enumJSON(string(a)) }

func enumJSON(name string) ([]byte, error) {
	if name == "" {
		return []byte("null"), nil
	}
	return json.Marshal(name)
}
