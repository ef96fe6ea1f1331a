package wasm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// What stoppable adds to a module.
const (
	exportStop  = "functions-worker:stop"  // a global; a guest that finds something else than 0 there traps
	exportFirst = "functions-worker:start" // the function that the module's start section named
)

// turns is after how many turns of loops and calls a guest lets the worker in.
const turns = 1000

// stoppable rewrites a module so that a guest can be stopped while it runs, and holds up nothing meanwhile: the Go runtime cannot
// interrupt compiled code, and waits for it before it collects garbage, with everything else in the process. So turns of loops and
// calls (of functions that call others, which may recurse) are counted, weighed by the code and memory they go over, and now and then the guest leaves its code, by growing its
// memory by nothing, and looks whether it is to stop.
//
// wazero has a check of its own (WithCloseOnContextDone). It leaves the code at every turn of a loop, for some 50 ns, and Go compiles
// almost every function to a loop: its guests took four times as long. And it never looks at recursion.
//
// A start section becomes an export, as it would run before anybody can reach the global. Nothing else changes: indexes of functions and
// globals stay, and what is in memory at first (mergeData), and wazero checks the result as it would have checked the module.
func stoppable(code []byte) ([]byte, error) {
	sections, err := sectionsOf(code)
	if err != nil {
		return nil, err
	}
	r := rewriter{out: append(make([]byte, 0, len(code)+len(code)/8+64), code[:headSize]...), most: 2*len(code) + 1<<20}
	for _, s := range sections {
		switch s.id {
		case sectionGlobal:
			if r.globals, err = (&cursor{b: s.body}).uint32(); err != nil {
				return nil, fmt.Errorf("globals: %w", err)
			}
			if r.globals > maxPieces {
				return nil, fmt.Errorf("it has %d globals; at most %d are allowed", r.globals, maxPieces)
			}
		case sectionDataCount:
			r.numbered = true
		case sectionStart:
			first, err := (&cursor{b: s.body}).uint32()
			if err != nil {
				return nil, fmt.Errorf("start: %w", err)
			}
			r.first = &first
		}
	}
	for _, s := range sections {
		if err := r.section(s); err != nil {
			return nil, fmt.Errorf("section %d: %w", s.id, err)
		}
	}
	return r.out, nil
}

// More sections of a module.
const (
	sectionCustom   = 0
	sectionTable    = 4
	sectionElements = 9
	sectionGlobal   = 6
	sectionStart    = 8
	sectionCode     = 10
	headSize        = 8
)

// Instructions and what follows them.
const (
	opUnreachable   = 0x00
	opBlock         = 0x02
	opLoop          = 0x03
	opIf            = 0x04
	opEnd           = 0x0b
	opCall          = 0x10
	opCallIndirect  = 0x11
	opDrop          = 0x1a
	opGlobalGet     = 0x23
	opGlobalSet     = 0x24
	opMemoryGrow    = 0x40
	opI32Const      = 0x41
	opI32LessSigned = 0x48
	opI32Sub        = 0x6b
	opI32ShiftRight = 0x76 // unsigned
	opExtended      = 0xfc
	emptyBlock      = 0x40
	typeI32         = 0x7f
)

type moduleSection struct {
	id   byte
	body []byte
}

func sectionsOf(code []byte) ([]moduleSection, error) {
	if len(code) < headSize {
		return nil, ErrNotWASM
	}
	var all []moduleSection
	for c := (cursor{b: code, at: headSize}); c.at < len(c.b); {
		id, err := c.byte()
		if err != nil {
			return nil, err
		}
		size, err := c.uint32()
		if err != nil {
			return nil, err
		}
		body, err := c.take(uint64(size))
		if err != nil {
			return nil, fmt.Errorf("section %d: %w", id, err)
		}
		all = append(all, moduleSection{id, body})
	}
	return all, nil
}

// rewriter writes the module again.
type rewriter struct {
	out     []byte
	most    int     // bytes that the result may have
	globals uint32  // how many the module has: the index of the first that is added
	first   *uint32 // the function of the start section
	added   bool    // the globals are written

	numbered bool // instructions name pieces of data by their numbers
}

// The globals that are added, behind those of the module.
const (
	globalCount = iota // of turns, down
	globalStop
	globalSize // of a bulk instruction
	addedGlobals
)

func (r *rewriter) global(op byte, which uint32) []byte {
	return binary.AppendUvarint([]byte{op}, uint64(r.globals+which))
}

