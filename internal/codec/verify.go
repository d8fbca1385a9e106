package codec

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// settle finds which shapes have values that cannot be sent, when all shapes are made.
func (c *shapes) settle() {
	for changed := true; changed; {
		changed = false
		for _, s := range c.made {
			if !s.watch && s.hazard() {
				s.watch, changed = true, true
			}
		}
	}
}

// hazard reports whether a value of s can be one that cannot be sent. Only those are looked at.
func (s *shape) hazard() bool {
	switch {
	case s.class == clock, s.cyclic:
		return true
	case s.class == pointer && s.elem.null():
		return true
	case s.elem != nil && s.elem.watch:
		return true
	}
	for _, f := range s.fields {
		if f.shape.watch {
			return true
		}
	}
	return false
}

// unsure reports whether s can be encoded to what a decoder refuses: too deep, or whatever else a
// MarshalCBOR method writes.
func (c *shapes) unsure(s *shape) bool {
	for _, s := range c.made {
		if s.cyclic || s.class == opaque {
			return true
		}
	}
	return s.depth() > MaxNesting
}

// depth is how deep the encoding nests, of a shape that does not contain itself.
func (s *shape) depth() (depth int) {
	if s.nests > 0 {
		return s.nests
	}
	if s.elem != nil {
		depth = s.elem.depth()
	}
	for _, f := range s.fields {
		depth = max(depth, f.shape.depth())
	}
	switch s.class {
	case list, array, table, record:
		depth++
	}
	s.nests = depth
	return depth
}

// A visit goes through a value before it is encoded.
type visit struct {
	depth int
	left  int // values to look at yet
}

// visited is how many values are looked at: pointers that share what they point to can make far
// more of a value than fits in memory.
const visited = 1 << 24

var (
	errEndless = fmt.Errorf("it nests more than %d levels deep, or refers to itself", MaxNesting)
	errVast    = errors.New("it is too large")
)

// verify refuses values that would arrive as others, or never be encoded to the end.
func (s *shape) verify(v reflect.Value, w *visit) error {
	if !s.watch {
		return nil
	}
	if w.left--; w.left < 0 {
		return errVast
	}
	switch s.class {
	case clock:
		return verifyTime(timeIn(v))
	case pointer:
		if v.IsNil() {
			return nil
		}
		if s.elem.isNull(v.Elem()) {
			return &valueError{why: "points to " + nothing(s.elem) + " and would arrive as nil; " +
				"make it nil"}
		}
		return s.elem.verify(v.Elem(), w)
	case list, table:
		if v.Len() == 0 {
			return nil
		}
	}
	if w.depth++; w.depth > MaxNesting {
		return errEndless
	}
	err := s.verifyParts(v, w)
	w.depth--
	return err
}

func (s *shape) verifyParts(v reflect.Value, w *visit) error {
	switch s.class {
	case record:
		return s.verifyFields(v, w)
	case table:
		for it := v.MapRange(); it.Next(); {
			if err := s.elem.verify(it.Value(), w); err != nil {
				return inside("[]", err)
			}
		}
	case list, array:
		for i := range v.Len() {
			if err := s.elem.verify(v.Index(i), w); err != nil {
				return inside("[]", err)
			}
		}
	}
	return nil
}

func (s *shape) verifyFields(v reflect.Value, w *visit) error {
	for i := range s.fields {
		f := &s.fields[i]
		if !f.shape.watch {
			continue
		}
		fv, err := v.FieldByIndexErr(f.index)
		if err != nil {
			continue // of an embedded struct that is nil
		}
		if err := f.shape.verify(fv, w); err != nil {
			return inside(f.step, err)
		}
	}
	return nil
}

// isNull reports whether v is sent as null.
func (s *shape) isNull(v reflect.Value) bool {
	if s.class == clock {
		return timeIn(v).IsZero()
	}
	return s.null() && v.IsNil()
}

// nothing words what is sent as null.
func nothing(s *shape) string {
	switch s.class {
	case clock:
		return "the zero time"
	case pointer:
		return "a nil pointer"
	}
	return "a nil " + s.typ.Kind().String()
}

// timeIn reads a time without copying it to the heap, if it can.
func timeIn(v reflect.Value) time.Time {
	if v.CanAddr() {
		return *v.Addr().Interface().(*time.Time)
	}
	return v.Interface().(time.Time)
}

// verifyTime refuses an offset that would be cut to minutes, which moves the instant. Such offsets
// belong to local times of the 19th century. Years out of range the CBOR library refuses itself.
func verifyTime(t time.Time) error {
	if _, offset := t.Zone(); offset%60 != 0 && !t.IsZero() {
		return &valueError{
			why: "is a time whose offset from UTC is not whole minutes; use its UTC()",
		}
	}
	return nil
}

// valueError says where in a value the trouble is.
type valueError struct{ path, why string }

func (e *valueError) Error() string { return place(e.path) + " " + e.why }

// inside adds a step to the path of an error, on the way back out.
func inside(step string, err error) error {
	var e *valueError
	if !errors.As(err, &e) {
		return err
	}
	if e.path != "" && e.path[0] != '[' {
		step += "."
	}
	e.path = step + e.path
	return err
}
