package codec

import (
	"reflect"
	"sync"
	"unsafe"
)

// A layout is how the values of one Go type lie in memory.
type layout struct {
	typ    reflect.Type
	kind   reflect.Kind
	size   int  // of the value itself
	fixed  bool // it reaches no further memory
	elem   *layout
	key    *layout
	fields []part // those that reach further memory
}

type part struct {
	index  int
	layout *layout
}

// layouts are by reflect.Type, of all types that were looked at.
var layouts sync.Map

func layoutOf(t reflect.Type) *layout {
	if known, ok := layouts.Load(t); ok {
		return known.(*layout)
	}
	made := map[reflect.Type]*layout{}
	l := lay(t, made)
	for t, l := range made {
		layouts.LoadOrStore(t, l)
	}
	return l
}

func lay(t reflect.Type, made map[reflect.Type]*layout) *layout {
	if l, ok := made[t]; ok {
		return l
	}
	l := &layout{typ: t, kind: t.Kind(), size: int(t.Size()), fixed: fixed(t)}
	made[t] = l
	if l.fixed {
		return l
	}
	switch l.kind {
	case reflect.Map:
		l.key = lay(t.Key(), made)
		l.elem = lay(t.Elem(), made)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		l.elem = lay(t.Elem(), made)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := lay(t.Field(i).Type, made); !f.fixed {
				l.fields = append(l.fields, part{i, f})
			}
		}
	}
	return l
}

// fixed reports whether values of t reach no further memory, or none that is theirs alone: zones
// are shared, and what channels and functions hold cannot be seen.
func fixed(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface:
		return false
	case reflect.Array:
		return t.Len() == 0 || fixed(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if t != timeType && !fixed(t.Field(i).Type) {
				return false
			}
		}
	}
	return true
}

// A survey is how far an estimate goes.
type survey struct {
	left  int // elements to look at yet; below zero one of each slice and map is looked at
	depth int
}

const (
	surveyed      = 4096
	surveyedDepth = 64 // ends pointers that come back to where they started
	maxSize       = 1 << 30
	pairExtra     = 16 // what a map takes for each pair, beside the pair
)

// reach estimates the memory that v holds beyond itself.
func (l *layout) reach(v reflect.Value, w *survey) int {
	switch l.kind {
	case reflect.String:
		return v.Len()
	case reflect.Struct:
		n := 0
		for _, p := range l.fields {
			n += p.layout.reach(v.Field(p.index), w)
		}
		return n
	case reflect.Array:
		return l.elem.reachOfAll(v, w)
	case reflect.Slice:
		return v.Len()*l.elem.size + l.elem.reachOfAll(v, w)
	case reflect.Map:
		return l.reachOfPairs(v, w)
	case reflect.Pointer:
		if v.IsNil() || !w.enter() {
			return 0
		}
		n := l.elem.size + l.elem.reach(v.Elem(), w)
		w.depth--
		return n
	case reflect.Interface:
		if v.IsNil() || !w.enter() {
			return 0
		}
		in := v.Elem()
		l := layoutOf(in.Type())
		n := l.size + l.reach(in, w)
		w.depth--
		return n
	}
	return 0
}

// enter counts a step along a pointer, and reports whether to take it.
func (w *survey) enter() bool {
	if w.left <= -surveyed || w.depth >= surveyedDepth {
		return false
	}
	w.left--
	w.depth++
	return true
}

// reachOfAll is for the elements of a slice or an array, which are of layout l.
func (l *layout) reachOfAll(v reflect.Value, w *survey) int {
	n := v.Len()
	if l.fixed || n == 0 || !w.enter() {
		return 0
	}
	sum, seen := 0, 0
	for ; seen < n && (w.left > 0 || seen == 0); seen++ {
		w.left--
		sum += l.reach(v.Index(seen), w)
	}
	w.depth--
	return scaled(sum, seen, n)
}

// reachOfPairs is for the pairs of a map of layout l.
func (l *layout) reachOfPairs(v reflect.Value, w *survey) int {
	n := v.Len()
	all := n * (l.key.size + l.elem.size + pairExtra)
	if n == 0 || l.key.fixed && l.elem.fixed || !v.CanAddr() || !w.enter() {
		return all
	}
	key, elem := reflect.New(l.key.typ).Elem(), reflect.New(l.elem.typ).Elem()
	sum, seen := 0, 0
	for it := l.mapAt(v).MapRange(); it.Next() && (w.left > 0 || seen == 0); seen++ {
		w.left--
		key.SetIterKey(it)
		elem.SetIterValue(it)
		sum += l.key.reach(key, w) + l.elem.reach(elem, w)
	}
	w.depth--
	return all + scaled(sum, seen, n)
}

// mapAt returns the map that the variable v holds, free of v: ranging over v itself would make the
// compiler put every value that is ever measured on the heap, maps or not. A map is one pointer.
func (l *layout) mapAt(v reflect.Value) reflect.Value {
	m := *(*unsafe.Pointer)(v.Addr().UnsafePointer())
	return reflect.NewAt(l.typ, unsafe.Pointer(&m)).Elem()
}

// scaled goes by the first seen of n elements for the rest.
func scaled(sum, seen, n int) int {
	if seen == 0 || seen == n {
		return sum
	}
	return int(min(maxSize, float64(sum)/float64(seen)*float64(n)))
}
