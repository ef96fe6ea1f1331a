package function

// The functions of the host (docs/wasm-abi.md). A string is a pointer and a length.

//go:wasmimport pulsar input
func hostInput(buf *byte, size uint32) int32

//go:wasmimport pulsar held
func hostHeld(buf *byte, size uint32) int32

//go:wasmimport pulsar message_topic
func hostMessageTopic(buf *byte, size uint32) int32

//go:wasmimport pulsar message_key
func hostMessageKey(buf *byte, size uint32) int32

//go:wasmimport pulsar message_producer
func hostMessageProducer(buf *byte, size uint32) int32

//go:wasmimport pulsar message_id
func hostMessageID(buf *byte, size uint32) int32

//go:wasmimport pulsar message_properties
func hostMessageProperties(buf *byte, size uint32) int32

//go:wasmimport pulsar message_publish_time
func hostMessagePublishTime() int64

//go:wasmimport pulsar message_event_time
func hostMessageEventTime() int64

//go:wasmimport pulsar message_redelivery_count
func hostMessageRedeliveryCount() int32

//go:wasmimport pulsar ack
func hostAck() int32

//go:wasmimport pulsar nack
func hostNack() int32

//go:wasmimport pulsar output
func hostOutput(p *byte, size uint32)

//go:wasmimport pulsar output_topic
func hostOutputTopic(topic string)

//go:wasmimport pulsar output_key
func hostOutputKey(key string)

//go:wasmimport pulsar output_property
func hostOutputProperty(name, value string)

//go:wasmimport pulsar output_event_time
func hostOutputEventTime(ms int64)

//go:wasmimport pulsar output_deliver_after
func hostOutputDeliverAfter(ms int64)

//go:wasmimport pulsar fail
func hostFail(text string)

//go:wasmimport pulsar function_facts
func hostFunctionFacts(buf *byte, size uint32) int32

//go:wasmimport pulsar config_json
func hostConfigJSON(key string, buf *byte, size uint32) int32

//go:wasmimport pulsar secret
func hostSecret(name string, buf *byte, size uint32) int32

//go:wasmimport pulsar log
func hostLog(level int32, text string)

//go:wasmimport pulsar metric
func hostMetric(name string, value float64)

//go:wasmimport pulsar publish
func hostPublish(topic string, payload *byte, size uint32, key string, properties *byte, propertiesSize uint32, eventTime, deliverAfter int64) int32

//go:wasmimport pulsar state_get
func hostStateGet(key string, info *stateInfo, buf *byte, size uint32) int32

//go:wasmimport pulsar state_put
func hostStatePut(key string, value *byte, size uint32) int32

//go:wasmimport pulsar state_delete
func hostStateDelete(key string) int32

//go:wasmimport pulsar state_increment
func hostStateIncrement(key string, amount int64, total *int64) int32

//go:wasmimport pulsar state_counter
func hostStateCounter(key string, total *int64) int32

//go:wasmimport pulsar state_compare_and_set
func hostStateCompareAndSet(key string, version int64, value *byte, size uint32, newVersion *int64) int32
