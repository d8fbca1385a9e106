package lahjatest

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

const (
	maxDepth = 16  // of values in values
	maxText  = 400 // bytes of a value that is shown
	maxLead  = 40  // of them, what is shown before a difference
	nothing  = "nothing"
)

// equal reports whether two values have no differences.
func equal(a, b any) bool {
	same := true
	differences(reflect.ValueOf(a), reflect.ValueOf(b), "", func(string, func() (a, b string)) {
		same = false
	})
	return same
}

// reporter is told of a path in which two values differ, and of what shows the two there. Most
// values are only compared, and showing costs more.
type reporter func(path string, show func() (a, b string))

// differences calls report with the paths in which two values of one type differ.
func differences(a, b reflect.Value, path string, report reporter) {
	if alike, decided := whole(a, b); decided {
		if !alike {
			report(path, func() (string, string) { return formatPair(a, b) })
		}
		return
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		differences(a.Elem(), b.Elem(), path, report)
	case reflect.Struct:
		for i := range a.NumField() {
			differences(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name, report)
		}
	case reflect.Map:
		differMaps(a, b, path, report)
	default: // slices and arrays
		n := min(a.Len(), b.Len())
		for i := range n {
			differences(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i), report)
		}
		for i := n; i < a.Len(); i++ {
			report(fmt.Sprintf("%s[%d]", path, i), func() (string, string) {
				return formatValue(a.Index(i)), nothing
			})
		}
		for i := n; i < b.Len(); i++ {
			report(fmt.Sprintf("%s[%d]", path, i), func() (string, string) {
				return nothing, formatValue(b.Index(i))
			})
		}
	}
}

func differMaps(a, b reflect.Value, path string, report reporter) {
	for _, key := range sortedKeys(a) {
		at := fmt.Sprintf("%s[%s]", path, formatValue(key))
		if other := b.MapIndex(key); other.IsValid() {
			differences(a.MapIndex(key), other, at, report)
		} else {
			report(at, func() (string, string) { return formatValue(a.MapIndex(key)), nothing })
		}
	}
	for _, key := range sortedKeys(b) {
		if !a.MapIndex(key).IsValid() {
			at := fmt.Sprintf("%s[%s]", path, formatValue(key))
			report(at, func() (string, string) { return nothing, formatValue(b.MapIndex(key)) })
		}
	}
}

// whole compares what is not looked into: values with an opinion of their own, those whose fields
// cannot be seen, and those without parts.
func whole(a, b reflect.Value) (alike, decided bool) {
	if !a.IsValid() || !b.IsValid() || a.Type() != b.Type() {
		return a.IsValid() == b.IsValid() && !a.IsValid(), true
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil(), true
		}
	}
	if method := a.MethodByName("Equal"); method.IsValid() && judges(method.Type(), a.Type()) {
		return method.Call([]reflect.Value{b})[0].Bool(), true
	}
	switch a.Kind() {
	case reflect.Struct:
		if hides(a.Type()) {
			return reflect.DeepEqual(a.Interface(), b.Interface()), true
		}
		return false, false
	case reflect.Slice:
		if a.Type().Elem().Kind() == reflect.Uint8 {
			return slices.Equal(a.Bytes(), b.Bytes()), true
		}
		return false, false
	case reflect.Pointer:
		if hides(a.Type().Elem()) { // such as *big.Int, which is shown as a pointer only
			return reflect.DeepEqual(a.Interface(), b.Interface()), true
		}
		return false, false
	case reflect.Interface, reflect.Map, reflect.Array:
		return false, false
	case reflect.Float32, reflect.Float64:
		return a.Float() == b.Float() || math.IsNaN(a.Float()) && math.IsNaN(b.Float()), true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface()), true
}

// judges reports whether a method is one that compares values of type t.
func judges(method, t reflect.Type) bool {
	return method.NumIn() == 1 && method.In(0) == t &&
		method.NumOut() == 1 && method.Out(0).Kind() == reflect.Bool && !method.IsVariadic()
}

