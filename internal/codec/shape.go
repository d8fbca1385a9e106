package codec

import (
	"fmt"
	"math/big"
	"reflect"
	"time"
)

// class is how CBOR carries the values of a type.
type class uint8

const (
	scalar  class = iota // a bool or a number
	text                 // a string, or bytes
	clock                // a time.Time: text, or null if it is zero
	bignum               // a big.Int: an integer, or a tagged byte string
	opaque               // whatever the type's MarshalCBOR writes
	blob                 // a byte string with what the type's MarshalBinary returns
	pointer              // null, or what it points to
	list                 // a slice: null or an array
	array                // an array
	table                // a Go map: null or a map
	record               // a struct: a map by field, or an array
)

var (
	timeType   = reflect.TypeFor[time.Time]()
	bigIntType = reflect.TypeFor[big.Int]()
)

// A shape is how the values of one Go type look on the wire, as far as the package has to know.
// Shapes of types that contain themselves do so too.
type shape struct {
	typ      reflect.Type
	class    class
	elem     *shape // of a pointer, list, array or table
	key      *shape // of a table
	fields   []field
	byName   map[string]*shape // of a record that is a map
	byNumber map[int64]*shape
	asArray  bool // of a record: its fields come in order, without keys

	nests  int  // how deep its encoding nests, once asked for
	done   bool // all of the above is known
	cyclic bool // it contains itself
	watch  bool // some of its values cannot be sent: see verify
}

// null reports whether some value of the shape is sent as null, so that a pointer to it arrives as
// no pointer.
func (s *shape) null() bool {
	switch s.class {
	case clock, pointer, list, table:
		return true
	case text:
		return s.typ.Kind() == reflect.Slice
	}
	return false
}

// shapes makes the shapes of a type and of all that it holds, and refuses what CBOR would lose.
type shapes struct {
	root reflect.Type
	role string // what the type is to be: "an event"
	made map[reflect.Type]*shape
}

// refuse is the error of a type that cannot be sent. It names the place, says why, and what to do.
func refuse(t reflect.Type, role, place, why, instead string) error {
	return fmt.Errorf("lahja: type %s cannot be %s: %s %s; %s",
		describe(t), role, place, why, instead)
}

// describe names a type in an error.
func describe(t reflect.Type) string {
	if t.Name() != "" {
		return pathName(t)
	}
	return t.String()
}

func (c *shapes) refuse(path, why, instead string) error {
	return refuse(c.root, c.role, place(path), why, instead)
}

// place words a path: the steps from the type to a part of it.
func place(path string) string {
	switch {
	case path == "":
		return "it"
	case path[0] == '[':
		return "element " + path
	}
	return "field " + path
}

// of makes the shape of a type that is found at path.
func (c *shapes) of(t reflect.Type, path string) (*shape, error) {
	if s, ok := c.made[t]; ok {
		s.cyclic = s.cyclic || !s.done
		return s, nil
	}
	s := &shape{typ: t}
	c.made[t] = s
	err := c.fill(s, path)
	s.done = true
	return s, err
}

func (c *shapes) fill(s *shape, path string) (err error) {
	t := s.typ
	if s.class, err = c.special(t, path); err != nil || s.class != scalar {
		return err
	}
	switch t.Kind() {
	case reflect.Bool,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return nil
	case reflect.String:
		s.class = text
		return nil
	case reflect.Pointer:
		return c.fillPointer(s, path)
	case reflect.Slice:
		s.class = list
		return c.fillElem(s, path)
	case reflect.Array:
		s.class = array
		return c.fillElem(s, path)
	case reflect.Map:
		return c.fillTable(s, path)
	case reflect.Struct:
		return c.fillRecord(s, path)
	case reflect.Interface:
		return c.refuse(path, "is an interface, and the receiver would not know which type to make",
			"use one type, or a struct with a pointer to each that it may be")
	case reflect.Chan, reflect.Func:
		return c.refuse(path, fmt.Sprintf("is a %s and would be lost", t.Kind()),
			"leave it out and send what the other process needs to know")
	}
	// Complex numbers, uintptr and unsafe.Pointer.
	return c.refuse(path, fmt.Sprintf("is of type %s, which CBOR does not have", t),
		"use another type")
}

// special finds the types that are not carried by their kind; of all others it says scalar.
func (c *shapes) special(t reflect.Type, path string) (class, error) {
	switch {
	case t == timeType:
		return clock, nil
	case t == bigIntType:
		return bignum, nil
	case t.Kind() == reflect.Pointer:
		return scalar, nil // the CBOR library follows pointers first
	}
	for _, p := range pairs {
		encodes := reflect.PointerTo(t).Implements(p.encodeType)
		decodes := reflect.PointerTo(t).Implements(p.decodeType)
		if !encodes && !decodes {
			continue
		}
		if encodes != decodes {
			has, lacks := p.encode, p.decode
			if decodes {
				has, lacks = lacks, has
			}
			return 0, c.refuse(path, fmt.Sprintf("is of type %s, which has %s but no %s",
				describe(t), has, lacks), "declare both or neither")
		}
		return p.class, c.whole(t, path, p)
	}
	return scalar, nil
}

// whole refuses a struct that encodes itself by methods of one of its embedded fields: they leave
// out all the others, and fail where the field is a nil pointer.
func (c *shapes) whole(t reflect.Type, path string, p pair) error {
	name := p.encode
	from, ok := borrowed(t, p.encodeType, p.encode)
	if !ok {
		name = p.decode
		from, ok = borrowed(t, p.decodeType, p.decode)
	}
	if !ok || t.NumField() == 1 && from.Type.Kind() != reflect.Pointer {
		return nil
	}
	why := fmt.Sprintf("has its %s method from the embedded %s, which sends nothing else",
		name, from.Name)
	instead := fmt.Sprintf("declare %s and %s on %s, or do not embed %s",
		p.encode, p.decode, short(t), from.Name)
	return c.refuse(path, why, instead)
}

// short names a type in advice to its author.
func short(t reflect.Type) string {
	if t.Name() == "" {
		return "its type"
	}
	return t.Name()
}

func (c *shapes) fillPointer(s *shape, path string) (err error) {
	s.class = pointer
	const enough = 8
	depth := 0
	for t := s.typ; t.Kind() == reflect.Pointer; t = t.Elem() {
		if depth++; depth > enough { // type P *P has no end
			return c.refuse(path, "points to pointers without end", "use one pointer")
		}
	}
	s.elem, err = c.of(s.typ.Elem(), path)
	return err
}

func (c *shapes) fillElem(s *shape, path string) (err error) {
	if s.typ.Elem().Kind() == reflect.Uint8 {
		s.class = text
		return nil
	}
	s.elem, err = c.of(s.typ.Elem(), path+"[]")
	return err
}

func (c *shapes) fillTable(s *shape, path string) (err error) {
	s.class = table
	if s.key, err = c.of(s.typ.Key(), path+"[key]"); err != nil {
		return err
	}
	if !isKey(s.key) {
		why := fmt.Sprintf("has keys of type %s, which need not arrive as they were sent",
			s.typ.Key())
		return c.refuse(path, why, "use strings, integers, booleans or arrays of bytes")
	}
	s.elem, err = c.of(s.typ.Elem(), path+"[]")
	return err
}

// isKey reports whether all equal values of a shape, and no others, are equal on arrival.
func isKey(s *shape) bool {
	switch s.class {
	case scalar:
		k := s.typ.Kind()
		return k != reflect.Float32 && k != reflect.Float64 // NaN is not even itself
	case text, opaque, blob:
		return true
	}
	return false
}
