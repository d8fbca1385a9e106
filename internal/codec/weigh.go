package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
)

// Decoding can cost far more memory than the bytes that it reads: a null is one byte, and an
// element of a slice of large structs on arrival; the CBOR library makes the slice before it reads
// them. Such elements can be spread over any number of slices, so that a limit on each bounds
// nothing. Hence payloads that could be that costly are weighed first: one pass over the bytes adds
// up what the library is going to allocate. That is what the value holds: while it decodes, the
// library also makes and drops an error of 64 bytes for each element of a wrong type.

// Costs per byte received, of what does not follow from sizes.
const (
	// strayCost is for a key that is neither text nor an integer where a struct's field is
	// expected: the library reads it into maps of any, to see whether it comes twice.
	strayCost = 192
	// tableCost is for the head of a Go map.
	tableCost = 48
	// slack is for how the allocator rounds up.
	slack = 16
)

// free is how large a payload may be before it has to be weighed.
func (c *shapes) free() int {
	cost := int64(1)
	for t, s := range c.made {
		if s.class == blob && !barren(t) {
			return 0
		}
		cost = max(cost, s.cost())
	}
	if cost <= MaxGrowth {
		return math.MaxInt
	}
	return int(MaxMemory / cost)
}

// cost is the most memory that one byte received can take, as part of a value of this shape.
func (s *shape) cost() int64 {
	switch s.class {
	case pointer, list:
		return alloc(1, s.elem.size()) + s.elem.behind()
	case table:
		// One pair takes a group of slots, and three bytes; two when its value is the next map.
		return (tableBytes(s, 1) + s.elem.behind()) / 2
	case record:
		if !s.asArray {
			return strayCost
		}
	case bignum, blob:
		return strayCost // they are structs, and the library takes a map for one
	}
	return 1
}

// barren reports whether t, which has a binary form of its own, takes no memory to speak of when
// something else than bytes comes: the library then decodes it by its kind.
func barren(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return fixed(t)
	}
	for i := range t.NumField() {
		if f := t.Field(i); (f.IsExported() || f.Anonymous) && !fixed(f.Type) {
			return false
		}
	}
	return true
}

// behind is what one byte received can take behind a value of this shape: what its pointers point
// to.
func (s *shape) behind() int64 {
	if s.class != pointer {
		return 0
	}
	return alloc(1, s.elem.size()) + s.elem.behind()
}

func (s *shape) size() int64 { return int64(s.typ.Size()) }

// alloc is about what n values of size bytes take, allocated at once.
func alloc(n, size int64) int64 {
	const most = math.MaxInt64 / 4
	switch {
	case n == 0 || size == 0:
		return 0
	case n > most/size:
		return most
	}
	return n*size + n*size/8 + slack
}

// tableBytes is about what a Go map made for n pairs takes.
func tableBytes(s *shape, n int64) int64 {
	const (
		group  = 8   // slots are taken in groups of so many
		direct = 128 // larger keys and elements are allocated one by one
	)
	if n == 0 {
		return tableCost
	}
	slots := int64(group)
	for slots*7/8 < n {
		slots *= 2
	}
	key, elem := s.key.size(), s.elem.size()
	bytes := tableCost + slots*(min(key, direct)+min(elem, direct)+1)
	if key > direct {
		bytes += alloc(n, key+slack)
	}
	if elem > direct {
		bytes += alloc(n, elem+slack)
	}
	return bytes
}

// A scale adds up what decoding a payload will take. The payload is known to be well-formed.
type scale struct {
	data  []byte
	off   int
	held  int64
	limit int64
}

var (
	errBignum = fmt.Errorf("it has a number of more than %d bytes where none fits", MaxBignum)
	errPart   = errors.New("it has an array or a map where bytes or a number belong")
	errKey    = errors.New("it has a key that is neither text nor an integer and so names no field")
)

// weigh refuses a payload that would take too much memory, or time, to decode.
func (t *Type) weigh(data []byte) error {
	if err := payloadDec.Wellformed(data); err != nil {
		return err
	}
	w := scale{data: data, limit: max(MaxMemory, int64(len(data))*MaxGrowth)}
	return w.item(t.shape)
}

func (w *scale) hold(n int64) error {
	w.held += n
	if w.held > w.limit {
		return fmt.Errorf("its %d bytes would take more than %d MiB of memory",
			len(w.data), w.limit>>20)
	}
	return nil
}