// hides reports whether t is a struct with fields that others cannot see.
func hides(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			return true
		}
	}
	return false
}

// format returns a value as people read it, on one line and not too long.
func format(value any) string { return formatValue(reflect.ValueOf(value)) }

func formatValue(v reflect.Value) string {
	var out strings.Builder
	write(&out, v, 0)
	return brief(out.String())
}

func brief(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// formatPair returns two values that differ so that it is seen how: a method String may not tell,
// and the difference may be behind what is shown of something long.
func formatPair(a, b reflect.Value) (aText, bText string) {
	aText, bText = formatValue(a), formatValue(b)
	if aText != bText || !a.IsValid() || !b.IsValid() {
		return aText, bText
	}
	aText, bText = fmt.Sprintf("%#v", a.Interface()), fmt.Sprintf("%#v", b.Interface())
	from := 0
	for from < min(len(aText), len(bText)) && aText[from] == bText[from] {
		from++
	}
	if from -= maxLead; from <= 0 {
		return brief(aText), brief(bText)
	}
	return brief("…" + strings.ToValidUTF8(aText[from:], "")),
		brief("…" + strings.ToValidUTF8(bText[from:], ""))
}

func write(out *strings.Builder, v reflect.Value, depth int) {
	switch {
	case out.Len() > maxText:
	case !v.IsValid():
		out.WriteString("nil")
	case depth > maxDepth:
		out.WriteString("…")
	default:
		writeKind(out, v, depth)
	}
}

func writeKind(out *strings.Builder, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.String:
		out.WriteString(strconv.Quote(v.String()))
		return
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		if v.IsNil() {
			out.WriteString("nil")
			return
		}
	}
	if text, ok := v.Interface().(fmt.Stringer); ok {
		out.WriteString(text.String())
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		out.WriteString("&")
		write(out, v.Elem(), depth+1)
	case reflect.Interface:
		write(out, v.Elem(), depth+1)
	case reflect.Struct:
		writeStruct(out, v, depth)
	case reflect.Map:
		writeList(out, "{}", v.Len(), sortedKeys(v), func(key reflect.Value) {
			write(out, key, depth+1)
			out.WriteString(": ")
			write(out, v.MapIndex(key), depth+1)
		})
	case reflect.Slice, reflect.Array:
		writeSlice(out, v, depth)
	default:
		fmt.Fprintf(out, "%v", v.Interface())
	}
}

func writeStruct(out *strings.Builder, v reflect.Value, depth int) {
	if hides(v.Type()) {
		fmt.Fprintf(out, "%+v", v.Interface())
		return
	}
	out.WriteString("{")
	for i := range v.NumField() {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(v.Type().Field(i).Name + ": ")
		write(out, v.Field(i), depth+1)
	}
	out.WriteString("}")
}

func writeSlice(out *strings.Builder, v reflect.Value, depth int) {
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		fmt.Fprintf(out, "0x%x", v.Bytes()[:min(v.Len(), maxText)])
		return
	}
	var elements []reflect.Value
	for i := range min(v.Len(), maxText) {
		elements = append(elements, v.Index(i))
	}
	writeList(out, "[]", v.Len(), elements, func(e reflect.Value) { write(out, e, depth+1) })
}

func writeList(
	out *strings.Builder, brackets string, n int, list []reflect.Value, one func(reflect.Value),
) {
	out.WriteString(brackets[:1])
	for i, v := range list {
		if i > 0 {
			out.WriteString(", ")
		}
		one(v)
	}
	if len(list) < n {
		out.WriteString(", …")
	}
	out.WriteString(brackets[1:])
}

// sortedKeys returns the keys of a map in an order that does not change.
func sortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		return strings.Compare(formatValue(a), formatValue(b))
	})
	return keys
}
