package function

import (
	"encoding/binary"
	"fmt"
)

// guestID is a message id as Pulsar clients serialize it (MessageIdData of PulsarApi.proto).
type guestID struct {
	data             []byte
	ledger, entry    int64
	partition, batch int32
}

// parseID reads the numbers that it knows; the bytes stay as they are.
func parseID(data []byte) MessageID {
	id := guestID{data: data, partition: -1, batch: -1}
	for b := data; len(b) > 0; {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag&7 != 0 { // all that is known are plain numbers
			break
		}
		b = b[n:]
		v, n := binary.Uvarint(b)
		if n <= 0 {
			break
		}
		b = b[n:]
		switch tag >> 3 {
		case 1:
			id.ledger = int64(v)
		case 2:
			id.entry = int64(v)
		case 3:
			id.partition = int32(v)
		case 4:
			id.batch = int32(v)
		}
	}
	return id
}

func (id guestID) Serialize() []byte   { return id.data }
func (id guestID) LedgerID() int64     { return id.ledger }
func (id guestID) EntryID() int64      { return id.entry }
func (id guestID) BatchIdx() int32     { return id.batch }
func (id guestID) PartitionIdx() int32 { return id.partition }
func (id guestID) String() string {
	return fmt.Sprintf("%d:%d:%d:%d", id.ledger, id.entry, id.partition, id.batch)
}
