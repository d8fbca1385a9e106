package codec_test

import (
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sizeOf[T any](t *testing.T, v T) int {
	return typeOf[T](t).Size(reflect.ValueOf(&v).Elem())
}

func TestFixedSize(t *testing.T) {
	for _, c := range []struct {
		typ   reflect.Type
		fixed bool
		got   func() (int, bool)
	}{
		{reflect.TypeFor[Ping](), true, typeOf[Ping](t).FixedSize},
		{reflect.TypeFor[[4]Point](), true, typeOf[[4]Point](t).FixedSize},
		{reflect.TypeFor[time.Time](), true, typeOf[time.Time](t).FixedSize},
		{reflect.TypeFor[Base](), true, typeOf[Base](t).FixedSize},
		{reflect.TypeFor[struct{}](), true, typeOf[struct{}](t).FixedSize},
		{reflect.TypeFor[Secret](), true, typeOf[Secret](t).FixedSize},
		{reflect.TypeFor[Message](), false, typeOf[Message](t).FixedSize},
		{reflect.TypeFor[string](), false, typeOf[string](t).FixedSize},
		{reflect.TypeFor[*int](), false, typeOf[*int](t).FixedSize},
		{reflect.TypeFor[map[int]int](), false, typeOf[map[int]int](t).FixedSize},
		{reflect.TypeFor[big.Int](), false, typeOf[big.Int](t).FixedSize},
		{reflect.TypeFor[Raw](), false, typeOf[Raw](t).FixedSize},
	} {
		if size, fixed := c.got(); fixed != c.fixed || size != int(c.typ.Size()) {
			t.Errorf("%v: %d, %t", c.typ, size, fixed)
		}
	}
}

func TestSize(t *testing.T) {
	self := &Tree{}
	self.Children = []*Tree{self, self}
	kilo := strings.Repeat("x", 1000)
	kilos := make([]string, 100_000)
	for i := range kilos {
		kilos[i] = kilo
	}
	byName := map[string]string{}
	for i := range 10_000 {
		byName[strings.Repeat("k", i%10)+string(rune('0'+i))] = kilo
	}
	type two struct{ A, B []string }
	for _, c := range []struct {
		what     string
		got      int
		min, max int
	}{
		{"a fixed struct", sizeOf(t, Ping{}), 8, 8},
		{"an empty message", sizeOf(t, Message{}), 32, 32},
		{"a message", sizeOf(t, Message{Payload: make([]byte, 64)}), 96, 96},
		{"a string", sizeOf(t, kilo), 1016, 1016},
		{"many strings", sizeOf(t, kilos), 1016 * 100_000, 1017 * 100_000},
		{"many strings twice", sizeOf(t, two{kilos, kilos}), 2032 * 100_000, 2034 * 100_000},
		{"numbers", sizeOf(t, make([]uint64, 1e6)), 8e6 + 24, 8e6 + 24},
		{"a map of strings", sizeOf(t, byName), 1016 * len(byName), 1100 * len(byName)},
		{"a map of maps", sizeOf(t, map[int]map[int]string{1: {1: kilo, 2: kilo}}), 2032, 2300},
		{"a map of fixed size", sizeOf(t, map[int]int{1: 1, 2: 2}), 40, 100},
		{"a pointer", sizeOf(t, &Message{Payload: make([]byte, 64)}), 104, 104},
		{"no pointer", sizeOf[*Message](t, nil), 8, 8},
		{"pointers", sizeOf(t, []*Point{{}, nil, {}}), 24 + 24 + 16, 24 + 24 + 16},
		{"an array", sizeOf(t, [2]string{"a", "bc"}), 35, 35},
		{"a big number", sizeOf(t, *new(big.Int).Lsh(big.NewInt(1), 8000)), 1000, 1100},
		{"bytes in an unexported field", sizeOf(t, Raw{data: make([]byte, 100)}), 124, 124},
		{"what is in an interface", sizeOf(t, Boxed{in: kilo}), 1016, 1100},
		{"nothing in an interface", sizeOf(t, Boxed{}), 16, 16},
		{"an address", sizeOf(t, netip.MustParseAddr("::1")), 24, 300},
		{"a value that contains itself", sizeOf(t, *self), 100, 1 << 30},
	} {
		if c.got < c.min || c.got > c.max {
			t.Errorf("%s holds %d, want %d to %d", c.what, c.got, c.min, c.max)
		}
	}
}

func TestSizeIsQuick(t *testing.T) {
	type List struct{ A, B *List }
	list := &List{}
	list.A, list.B = list, list
	start := time.Now()
	sizeOf(t, *list)
	sizeOf(t, make([][]string, 1e6))
	if took := time.Since(start); took > time.Second {
		t.Error(took)
	}
}

func TestSizeTakesNoMemory(t *testing.T) {
	typ := typeOf[Message](t)
	payload := make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		m := Message{Payload: payload}
		typ.Size(reflect.ValueOf(&m).Elem())
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