// check counts down by a cost that is on the stack after these instructions, and at the end begins again after a look at the stop.
func (r *rewriter) check(cost ...byte) []byte {
	return slices.Concat(
		r.global(opGlobalGet, globalCount), cost, []byte{opI32Sub}, r.global(opGlobalSet, globalCount),
		r.global(opGlobalGet, globalCount), []byte{opI32Const, 0, opI32LessSigned, opIf, emptyBlock},
		[]byte{opI32Const, 0, opMemoryGrow, 0, opDrop, opI32Const}, signed(turns), r.global(opGlobalSet, globalCount),
		r.global(opGlobalGet, globalStop), []byte{opIf, emptyBlock, opUnreachable, opEnd, opEnd})
}

// turnBytes is how much code, or memory of a bulk instruction, counts as a turn.
const turnBytes = 4096

// bulk is the check before an instruction that goes over as many bytes as the stack says.
func (r *rewriter) bulk() []byte {
	cost := append(r.global(opGlobalGet, globalSize), opI32Const, 12, opI32ShiftRight) // turnBytes is 1<<12
	return slices.Concat(r.global(opGlobalSet, globalSize), r.check(cost...), r.global(opGlobalGet, globalSize))
}

// signed is a number that is not negative in signed LEB128.
func signed(n uint64) []byte {
	b := binary.AppendUvarint(nil, n)
	if last := len(b) - 1; b[last]&0x40 != 0 { // it would be taken for the sign
		b[last] |= 0x80
		b = append(b, 0)
	}
	return b
}

func (r *rewriter) section(s moduleSection) error {
	if !r.added && afterGlobals(s.id) {
		r.write(sectionGlobal, binary.AppendUvarint(nil, addedGlobals), newGlobals)
		r.added = true
	}
	switch s.id {
	case sectionGlobal:
		rest, err := counted(s.body)
		if err != nil || r.added {
			return errors.Join(err, twice(r.added))
		}
		r.added = true
		r.write(s.id, binary.AppendUvarint(nil, uint64(r.globals)+addedGlobals), rest, newGlobals)
		return nil
	case sectionExport:
		n, rest, err := r.exports(s.body)
		if err != nil {
			return err
		}
		more, added := exportEntry(exportStop, 3, r.globals+globalStop), uint64(1)
		if r.first != nil {
			more, added = append(more, exportEntry(exportFirst, 0, *r.first)...), added+1
		}
		r.write(s.id, binary.AppendUvarint(nil, uint64(n)+added), rest, more)
		return nil
	case sectionStart:
		return nil
	case sectionTable:
		if err := tables(s.body); err != nil {
			return err
		}
	case sectionCode:
		return r.codeSection(s.body)
	case sectionData:
		body, err := mergeData(s.body, r.numbered)
		if err != nil {
			return err
		}
		s.body = body
	case sectionElements:
		if err := elements(s.body); err != nil {
			return err
		}
	case sectionCustom:
		return nil // names, which nobody reads; wazero would make room for as many as they say
	}
	r.write(s.id, s.body)
	return nil
}

// exports counts what the module exports, and gives it without the count.
func (r *rewriter) exports(body []byte) (n uint32, rest []byte, err error) {
	c := cursor{b: body}
	n, err = c.uint32()
	rest = body[c.at:]
	for i := uint32(0); i < n && err == nil; i++ {
		var kind byte
		var index uint32
		err = each(
			func() error { return c.list(c.one, 0) },
			func() (err error) { kind, err = c.byte(); return err },
			func() (err error) { index, err = c.uint32(); return err })
		if err == nil && kind == 3 && index >= r.globals {
			err = fmt.Errorf("it exports global %d, and there are %d", index, r.globals)
		}
	}
	return n, rest, err
}

// newGlobals are numbers that may change and begin with 0.
var newGlobals = bytes.Repeat([]byte{typeI32, 1, opI32Const, 0, opEnd}, addedGlobals)

func twice(there bool) error {
	if there {
		return errors.New("it is there twice, or in the wrong place")
	}
	return nil
}

// afterGlobals tells sections that follow that of the globals.
func afterGlobals(id byte) bool { return id >= sectionExport && id <= 12 }

// counted is a list without its length.
func counted(body []byte) ([]byte, error) {
	c := cursor{b: body}
	_, err := c.uint32()
	return body[c.at:], err
}

func exportEntry(name string, kind byte, index uint32) []byte {
	b := append(binary.AppendUvarint(nil, uint64(len(name))), name...)
	return binary.AppendUvarint(append(b, kind), uint64(index))
}

func (r *rewriter) write(id byte, parts ...[]byte) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	r.out = binary.AppendUvarint(append(r.out, id), uint64(size))
	for _, p := range parts {
		r.out = append(r.out, p...)
	}
}