// item weighs the next data item, which is decoded to a value of shape s. A nil shape is for what
// is skipped, or is left to a method of the type.
func (w *scale) item(s *shape) error {
	for s != nil && s.class == pointer && w.data[w.off] != null {
		if err := w.hold(alloc(1, s.elem.size())); err != nil {
			return err
		}
		s = s.elem
	}
	if s != nil && s.class == opaque {
		s = nil
	}
	switch major, n := w.head(); major {
	case majorArray, majorMap:
		if s != nil && (s.class == blob || s.class == bignum) {
			return errPart
		}
		if major == majorArray {
			return w.array(s, int64(n))
		}
		return w.pairs(s, int64(n))
	case majorBytes, majorText:
		w.off += int(n)
		if s != nil {
			return w.hold(int64(n))
		}
	case majorTag:
		if err := w.bignum(s, n); err != nil {
			return err
		}
		return w.item(s)
	}
	return nil
}

// array weighs the n items of an array.
func (w *scale) array(s *shape, n int64) error {
	var elem *shape
	var fields []field
	switch {
	case s == nil:
	case s.class == list:
		elem = s.elem
		if err := w.hold(alloc(n, elem.size())); err != nil {
			return err
		}
	case s.class == array:
		elem = s.elem
	case s.class == record && s.asArray && len(s.fields) == int(n):
		fields = s.fields
	}
	for i := range n {
		if fields != nil {
			elem = fields[i].shape
		}
		if err := w.item(elem); err != nil {
			return err
		}
	}
	return nil
}

// pairs weighs the n pairs of a map.
func (w *scale) pairs(s *shape, n int64) error {
	var key, elem *shape
	named := s != nil && s.class == record && !s.asArray
	if s != nil && s.class == table {
		key, elem = s.key, s.elem
		if err := w.hold(tableBytes(s, n)); err != nil {
			return err
		}
	}
	for range n {
		if named {
			var err error
			if elem, err = w.fieldOf(s); err != nil {
				return err
			}
		} else if err := w.item(key); err != nil {
			return err
		}
		if err := w.item(elem); err != nil {
			return err
		}
	}
	return nil
}

// fieldOf reads a key of a struct. The field may be unknown.
func (w *scale) fieldOf(s *shape) (*shape, error) {
	switch major, n := w.head(); major {
	case majorText:
		name := w.data[w.off : w.off+int(n)]
		w.off += int(n)
		return s.byName[string(name)], nil
	case majorUint:
		return s.byNumber[int64(n)], nil
	case majorNegative:
		return s.byNumber[^int64(n)], nil
	}
	return nil, errKey
}

// bignum refuses a big number, of which the tag has been read, that has nowhere to go.
func (w *scale) bignum(s *shape, tag uint64) error {
	if tag != tagBignum && tag != tagNegativeBignum || s == nil || s.class == bignum {
		return nil
	}
	start := w.off
	_, n := w.head()
	w.off = start
	if n > MaxBignum {
		return errBignum
	}
	return nil
}

// CBOR's major types and tags.
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple

	null = 0xf6

	tagBignum         = 2
	tagNegativeBignum = 3
)

// head reads the head of an item: its major type and its number.
func (w *scale) head() (major byte, n uint64) {
	first := w.data[w.off]
	w.off++
	major, n = first>>5, uint64(first&0x1f)
	rest := w.data[w.off:]
	switch n {
	case 24:
		w.off++
		n = uint64(rest[0])
	case 25:
		w.off += 2
		n = uint64(binary.BigEndian.Uint16(rest))
	case 26:
		w.off += 4
		n = uint64(binary.BigEndian.Uint32(rest))
	case 27:
		w.off += 8
		n = binary.BigEndian.Uint64(rest)
	}
	return major, n
}

// longBignum reports whether data may have a big number of more than MaxBignum bytes: the first
// bytes of one, wherever they stand. It is rarely wrong, and much faster than weighing.
func longBignum(data []byte) bool {
	for tag := byte(0xc0 | tagBignum); tag <= 0xc0|tagNegativeBignum; tag++ {
		for rest := data; ; {
			i := bytes.IndexByte(rest, tag)
			if i < 0 || i+1 >= len(rest) {
				break
			}
			rest = rest[i+1:]
			if rest[0] >= 0x59 && rest[0] <= 0x5b { // bytes with a length of 2, 4 or 8 bytes
				return true
			}
		}
	}
	return false
}
