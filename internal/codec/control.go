package codec

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// Control encodes and decodes the package's own messages, strictly: see [controlDecOptions].
// Its methods may be called concurrently.
var Control control

type control struct{}

// Marshal encodes v, or fails if the other side would refuse it.
func (control) Marshal(v any) ([]byte, error) {
	data, err := controlEnc.Marshal(v)
	if err == nil {
		err = controlDec.Wellformed(data)
	}
	if err != nil {
		return nil, fmt.Errorf("lahja: cannot encode a control message: %w", err)
	}
	return data, nil
}

// Unmarshal decodes data into v, which is a pointer to a zero value. Keys that v does not have are
// ignored: later versions add some. When it fails, v may be partly filled and is of no use.
func (control) Unmarshal(data []byte, v any) error {
	err := controlDec.Wellformed(data)
	if err == nil {
		err = matches(data, reflect.TypeOf(v).Elem())
	}
	if err == nil {
		err = controlDec.Unmarshal(data, v)
	}
	if err != nil {
		return &decodeError{what: "a control message", cause: err}
	}
	return nil
}

// matches refuses a message of type t in which a field holds something of another kind. The library
// would refuse it as well, after it has made an error of 64 bytes for each such element of a list.
// data is well-formed.
func matches(data []byte, t reflect.Type) error {
	w := scale{data: data}
	major, pairs := w.head()
	if major != majorMap || t.Kind() != reflect.Struct {
		return nil // the library says what is wrong, once
	}
	fields := controlFields(t)
	for range pairs {
		start := w.off
		switch major, key := w.head(); major {
		case majorUint:
			if err := w.matches(fields[key]); err != nil {
				return fmt.Errorf("key %d: %w", key, err)
			}
			continue
		case majorNegative, majorText:
		default:
			return errKey
		}
		w.off = start
		_ = w.item(nil) // a key that nobody knows
		_ = w.item(nil)
	}
	return nil
}

// matches is for the next item, which goes to a t. A nil t is that of a field that is not known.
func (w *scale) matches(t reflect.Type) error {
	start := w.off
	major, n := w.head()
	want, known := majorOf(t)
	switch {
	case w.data[start] == null:
	case !known:
		w.off = start
		return w.item(nil)
	case major != want:
		return fmt.Errorf("an item of major type %d, where %d is due", major, want)
	case major == majorArray:
		for range n {
			if err := w.matches(t.Elem()); err != nil {
				return err
			}
		}
	case major == majorBytes || major == majorText:
		w.off += int(n)
	}
	return nil
}

// majorOf is the major type of what goes to a t, if it is one that control messages have.
func majorOf(t reflect.Type) (major byte, known bool) {
	switch {
	case t == nil:
		return 0, false
	case t.Kind() == reflect.Uint64:
		return majorUint, true
	case t.Kind() == reflect.String:
		return majorText, true
	case t.Kind() == reflect.Bool:
		return majorSimple, true
	case t == reflect.TypeFor[[]byte]():
		return majorBytes, true
	case t.Kind() == reflect.Slice:
		return majorArray, true
	}
	return 0, false
}

// fieldsByKey has a map[uint64]reflect.Type for each type of message, by reflect.Type.
var fieldsByKey sync.Map

// controlFields are the types of a message's fields, by their keys.
func controlFields(t reflect.Type) map[uint64]reflect.Type {
	if known, ok := fieldsByKey.Load(t); ok {
		return known.(map[uint64]reflect.Type)
	}
	fields := map[uint64]reflect.Type{}
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("cbor"), ",")
		if n, err := strconv.ParseUint(key, 10, 64); err == nil {
			fields[n] = t.Field(i).Type
		}
	}
	fieldsByKey.Store(t, fields)
	return fields
}
