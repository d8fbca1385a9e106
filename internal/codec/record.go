package codec

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// field is one of the fields that a struct sends: its own, and those of structs embedded in it.
type field struct {
	index     []int  // as reflect.Value.FieldByIndex takes it
	path      string // from the type that is checked
	step      string // from the record
	name      string
	number    int64
	numbered  bool // its key is number instead of name
	omittable bool
	shape     *shape
}

// key is the field's key as authors write it.
func (f *field) key() string {
	if f.numbered {
		return strconv.FormatInt(f.number, 10)
	}
	return strconv.Quote(f.name)
}

func (c *shapes) fillRecord(s *shape, path string) error {
	s.class = record
	option, err := c.recordOption(s.typ, path)
	if err != nil {
		return err
	}
	s.asArray = option
	if s.fields, err = c.collect(s, s.typ, nil, path, []reflect.Type{s.typ}); err != nil {
		return err
	}
	if err := c.distinct(s.fields); err != nil {
		return err
	}
	for i := range s.fields {
		f := &s.fields[i]
		f.step = strings.TrimPrefix(strings.TrimPrefix(f.path, path), ".")
	}
	if s.asArray {
		return nil
	}
	s.byName, s.byNumber = map[string]*shape{}, map[int64]*shape{}
	for _, f := range s.fields {
		if f.numbered {
			s.byNumber[f.number] = f.shape
		} else {
			s.byName[f.name] = f.shape
		}
	}
	return nil
}

// recordOption reads the tag of the field "_", as the CBOR library does: a struct may be an array.
func (c *shapes) recordOption(t reflect.Type, path string) (asArray bool, err error) {
	f, ok := t.FieldByName("_")
	if !ok || f.Tag.Get("cbor") == "-" {
		return false, nil
	}
	_, options, _ := strings.Cut(f.Tag.Get("cbor"), ",")
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "toarray":
			asArray = true
		case "toindefarray":
			return false, c.refuse(path, "has the tag toindefarray, which receivers refuse",
				"use toarray")
		}
	}
	return asArray, nil
}

// collect finds the fields that the record sends which are declared in t: the record's type, or
// that of a struct embedded in it. within are the types that embed one another down to t.
func (c *shapes) collect(
	s *shape, t reflect.Type, index []int, path string, within []reflect.Type,
) (fields []field, err error) {
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Name == "_" {
			continue // padding or a tag: no program can read it
		}
		at := sf.Name
		if path != "" {
			at = path + "." + sf.Name
		}
		f := field{index: append(slices.Clone(index), i), path: at}
		inner, err := c.read(sf, &f, t)
		if err != nil {
			return nil, err
		}
		if inner == nil {
			f.shape, err = c.of(sf.Type, at)
			fields = append(fields, f)
		} else {
			var more []field
			more, err = c.embed(s, sf, inner, f, within)
			fields = append(fields, more...)
		}
		if err != nil {
			return nil, err
		}
	}
	return fields, nil
}

// read reads a field that is declared in the struct in, and fills in its key. If the fields of an
// embedded struct are sent in its place, read returns that struct.
func (c *shapes) read(sf reflect.StructField, f *field, in reflect.Type) (reflect.Type, error) {
	structure := sf.Type
	if structure.Kind() == reflect.Pointer {
		structure = structure.Elem()
	}
	inlined := sf.Anonymous && structure.Kind() == reflect.Struct
	if !sf.IsExported() && !inlined {
		return nil, c.refuse(f.path, "is unexported and would be lost", fmt.Sprintf(
			"export it or give %s a MarshalCBOR/UnmarshalCBOR pair", short(in)))
	}
	tag := sf.Tag.Get("cbor")
	if tag == "" {
		tag = sf.Tag.Get("json")
	}
	if tag == "-" {
		return nil, c.refuse(f.path, `has the tag "-", so that it would arrive in the same `+
			"process but not in another", "remove the tag, or the field")
	}
	name, options, _ := strings.Cut(tag, ",")
	if inlined && name == "" {
		return structure, nil
	}
	if !sf.IsExported() {
		return nil, c.refuse(f.path, "is unexported and has a name in its tag",
			"export it or remove the name")
	}
	f.name = sf.Name
	if name != "" {
		f.name = name
	}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty", "omitzero":
			f.omittable = true
		case "keyasint":
			f.numbered = true
		}
	}
	if !f.numbered {
		return nil, nil
	}
	number, err := strconv.Atoi(f.name)
	if err != nil {
		return nil, c.refuse(f.path, fmt.Sprintf("has the tag keyasint and the name %q", f.name),
			"make the name an integer")
	}
	f.number = int64(number)
	return nil, nil
}

// embed collects the fields of an embedded struct.
func (c *shapes) embed(
	s *shape, sf reflect.StructField, inner reflect.Type, f field, within []reflect.Type,
) ([]field, error) {
	if slices.Contains(within, inner) {
		return nil, c.refuse(f.path, "embeds the struct in itself", "give the field a name")
	}
	fields, err := c.collect(s, inner, f.index, f.path, append(slices.Clone(within), inner))
	if err != nil || sf.Type.Kind() != reflect.Pointer {
		return fields, err
	}
	// Whether the pointer was nil is seen from the fields that arrive.
	switch {
	case !sf.IsExported():
		err = c.refuse(f.path, "is an embedded pointer to an unexported struct, which no decoder "+
			"can set", "embed the struct itself or export it")
	case s.asArray:
		err = c.refuse(f.path, "is an embedded pointer in a struct with the tag toarray, and "+
			"would not arrive as nil", "embed the struct itself or give the field a name")
	case !slices.ContainsFunc(fields, func(f field) bool { return !f.omittable }):
		err = c.refuse(f.path, "is an embedded pointer to a struct whose fields may all be left "+
			"out, and could arrive as nil", "embed the struct itself or give the field a name")
	}
	// To what embeds this struct, no field of it is sure to be sent.
	for i := range fields {
		fields[i].omittable = true
	}
	return fields, err
}

// distinct refuses fields that share a key. The CBOR library sends one of them at most.
func (c *shapes) distinct(fields []field) error {
	type key struct {
		name   string
		number int64
	}
	seen := map[key]*field{}
	for i := range fields {
		f := &fields[i]
		k := key{number: f.number}
		if !f.numbered {
			k.name = "=" + strings.ToLower(f.name)
		}
		other, ok := seen[k]
		if !ok {
			seen[k] = f
			continue
		}
		why := fmt.Sprintf("has the same key as %s, %s", other.path, f.key())
		if other.key() != f.key() {
			why = fmt.Sprintf("has the key %s, which is %s of %s but for case",
				f.key(), other.key(), other.path)
		}
		return c.refuse(f.path, why, "give one of them another key by a cbor tag")
	}
	return nil
}
