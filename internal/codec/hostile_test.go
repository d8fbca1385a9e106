package codec_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"reflect"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/codec"
	"github.com/lahja-go/lahja/internal/fuzzing"
)

// Large takes a kilobyte of memory, and one byte on the wire.
type Large struct {
	Numbers [128]uint64
	Note    string
}

// unhex decodes hexadecimal digits with spaces.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// head is the head of a CBOR item with an argument of four bytes.
func head(major byte, n int) []byte {
	return binary.BigEndian.AppendUint32([]byte{major<<5 | 26}, uint32(n))
}

func repeat(s string, n int) []byte { return bytes.Repeat(unhex(s), n) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// allocated is how many bytes f allocates, also those that it drops again.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// refused requires that data does not decode to a T, and that finding out takes little memory.
func refused[T any](t *testing.T, what string, data []byte) {
	t.Helper()
	typ := typeOf[T](t)
	v := new(T)
	var err error
	took := allocated(func() { err = typ.Decode(data, v) })
	if err == nil {
		t.Errorf("%s: decoded to %v", what, *v)
		return
	}
	if msg := err.Error(); !strings.HasPrefix(msg, "lahja: cannot decode "+typ.Name()+": ") ||
		len(msg) > len(typ.Name())+300 {
		t.Errorf("%s: %q", what, msg)
	}
	if limit := uint64(64<<10 + 8*len(data)); took > limit {
		t.Errorf("%s: %d bytes took %d bytes of memory to refuse", what, len(data), took)
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct{ what, data string }{
		{"nothing", ""},
		{"an array of more elements than there can be", "9b 0000 42fa 42fa 42fa 42"},
		{"an array of 2^32-1 elements", "9a ffffffff"},
		{"an array of 2^64-1 elements", "9b ffffffffffffffff"},
		{"bytes of length 2^63-1", "5b 7fffffffffffffff"},
		{"bytes of length 2^64-1", "5b ffffffffffffffff"},
		{"text of length 2^63-1", "7b 7fffffffffffffff"},
		{"a map of 2^64-1 pairs", "bb ffffffffffffffff"},
		{"a map of 2^31 pairs", "ba 80000000"},
		{"a map that ends early", "a1 63 536571"},
		{"an array of unknown length", "9f 01 ff"},
		{"an array of unknown length that does not end", "9f 01"},
		{"a map of unknown length", "bf 63 536571 01 ff"},
		{"bytes of unknown length", "5f 41 00 ff"},
		{"text of unknown length", "7f 61 61 ff"},
		{"a break alone", "ff"},
		{"a break in an array", "82 01 ff"},
		{"a break for a value", "a1 63 536571 ff"},
		{"reserved information 28", "1c"},
		{"reserved information 29", "3d"},
		{"reserved information 30", "5e"},
		{"reserved information 31 for a number", "1f"},
		{"reserved information for a simple value", "fc"},
		{"simple value 19", "f3"},
		{"simple value 24", "f8 18"},
		{"simple value 31", "f8 1f"},
		{"simple value 20 in two bytes", "f8 14"},
		{"simple value 255", "f8 ff"},
		{"undefined", "f7"},
		{"two items", "a0 a0"},
		{"an item and a byte", "a0 00"},
		{"a tag without content", "c2"},
		{"a big number that is no byte string", "c2 01"},
		{"a number", "01"},
		{"text", "61 61"},
		{"bytes", "41 61"},
		{"an array", "81 01"},
		{"a float", "fb 0000000000000000"},
		{"true", "f5"},
		{"a key twice", "a2 63 536571 01 63 536571 02"},
		{"an unknown key twice", "a2 61 61 01 61 61 02"},
		{"an unknown number for a key, twice", "a2 01 01 01 02"},
		{"an array for a key", "a1 80 01"},
		{"a map for a key", "a1 a0 01"},
		{"bytes for a key", "a1 43 536571 01"},
		{"NaN for a key", "a1 f9 7e00 01"},
		{"null for a key", "a1 f6 01"},
	} {
		refused[Message](t, c.what, unhex(c.data))
		refused[Rich](t, c.what, unhex(c.data))
		refused[Triple](t, c.what, unhex(c.data))
		refused[Compact](t, c.what, unhex(c.data))
		if c.data != "" {
			refused[Tree](t, c.what, unhex(c.data))
		}
	}
	refused[Message](t, "a field of another type", unhex("a1 63 536571 61 61"))
	refused[Message](t, "a field out of range", unhex("a1 63 536571 20"))
	refused[Message](t, "a field with a simple value", unhex("a1 63 536571 e5"))
	refused[Message](t, "a field that is undefined", unhex("a1 63 536571 f7"))
	refused[map[string]int](t, "NaN for the key of a Go map", unhex("a1 f9 7e00 01"))
	refused[map[string]int](t, "an array for the key of a Go map", unhex("a1 80 01"))
	refused[map[string]int](t, "a key of a Go map twice", unhex("a2 61 61 01 61 61 02"))
	refused[map[int]int](t, "a number for a key twice, in two lengths", unhex("a2 01 01 18 01 02"))
	refused[Triple](t, "an array that is too short", unhex("82 01 60"))
	refused[Triple](t, "an array that is too long", unhex("84 01 60 80 00"))
	refused[time.Time](t, "a time that is none", unhex("64 61 61 61 61"))
	refused[time.Time](t, "a time with another tag", unhex("c6 01"))
	refused[Explosive](t, "too few bytes for a method that panics", unhex("41 00"))
}

func TestTolerated(t *testing.T) {
	// A key that differs by case is another, unknown one.
	if m := decode[Message](t, unhex("a2 63 536571 01 63 736571 02")); m.Seq != 1 {
		t.Error(m)
	}
	// Null is the zero value.
	if m := decode[Message](t, unhex("f6")); m.Seq != 0 || m.Payload != nil {
		t.Error(m)
	}
	// Numbers need not be short.
	if m := decode[Message](t, unhex("b9 0001 7803 536571 1b 0000000000000001")); m.Seq != 1 {
		t.Error(m)
	}
}

func TestTruncated(t *testing.T) {
	at := time.Now()
	data := encode(t, Rich{
		Extra: &Extra{"x"}, Points: []Point{{1, 2}}, Names: map[string]string{"k": "v"},
		Big: new(big.Int).Lsh(big.NewInt(1), 70), ByKind: map[Kind][]string{1: {"s"}}, Ptr: &at,
	})
	for n := range data {
		refused[Rich](t, fmt.Sprintf("the first %d of %d bytes", n, len(data)), data[:n])
	}
}

func TestNesting(t *testing.T) {
	type Any struct{ A int } // the nesting is in a field that it does not know
	for _, c := range []struct {
		what, open, close string
		most              int // levels below the outermost map
	}{
		{"arrays", "81", "00", codec.MaxNesting - 1},
		{"maps", "a1 01", "00", codec.MaxNesting - 1},
		{"tags", "c6", "00", codec.MaxNesting},
	} {
		nested := func(n int) []byte {
			return join(unhex("a1 61 62"), repeat(c.open, n), unhex(c.close))
		}
		decode[Any](t, nested(c.most))
		refused[Any](t, "too many "+c.what, nested(c.most+1))
		refused[Any](t, "a million "+c.what, nested(1e6))
		refused[Tree](t, "a million "+c.what, nested(1e6))
		refused[Any](t, c.what+" without end", nested(1e6)[:1e6])
	}
	refused[Tree](t, "arrays that each claim all bytes that are left", claims(1<<16))
	refused[[][][][]string](t, "arrays that each claim all bytes that are left", claims(1<<16))
}

// claims are arrays in one another, each of as many elements as there are bytes left.
func claims(n int) (data []byte) {
	for len(data)+5 <= n {
		data = append(data, head(4, n-len(data)-5)...)
	}
	return append(data, make([]byte, n-len(data))...)
}

// TestCostly has payloads of a megabyte or less that would take far more memory than
// they may.
func TestCostly(t *testing.T) {
	const n = 1 << 20
	refused[[]Large](t, "nulls for large elements", join(head(4, 131072), repeat("f6", 131072)))
	refused[[]Large](t, "numbers for large elements", join(head(4, n), repeat("00", n)))
	refused[struct{ L []Large }](t, "nulls for large elements in a field",
		join(unhex("a1 61 4c"), head(4, 131072), repeat("f6", 131072)))
	refused[[][]Large](t, "many short slices of large elements",
		join(head(4, n/11), repeat("8a f6 f6 f6 f6 f6 f6 f6 f6 f6 f6", n/11)))
	refused[map[string][]Large](t, "slices of large elements in a map", join(head(5, n/33),
		bytes.Join(distinct(n/33, "94 f6f6f6f6 f6f6f6f6 f6f6f6f6 f6f6f6f6 f6f6f6f6"), nil)))
	refused[[]*Large](t, "empty maps for pointers to large structs",
		join(head(4, n), repeat("a0", n)))
	refused[[]**Large](t, "pointers to pointers", join(head(4, n), repeat("a0", n)))
	refused[[]map[string]Large](t, "maps of one large element",
		join(head(4, n/3), repeat("a1 60 f6", n/3)))
	refused[map[int]Large](t, "a map of large elements",
		join(head(5, n/4), bytes.Join(distinct(n/6, "f6"), nil)))
	refused[Message](t, "maps for keys of a struct", strayKeys(n/61))
	refused[Stored](t, "slices of large elements in what has a binary form", join(unhex("a1 61 4c"),
		head(4, 131072), repeat("f6", 131072)))
	refused[Message](t, "a big number of a megabyte for a small one",
		join(unhex("a1 63 536571 c2"), head(2, n), make([]byte, n)))
	refused[Message](t, "a negative big number of 5000 bytes for a small one",
		join(unhex("a1 63 536571 c3 59 1388"), repeat("ff", 5000)))
}

// strayKeys is a map whose key is an array of n maps in maps.
func strayKeys(n int) []byte {
	maps := strings.Repeat("a1 00", 30) + "00"
	return join(unhex("a1"), head(4, n), repeat(maps, n), unhex("00"))
}

// distinct are n pairs with different keys of four bytes and one value.
func distinct(n int, value string) [][]byte {
	pairs := make([][]byte, n)
	for i := range pairs {
		key := binary.BigEndian.AppendUint32([]byte{0x64}, uint32(i))
		pairs[i] = join(key, unhex(value))
	}
	return pairs
}

// TestDear has the dearest payloads that are decoded: they keep to the bound.
func TestDear(t *testing.T) {
	const n = 300 << 10
	dear[[]Large](t, join(head(4, 50<<10), repeat("f6", 50<<10)))
	dear[[][]Large](t, join(head(4, 50<<8), repeat("83 f6 f6 f6", 50<<8)))
	dear[[]*Large](t, join(head(4, 50<<10), repeat("a0", 50<<10)))
	dear[[]string](t, join(head(4, 1<<20), repeat("f6", 1<<20)))
	dear[[][]string](t, join(head(4, n/2), repeat("81 f6", n/2)))
	dear[[]map[string]string](t, join(head(4, n/3), repeat("a1 60 60", n/3)))
	dear[[]map[string]map[string]map[string]string](t,
		join(head(4, n/7), repeat("a1 60 a1 60 a1 60 f6", n/7)))
	dear[map[string]string](t, join(head(5, 40000), bytes.Join(distinct(40000, "60"), nil)))
	dear[Message](t, join(head(5, 40000), bytes.Join(distinct(40000, "f6"), nil)))
	dear[Message](t, strayKeys(n/61))
	dear[*big.Int](t, join(unhex("c2"), head(2, 1<<20), repeat("ff", 1<<20)))
}

func dear[T any](t *testing.T, data []byte) {
	t.Helper()
	typ := typeOf[T](t)
	v := new(T)
	took := allocated(func() { typ.Decode(data, v) })
	if limit := uint64(max(codec.MaxMemory, len(data)*codec.MaxGrowth)); took > limit {
		t.Errorf("%T: %d bytes took %d bytes, and %d is the most", *v, len(data), took, limit)
	}
	runtime.KeepAlive(v)
	t.Logf("%T: %d bytes took %.1f times as much memory", *v, len(data),
		float64(took)/float64(len(data)))
}

// TestTypeConfusion puts every kind of item where each field of a struct is expected.
func TestTypeConfusion(t *testing.T) {
	items := []struct{ kind, data string }{
		{"unsigned", "01"}, {"negative", "20"}, {"bytes", "41 61"}, {"text", "61 61"},
		{"array", "81 01"}, {"map", "a1 61 61 01"}, {"tag", "c6 81 01"}, {"bignum", "c2 41 01"},
		{"true", "f5"}, {"null", "f6"}, {"float", "fb 3ff0000000000000"}, {"inf", "f9 7c00"},
	}
	want := map[string]string{
		"Bool":   "true null",
		"Int":    "unsigned negative bignum null",
		"U16":    "unsigned bignum null",
		"F64":    "unsigned negative bignum null float inf",
		"Text":   "text null",
		"Bytes":  "bytes array tag bignum null",
		"Hash":   "bytes array tag bignum null",
		"Kind":   "unsigned bignum null",
		"Number": "unsigned negative map bignum null",
		"Point":  "map null",
		"Next":   "map null",
		"Points": "null",
		"Grid":   "null",
		"Names":  "null",
		"Own":    "map null",
		"Packed": "null",
		"Time":   "unsigned negative null float inf",
		"Ptr":    "unsigned negative null float inf",
	}
	typ := typeOf[Rich](t)
	for i := range reflect.TypeFor[Rich]().NumField() {
		name := reflect.TypeFor[Rich]().Field(i).Name
		var taken []string
		for _, item := range items {
			data := join([]byte{0xa1, 0x60 | byte(len(name))}, []byte(name), unhex(item.data))
			if typ.Decode(data, new(Rich)) == nil {
				taken = append(taken, item.kind)
			}
		}
		if want, ok := want[name]; ok && strings.Join(taken, " ") != want {
			t.Errorf("%s takes %v, want %s", name, taken, want)
		}
	}
}

// decodeTarget gives arbitrary bytes to several types.
func decodeTarget(tb testing.TB) fuzzing.Target {
	return fuzzing.Target{
		Name: "FuzzDecode", Part: 20,
		Seeds: [][]byte{
			encode(tb, Rich{Names: map[string]string{"k": "v"}, Points: []Point{{1, 2}}}),
			encode(tb, Tree{Children: []*Tree{{Value: 1}}, ByName: map[string]Tree{"t": {}}}),
			encode(tb, []Large{{}, {}}),
			join(head(4, 300), repeat("f6", 300)),
			claims(64),
		},
		Run: func(t rapid.TB, data []byte) {
			decodesAny[Rich](t, data)
			decodesAny[Tree](t, data)
			decodesAny[Compact](t, data)
			decodesAny[[]Large](t, data)
			decodesAny[map[string]*Large](t, data)
			decodesAny[[]Raw](t, data)
			decodesAny[Explosive](t, data)
		},
	}
}

func FuzzDecode(f *testing.F) { decodeTarget(f).Fuzz(f) }

func TestArbitraryDecodeProperty(t *testing.T) { decodeTarget(t).Check(t) }

// The target of this package, with its part of very many executions.
func TestFuzzAtLength(t *testing.T) { fuzzing.AtLength(t, decodeTarget(t)) }

// roughly is about how many bytes f allocates. Unlike allocated it does not stop the world, and
// does not see what is small; what others allocate meanwhile counts.
func roughly(f func()) uint64 {
	before := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	after := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(before)
	f()
	metrics.Read(after)
	return after[0].Value.Uint64() - before[0].Value.Uint64()
}

// decodesAny requires that what decodes can be sent on and arrives as it is, and that decoding
// takes no more memory than it may: the least of some tries counts.
func decodesAny[T any](t rapid.TB, data []byte) {
	typ := typeOf[T](t)
	var v *T
	var err error
	limit := uint64(min(1<<20+2048*len(data), codec.MaxMemory))
	took := limit + 1
	for tries := 0; tries < 5 && took > limit; tries++ {
		v = new(T)
		took = roughly(func() { err = typ.Decode(data, v) })
	}
	if took > limit {
		t.Fatalf("%T: %d bytes took %d", *v, len(data), took)
	}
	if err != nil {
		_ = err.Error()
		return
	}
	var buf bytes.Buffer
	if err := typ.Encode(&buf, v); err != nil {
		return // a pointer to the zero time, or a MarshalCBOR that writes what it was told to
	}
	again := new(T)
	if err := typ.Decode(buf.Bytes(), again); err != nil {
		t.Fatalf("%v: % x", err, buf.Bytes())
	}
	if !same(reflect.ValueOf(v), reflect.ValueOf(again)) {
		t.Fatalf("% x\n%#v\n%#v", data, *v, *again)
	}
}
