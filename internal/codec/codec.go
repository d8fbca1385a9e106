// Package codec decides which Go types can be events, what they are called on the wire, and how
// their values become bytes and memory.
//
// A type is checked once, as a whole, so that what can be broadcast within a process can also be
// sent to another and arrives there as it was: [Event] refuses every field that CBOR would lose or
// cannot carry. What arrives differently all the same is this:
//
//   - an empty slice or map in a field with the option omitempty arrives as nil, and a value with
//     an empty MarshalBinary as the zero value;
//   - in a field with the option omitzero a value of which its IsZero method says so arrives as the
//     zero value, and a pointer to one as nil;
//   - a negative zero in a field with either arrives as zero;
//   - two pointers to one variable arrive as pointers to two;
//   - a time keeps its instant and its offset from UTC, but neither zone name nor monotonic clock;
//   - a signaling NaN may arrive as a quiet one.
//
// And some values of types that can be sent cannot: Encode refuses a value that refers to itself or
// nests more than [MaxNesting] levels deep, a time outside the years 0 to 9999 or with an offset
// that is not whole minutes, and a non-nil pointer to a nil slice, map or pointer or to the zero
// time, which would arrive as nil.
package codec

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unicode"
)

// Type is what the package knows of one Go type. It does not change, and its methods may be called
// concurrently.
type Type struct {
	name    string
	typ     reflect.Type
	pointer reflect.Type // to typ
	shape   *shape
	layout  *layout

	checkOutput bool // its encoding can be one that receivers refuse
	free        int  // payloads up to this many bytes need not be weighed
}

// entry is what a check has found, kept for the life of the process.
type entry struct {
	typ *Type
	err error
}

// events and responses are by reflect.Type; those found by EventFor are in events under mark[T].
var events, responses sync.Map

// mark[T] is a type whose name tells whether T is declared inside a function.
type mark[T any] struct{}

// EventFor is [Event] for T. Only EventFor sees that a type is declared inside a function:
// reflection gives such a type the name that one at package level would have, but tells them apart
// in the arguments of a generic type.
func EventFor[T any]() (*Type, error) {
	marked := reflect.TypeFor[mark[T]]()
	if found, ok := events.Load(marked); ok {
		return found.(entry).typ, found.(entry).err
	}
	t := reflect.TypeFor[T]()
	var found entry
	if local(marked) && t.Name() != "" {
		found.err = refuseLocal(t)
	} else {
		found.typ, found.err = Event(t)
	}
	events.Store(marked, found)
	return found.typ, found.err
}

// Event checks that t can be an event. It has to be declared at package level, and CBOR must carry
// all that its values hold. The error says what stands against it and what to do.
func Event(t reflect.Type) (*Type, error) {
	return cached(&events, t, newEvent)
}

// Response checks that t can be the response to a request: any type whose values CBOR carries.
// Without a name it is called by its spelling, such as "[]int" or "map[string]example.com/app.T".
func Response(t reflect.Type) (*Type, error) {
	return cached(&responses, t, newResponse)
}

func cached(
	known *sync.Map, t reflect.Type, check func(reflect.Type) (*Type, error),
) (*Type, error) {
	if t == nil {
		return nil, errors.New("lahja: nil has no type")
	}
	found, ok := known.Load(t)
	if !ok {
		made, err := check(t)
		found, _ = known.LoadOrStore(t, entry{made, err})
	}
	return found.(entry).typ, found.(entry).err
}

func newResponse(t reflect.Type) (*Type, error) { return newType(t, "a response") }

func newEvent(t reflect.Type) (*Type, error) {
	no := func(why, instead string) (*Type, error) {
		return nil, refuse(t, "an event", "it", why, instead)
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return no("is a pointer", "use "+describe(t.Elem())+" itself")
	case t.Kind() == reflect.Interface:
		return no("is an interface", "use the types that implement it, each as an event of its own")
	case t.Name() == "":
		return no("has no name", "declare one: type Name "+t.String())
	case t.PkgPath() == "":
		return no("is predeclared, for values of any meaning", "declare one: type Name "+t.Name())
	case local(t):
		return nil, refuseLocal(t)
	}
	return newType(t, "an event")
}

// local reports whether a generic type has an argument that is declared inside a function.
func local(t reflect.Type) bool { return strings.Contains(t.Name(), "·") }

func refuseLocal(t reflect.Type) error {
	return refuse(t, "an event", "it",
		"is declared inside a function, where others may have its name",
		"declare it at package level")
}