func (r *rewriter) codeSection(body []byte) error {
	c := cursor{b: body}
	n, err := c.uint32()
	if err != nil {
		return err
	}
	if n > maxFunctions {
		return fmt.Errorf("it has %d functions; at most %d are allowed", n, maxFunctions)
	}
	code := bytes.NewBuffer(make([]byte, 0, len(body)+len(body)/8))
	code.Write(binary.AppendUvarint(nil, uint64(n)))
	var one []byte // of one function, used again
	for i := range n {
		size, err := c.uint32()
		if err != nil {
			return fmt.Errorf("function %d: %w", i, err)
		}
		function, err := c.take(uint64(size))
		if err == nil {
			one, err = r.function(one[:0], function)
		}
		if err != nil {
			return fmt.Errorf("function %d: %w", i, err)
		}
		code.Write(binary.AppendUvarint(nil, uint64(len(one))))
		code.Write(one)
		if len(r.out)+code.Len() > r.most {
			return errors.New("it has too many loops for its size")
		}
	}
	code.Write(body[c.at:]) // what does not belong there is for wazero to refuse
	r.write(sectionCode, code.Bytes())
	return nil
}

// Bounds of what wazero keeps in the Go heap.
const (
	maxLocals  = 50_000    // of a function
	maxEntries = 1_000_000 // of all tables
	maxTables  = 1_000
)

// locals reads over the declarations of a function.
func (c *cursor) locals() error {
	groups, err := c.uint32()
	for total := uint64(0); groups > 0 && err == nil; groups-- {
		var n uint32
		if n, err = c.uint32(); err != nil {
			break
		}
		if total += uint64(n); total > maxLocals {
			return fmt.Errorf("it has more than %d locals", maxLocals)
		}
		err = c.valueType()
	}
	if err != nil {
		return fmt.Errorf("locals: %w", err)
	}
	return nil
}

// tables bounds what the tables begin with; they do not grow (cursor.extended).
func tables(body []byte) error {
	c := cursor{b: body}
	n, err := c.uint32()
	if n > maxTables {
		return fmt.Errorf("it has %d tables; at most %d are allowed", n, maxTables)
	}
	for total := uint64(0); n > 0 && err == nil; n-- {
		var flags byte
		var least uint32
		err = each(c.valueType,
			func() (err error) { flags, err = c.byte(); return err },
			func() (err error) { least, err = c.uint32(); return err })
		if err == nil && flags > 1 {
			err = fmt.Errorf("the limits of a table have the form %d", flags)
		}
		if err == nil && flags == 1 {
			err = c.index()
		}
		if total += uint64(least); total > maxEntries {
			return fmt.Errorf("the tables have more than %d entries", maxEntries)
		}
	}
	return err
}

// function appends the function with a check at the head of each of its loops, before each bulk instruction, and one at its own head
// if it calls others or is long.
func (r *rewriter) function(out, body []byte) ([]byte, error) {
	c := cursor{b: body}
	if err := c.locals(); err != nil {
		return nil, err
	}
	turn := r.check(append([]byte{opI32Const}, signed(1+uint64(len(body))/turnBytes)...)...)
	head, from, calls := c.at, c.at, len(body) > turnBytes
	out = append(append(out, body[:head]...), turn...)
	for c.at < len(body) {
		at := c.at
		op, err := c.byte()
		if err != nil {
			return nil, err
		}
		switch op {
		case opGlobalGet, opGlobalSet:
			err = r.foreign(&c)
		case opLoop:
			if err = c.blockType(); err == nil {
				out = append(append(out, body[from:c.at]...), turn...)
				from = c.at
			}
		case opExtended:
			var bulk bool
			if bulk, err = c.extended(); bulk {
				out = append(append(out, body[from:at]...), r.bulk()...)
				from = at
			}
		default:
			calls = calls || op == opCall || op == opCallIndirect
			err = c.immediates(op)
		}
		if err != nil {
			return nil, err
		}
		if len(out) > r.most {
			return nil, errors.New("it has too many loops for its size")
		}
	}
	out = append(out, body[from:]...)
	if !calls {
		out = slices.Delete(out, head, head+len(turn))
	}
	return out, nil
}

// foreign refuses the globals that are added: they are nothing to the guest.
func (r *rewriter) foreign(c *cursor) error {
	index, err := c.uint32()
	if err == nil && index >= r.globals {
		err = fmt.Errorf("it uses global %d, and there are %d", index, r.globals)
	}
	return err
}
