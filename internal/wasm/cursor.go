package wasm

import (
	"errors"
	"fmt"
	"io"
)

// cursor reads the instructions of a module that is in memory.
type cursor struct {
	b  []byte
	at int
}

func (c *cursor) byte() (byte, error) {
	if c.at >= len(c.b) {
		return 0, io.ErrUnexpectedEOF
	}
	c.at++
	return c.b[c.at-1], nil
}

func (c *cursor) take(n uint64) ([]byte, error) {
	if n > uint64(len(c.b)-c.at) {
		return nil, io.ErrUnexpectedEOF
	}
	part := c.b[c.at : c.at+int(n)]
	c.at += int(n)
	return part, nil
}

func (c *cursor) skip(n uint64) error {
	_, err := c.take(n)
	return err
}

// leb reads over a number in LEB128 of at most so many bytes.
func (c *cursor) leb(most int) error {
	for range most {
		b, err := c.byte()
		if err != nil {
			return err
		}
		if b&0x80 == 0 {
			return nil
		}
	}
	return errors.New("a number is too long")
}

func (c *cursor) uint32() (uint32, error) { return readUint32(c.byte) }

// Lengths of numbers of 32, 33 and 64 bits in LEB128.
const (
	leb32 = 5
	leb64 = 10
)

// each runs the steps until one fails.
func each(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) index() error { return c.leb(leb32) }
func (c *cursor) one() error   { return c.skip(1) }

// address is alignment and offset of an access to memory.
func (c *cursor) address() error { return each(c.index, c.index) }

// valueType reads over a type of WebAssembly 2.0. Others have more bytes for wazero, also where it does not know what they are.
func (c *cursor) valueType() error {
	t, err := c.byte()
	if err == nil && !isValueType(t) {
		err = fmt.Errorf("the type %#x is not known", t)
	}
	return err
}

func isValueType(t byte) bool { return t >= 0x7b && t <= typeI32 || t == 0x70 || t == 0x6f }

// blockType reads over what a block gives: nothing, a type, or the index of a type in 33 bits, which is not negative.
func (c *cursor) blockType() error {
	from := c.at
	if err := c.leb(leb32); err != nil {
		return err
	}
	first, last := c.b[from], c.b[c.at-1]
	if last&0x40 != 0 && (c.at-from > 1 || first != emptyBlock && !isValueType(first)) {
		return fmt.Errorf("the type %#x of a block is not known", first)
	}
	return nil
}

// immediates reads over what follows an instruction (WebAssembly 2.0, section 5.4). It is as strict as it can be: what is read here in
// another way than wazero reads it would hide code from stoppable.
func (c *cursor) immediates(op byte) error {
	switch {
	case op >= opBlock && op <= opIf:
		return c.blockType()
	case op == 0x0c, op == 0x0d, op == 0x10, op >= 0x20 && op <= 0x26, op == 0xd2:
		return c.index()
	case op == 0x0e:
		return c.list(c.index, 1)
	case op == 0x11:
		return each(c.index, c.index)
	case op == 0x1c: // wazero takes it for granted that there is one type, of one byte
		n, err := c.byte()
		if err == nil && n != 1 {
			err = fmt.Errorf("a select has %d types", n)
		}
		return errors.Join(err, c.valueType())
	case op >= 0x28 && op <= 0x3e:
		return c.address()
	case op == 0x3f, op == opMemoryGrow:
		return c.one()
	case op == 0xd0:
		return c.valueType()
	case op == opI32Const:
		return c.leb(leb32)
	case op == 0x42:
		return c.leb(leb64)
	case op == 0x43:
		return c.skip(4)
	case op == 0x44:
		return c.skip(8)
	case op == opExtended:
		_, err := c.extended()
		return err
	case op == 0xfd:
		return c.vector()
	case op <= 0x01, op == 0x05, op == opEnd, op == 0x0f, op == 0x1a, op == 0x1b, op >= 0x45 && op <= 0xc4, op == 0xd1:
		return nil
	}
	return fmt.Errorf("the instruction %#x is not known; WebAssembly 2.0 is (no threads, tail calls, exceptions or garbage collection)", op)
}

// list reads over a list of so many things as it says, and a few more.
func (c *cursor) list(thing func() error, more uint64) error {
	n, err := c.uint32()
	for i := uint64(0); i < uint64(n)+more && err == nil; i++ {
		err = thing()
	}
	return err
}

// extended are the instructions after 0xfc; bulk says that it does as much as the number on the stack says.
func (c *cursor) extended() (bulk bool, err error) {
	op, err := c.uint32()
	switch {
	case err != nil:
		return false, err
	case op <= 7: // conversions that saturate
		return false, nil
	case op == 8: // memory.init
		return true, each(c.index, c.one)
	case op == 10: // memory.copy
		return true, c.skip(2)
	case op == 11: // memory.fill
		return true, c.one()
	case op == 12, op == 14: // table.init, table.copy
		return true, each(c.index, c.index)
	case op == 15:
		return false, errors.New("table.grow is not available: tables are not counted as memory")
	case op <= 17: // data.drop, elem.drop, table.size, table.fill
		return op == 17, c.index()
	}
	return false, fmt.Errorf("the instruction 0xfc %#x is not known", op)
}

// vector are the instructions after 0xfd. Their numbers above 127 have a second byte, 1, which wazero reads as an instruction of its own
// that does nothing: so does this.
func (c *cursor) vector() error {
	op, err := c.byte()
	switch {
	case err != nil:
		return err
	case op <= 11, op == 92, op == 93: // loads and stores
		return c.address()
	case op == 12, op == 13: // constant, shuffle
		return c.skip(16)
	case op >= 21 && op <= 34: // a lane
		return c.one()
	case op >= 84 && op <= 91: // loads and stores of a lane
		return each(c.address, c.one)
	}
	return nil
}