func newType(t reflect.Type, role string) (*Type, error) {
	c := &shapes{root: t, role: role, made: map[reflect.Type]*shape{}}
	s, err := c.of(t, "")
	if err != nil {
		return nil, err
	}
	name, err := wireName(t)
	if err != nil {
		return nil, fmt.Errorf("lahja: type %s cannot be %s: %w", describe(t), role, err)
	}
	if len(name) > maxName {
		return nil, refuse(t, role, "it", fmt.Sprintf("has a name of %d bytes, and %d is the most",
			len(name), maxName), "give it a method EventName() string")
	}
	c.settle()
	return &Type{
		name:        name,
		typ:         t,
		pointer:     reflect.PointerTo(t),
		shape:       s,
		layout:      layoutOf(t),
		checkOutput: c.unsure(s),
		free:        c.free(),
	}, nil
}

// Name is what the type is called on the wire: 1 to 255 bytes of text.
func (t *Type) Name() string { return t.name }

// Encode appends the CBOR of v, which is a T or, faster, a *T. When it fails, or a method of the
// type panics, buf is as it was.
func (t *Type) Encode(buf *bytes.Buffer, v any) error {
	start := buf.Len()
	err := t.encode(buf, v, start)
	if err != nil {
		buf.Truncate(start)
		return fmt.Errorf("lahja: cannot encode %s: %w", t.name, err)
	}
	return nil
}

func (t *Type) encode(buf *bytes.Buffer, v any, start int) error {
	value := reflect.ValueOf(v)
	switch typ := reflect.TypeOf(v); {
	case typ == t.pointer && !value.IsNil():
		value = value.Elem()
	case typ != t.typ:
		return fmt.Errorf("the value is a %T", v)
	}
	if t.shape.watch {
		if err := t.shape.verify(value, &visit{left: visited}); err != nil {
			return err
		}
	}
	if err := payloadEnc.MarshalToBuffer(v, buf); err != nil {
		return err
	}
	data := buf.Bytes()[start:]
	if len(data) > t.free {
		return t.weigh(data)
	}
	if t.checkOutput {
		return payloadDec.Wellformed(data)
	}
	return nil
}

// Decode reads data, all of it, into ptr, which is a *T to a zero value. When it fails, what ptr
// points to may be partly filled and is of no use. It never panics, whatever the data, and keeps
// nothing of it.
func (t *Type) Decode(data []byte, ptr any) (err error) {
	defer func() {
		// A method of the type, given bytes that its author did not foresee.
		if r := recover(); r != nil {
			err = &decodeError{what: t.name, cause: fmt.Errorf("panic: %v", r)}
		}
	}()
	if reflect.TypeOf(ptr) != t.pointer {
		return &decodeError{what: t.name, cause: fmt.Errorf("it is to go to a %T", ptr)}
	}
	if len(data) > t.free || len(data) > MaxBignum && longBignum(data) {
		err = t.weigh(data)
	}
	if err == nil {
		err = payloadDec.Unmarshal(data, ptr)
	}
	if err != nil {
		return &decodeError{what: t.name, cause: err}
	}
	return nil
}

// FixedSize is the memory that each value takes, if none reaches further memory: no strings,
// slices, maps or pointers. A time is fixed, as its zone is shared.
func (t *Type) FixedSize() (size int, ok bool) { return t.layout.size, t.layout.fixed }

// Size estimates the memory that v, a value of the type, holds: its own size and that of all it
// reaches, up to a gigabyte. It looks at some thousand elements at most, and goes by them for the
// rest; into maps only if v can be addressed, as reflect.ValueOf(&value).Elem() can. It does not
// make value escape to the heap.
func (t *Type) Size(v reflect.Value) int {
	if t.layout.fixed {
		return t.layout.size
	}
	w := survey{left: surveyed}
	return min(maxSize, t.layout.size+t.layout.reach(v, &w))
}

// decodeError keeps the words for when somebody asks: they may be long, as the sender had a say in
// them. It does not unwrap: an io.EOF in here is none of the connection's.
type decodeError struct {
	what  string
	cause error
}

func (e *decodeError) Error() string {
	const enough = 200
	cause := e.cause.Error()
	if len(cause) > enough {
		cause = cause[:enough] + "..."
	}
	return "lahja: cannot decode " + e.what + ": " + strings.Map(printable, cause)
}

// printable replaces what should not reach a terminal; bytes that are not UTF-8 with U+FFFD.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return '?'
	}
	return r
}
