package instance

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"
	"google.golang.org/protobuf/encoding/protowire"
)

// serializeID appends a message id with the bytes that the Java client would write: whoever waits for the result of a
// message (trigger) compares them with what its own producer got. The Go client counts a topic without partitions as
// partition 0, and a message on its own as the first of a batch of one; Java says nothing in both cases.
func serializeID(b []byte, topic string, id pulsar.MessageID) []byte {
	b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), uint64(id.LedgerID()))
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(id.EntryID()))
	if partition, ok := partitionOf(topic); ok {
		b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), partition)
	}
	if id.BatchSize() > 1 && id.BatchIdx() >= 0 {
		b = protowire.AppendVarint(protowire.AppendTag(b, 4, protowire.VarintType), uint64(id.BatchIdx()))
		b = protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.VarintType), uint64(id.BatchSize()))
	}
	return b
}

// encodedID is a message id as a property of another message has it.
func encodedID(topic string, id pulsar.MessageID) string {
	var raw [64]byte // five numbers with their tags take 55 at most
	var text [88]byte
	return string(base64.StdEncoding.AppendEncode(text[:0], serializeID(raw[:0], topic, id)))
}

// partitionOf reads the partition from the end of a topic name.
func partitionOf(topic string) (uint64, bool) {
	const mark = "-partition-"
	i := strings.LastIndex(topic, mark)
	if i < 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(topic[i+len(mark):], 10, 31)
	return n, err == nil
}
