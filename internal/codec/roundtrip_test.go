package codec_test

import (
	"bytes"
	"math"
	"math/big"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/codec"
)

// typeOf is the Type of T, which need not have a name.
func typeOf[T any](tb rapid.TB) *codec.Type {
	typ, err := codec.Response(reflect.TypeFor[T]())
	if err != nil {
		tb.Fatal(err)
	}
	return typ
}

// encode returns the bytes of v, encoded as a value and through a pointer.
func encode[T any](tb testing.TB, v T) []byte {
	tb.Helper()
	typ := typeOf[T](tb)
	var buf bytes.Buffer
	if err := typ.Encode(&buf, &v); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func decode[T any](tb testing.TB, data []byte) (v T) {
	tb.Helper()
	if err := typeOf[T](tb).Decode(data, &v); err != nil {
		tb.Fatalf("%v: % x", err, data)
	}
	return v
}

// arrives requires that v is the same after it was sent.
func arrives[T any](tb testing.TB, v T) {
	tb.Helper()
	data := encode(tb, v)
	got := decode[T](tb, data)
	for i := range data {
		data[i] ^= 0xff // others use what was decoded
	}
	if !same(reflect.ValueOf(v), reflect.ValueOf(got)) {
		tb.Errorf("sent     %#v\nreceived %#v", v, got)
	}
}

// same is reflect.DeepEqual but for times, which are the same if they are equal and have the same
// offset, big numbers, and NaN, which is the same as itself.
func same(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	if a.CanInterface() {
		switch at := a.Interface().(type) {
		case time.Time:
			bt := b.Interface().(time.Time)
			_, ao := at.Zone()
			_, bo := bt.Zone()
			return at.Equal(bt) && (ao == bo || at.IsZero())
		case big.Int:
			bt := b.Interface().(big.Int)
			return at.Cmp(&bt) == 0
		}
	}
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		x, y := a.Float(), b.Float()
		return math.Float64bits(x) == math.Float64bits(y) || math.IsNaN(x) && math.IsNaN(y)
	case reflect.Pointer:
		return a.IsNil() == b.IsNil() && same(a.Elem(), b.Elem())
	case reflect.Slice, reflect.Array:
		if a.Kind() == reflect.Slice && a.Type().Elem().Kind() == reflect.Uint8 {
			return a.IsNil() == b.IsNil() && bytes.Equal(a.Bytes(), b.Bytes())
		}
		if a.Kind() == reflect.Slice && a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			if other := b.MapIndex(it.Key()); !other.IsValid() || !same(it.Value(), other) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}

func TestNilAndEmptyAreTwoThings(t *testing.T) {
	type S struct {
		Bytes  []byte
		Slice  []int
		Map    map[string]int
		Ptr    *Point
		Nested [][]byte
	}
	arrives(t, S{})
	arrives(t, S{
		Bytes:  []byte{},
		Slice:  []int{},
		Map:    map[string]int{},
		Ptr:    &Point{},
		Nested: [][]byte{nil, {}, {1}},
	})
	arrives[[]int](t, nil)
	arrives(t, []int{})
	arrives[*Point](t, nil)
	arrives(t, &Point{1, 2})
	arrives[map[string]int](t, nil)
}

func TestEmptyUnderOmitemptyArrivesNil(t *testing.T) {
	type S struct {
		Slice []int          `json:",omitempty"`
		Map   map[string]int `cbor:",omitempty"`
		Time  time.Time      `json:",omitzero"`
		Ptr   *int           `json:",omitempty"`
	}
	zero := 0
	got := decode[S](t, encode(t, S{Slice: []int{}, Map: map[string]int{}, Ptr: &zero}))
	if got.Slice != nil || got.Map != nil || got.Ptr == nil {
		t.Errorf("%#v", got)
	}
}

// Price is zero, it says, whatever the currency.
type Price struct {
	Amount   float64
	Currency string
}

func (p Price) IsZero() bool { return p.Amount == 0 }

// Remark has a binary form that is empty where nothing is said.
type Remark struct{ Text, By string }

func (r Remark) MarshalBinary() ([]byte, error) { return []byte(r.Text), nil }

func (r *Remark) UnmarshalBinary(data []byte) error {
	r.Text = string(data)
	return nil
}

func TestWhatIsLeftOutArrivesZero(t *testing.T) {
	type S struct {
		Price  Price   `cbor:",omitzero"`
		Ptr    *Price  `json:",omitzero"`
		Remark Remark  `cbor:",omitempty"`
		Empty  float64 `cbor:",omitempty"`
		Kept   float64
	}
	type Z struct {
		Zero float64 `cbor:",omitzero"`
	}
	least, none := math.Copysign(0, -1), Price{Currency: "EUR"}
	got := decode[S](t, encode(t, S{none, &none, Remark{By: "me"}, least, least}))
	if got != (S{}) || math.Signbit(got.Empty) || !math.Signbit(got.Kept) {
		t.Errorf("%#v", got)
	}
	if got := decode[Z](t, encode(t, Z{least})); math.Signbit(got.Zero) {
		t.Errorf("%#v", got)
	}
}

func TestTimes(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	for _, at := range []time.Time{
		{},
		time.Time{}.In(berlin),
		time.Unix(0, 0),
		time.Unix(0, 1).UTC(),
		time.Date(2024, 2, 29, 23, 59, 59, 999999999, berlin),
		time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.FixedZone("", -9*3600-1800)),
		time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
		time.Now(),
	} {
		arrives(t, at)
		arrives(t, []time.Time{at})
		arrives(t, map[string]time.Time{"": at})
		arrives(t, Base{Created: at})
	}
	if now := time.Now(); decode[time.Time](t, encode(t, now)) == now {
		t.Error("the monotonic clock was sent")
	}
}

func TestNumbers(t *testing.T) {
	for _, bits := range []int{0, 1, 63, 64, 65, 127, 1024, 40000} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits))
		for _, n := range []*big.Int{n, new(big.Int).Neg(n), new(big.Int).Sub(n, big.NewInt(1))} {
			arrives(t, n)
			arrives(t, *n)
			arrives(t, map[string]*big.Int{"n": n, "nil": nil})
		}
	}
	for _, f := range []float64{
		0, math.Copysign(0, -1), 1, 1.1, math.MaxFloat64, math.SmallestNonzeroFloat64,
		math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(0x7ff0000000000001),
	} {
		arrives(t, f)
		arrives(t, float32(f))
	}
	arrives(t, []int64{math.MinInt64, -1, 0, math.MaxInt64})
	arrives(t, []uint64{0, math.MaxUint64})
	arrives(t, []time.Duration{math.MinInt64, time.Second})
}

func TestStringsOfAnyBytes(t *testing.T) {
	for _, s := range []string{
		"", "plain", "日本", "\x00", "\xff\xfe", "cut \xe2\x82", "overlong \xc0\x80",
	} {
		arrives(t, s)
		arrives(t, map[string]string{s: s})
	}
	for _, n := range []int{23, 24, 255, 256, 65535, 65536, 1 << 24} {
		b := bytes.Repeat([]byte{'x'}, n)
		arrives(t, string(b))
		arrives(t, b)
	}
}

func TestMapKeys(t *testing.T) {
	arrives(t, map[bool]int{true: 1, false: 0})
	arrives(t, map[int8]int{-128: 1, 127: 2})
	arrives(t, map[uint64]string{math.MaxUint64: "max"})
	arrives(t, map[Kind]Point{3: {1, 2}})
	arrives(t, map[[20]byte]Kind{{1}: 1, {2}: 2})
	arrives(t, map[Secret]string{{1}: "one", {2}: "two"})
}

func TestEmbedding(t *testing.T) {
	arrives(t, Rich{})
	arrives(t, Rich{Extra: &Extra{}})
	arrives(t, Rich{Extra: &Extra{"note"}, hidden: hidden{"seen"}, Base: Base{ID: 9}})
	type Whole struct{ time.Time }
	arrives(t, Whole{time.Unix(7, 8)})
}

func TestValueAndPointerEncodeAlike(t *testing.T) {
	typ := typeOf[Message](t)
	m := Message{Seq: 1, Payload: []byte("x")}
	var a, b bytes.Buffer
	if err := typ.Encode(&a, m); err != nil {
		t.Fatal(err)
	}
	if err := typ.Encode(&b, &m); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Errorf("% x\n% x", a.Bytes(), b.Bytes())
	}
}

func TestDecodedIsIndependentOfData(t *testing.T) {
	data := encode(t, Rich{
		Text: "text", Bytes: []byte("bytes"), Names: map[string]string{"k": "v"},
	})
	got := decode[Rich](t, data)
	clear(data)
	if got.Text != "text" || string(got.Bytes) != "bytes" || got.Names["k"] != "v" {
		t.Errorf("%#v", got)
	}
}

func TestPayloadsEvolve(t *testing.T) {
	type Old struct{ A int }
	type New struct {
		A int
		B []map[string]Rich
		C *big.Int
	}
	huge := new(big.Int).Lsh(big.NewInt(1), 100_000)
	data := encode(t, New{A: 1, B: []map[string]Rich{{"": {}}}, C: huge})
	if got := decode[Old](t, data); got.A != 1 {
		t.Errorf("%+v", got)
	}
	if got := decode[New](t, encode(t, Old{A: 2})); got.A != 2 || got.B != nil || got.C != nil {
		t.Errorf("%+v", got)
	}
}

// Fields may be known by numbers, also negative ones, and what is unknown is skipped.
func TestNumberedFieldsEvolve(t *testing.T) {
	type Old struct {
		A int    `cbor:"1,keyasint"`
		B string `cbor:"-2,keyasint"`
	}
	type New struct {
		B string   `cbor:"-2,keyasint"`
		C []string `cbor:"-3,keyasint"`
		D []Point  `cbor:"4,keyasint"`
	}
	data := encode(t, New{B: "b", C: []string{"c"}, D: []Point{{}}})
	if got := decode[Old](t, data); got != (Old{B: "b"}) {
		t.Errorf("%+v", got)
	}
	if got := decode[New](t, encode(t, Old{A: 1, B: "b"})); got.B != "b" || got.C != nil {
		t.Errorf("%+v", got)
	}
}

// richValues draws values of several types and requires that they arrive.
func richValues(t *rapid.T) {
	types := []string{"rich", "tree", "compact", "maps", "slices"}
	switch rapid.SampledFrom(types).Draw(t, "type") {
	case "rich":
		arrivesIn(t, rich().Draw(t, "rich"))
	case "tree":
		arrivesIn(t, trees(4).Draw(t, "tree"))
	case "compact":
		arrivesIn(t, rapid.Make[Compact]().Draw(t, "compact"))
	case "maps":
		arrivesIn(t, rapid.Make[map[string]map[int16][]Point]().Draw(t, "maps"))
	case "slices":
		arrivesIn(t, rapid.Make[[][]*Message]().Draw(t, "slices"))
	}
}

// arrivesIn is arrives for a rapid test, whose T is no testing.TB.
func arrivesIn[T any](t *rapid.T, v T) {
	typ, err := codec.Response(reflect.TypeFor[T]())
	if err != nil {
		t.Fatal(err)
	}
	buf := bytes.NewBufferString("before")
	if err := typ.Encode(buf, &v); err != nil {
		t.Fatal(err)
	}
	data := buf.Bytes()[len("before"):]
	var got T
	if err := typ.Decode(data, &got); err != nil {
		t.Fatalf("%v: % x", err, data)
	}
	if !same(reflect.ValueOf(v), reflect.ValueOf(got)) {
		t.Fatalf("sent     %#v\nreceived %#v", v, got)
	}
	if size := typ.Size(reflect.ValueOf(&v).Elem()); size < int(reflect.TypeFor[T]().Size()) {
		t.Fatalf("a value of %d bytes is said to hold %d", reflect.TypeFor[T]().Size(), size)
	}
}

func times() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		sec := rapid.Int64Range(-62167219200+86400, 253402300799-86400).Draw(t, "sec")
		offset := rapid.IntRange(-14*60, 14*60).Draw(t, "minutes") * 60
		nsec := rapid.Int64Range(0, 999999999).Draw(t, "nsec")
		return time.Unix(sec, nsec).In(time.FixedZone("", offset))
	})
}

func bigs() *rapid.Generator[*big.Int] {
	return rapid.Custom(func(t *rapid.T) *big.Int {
		n := new(big.Int).SetBytes(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		if rapid.Bool().Draw(t, "negative") {
			n.Neg(n)
		}
		return n
	})
}

// anyBytes draws strings that need not be UTF-8.
func anyBytes() *rapid.Generator[string] {
	return rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })
}

func rich() *rapid.Generator[Rich] {
	return rapid.Custom(func(t *rapid.T) Rich {
		r := Rich{
			Base:     Base{ID: rapid.Uint64().Draw(t, "id"), Created: times().Draw(t, "created")},
			hidden:   hidden{anyBytes().Draw(t, "hidden")},
			Extra:    rapid.Make[*Extra]().Draw(t, "extra"),
			Bool:     rapid.Bool().Draw(t, "bool"),
			Int:      rapid.Int().Draw(t, "int"),
			I8:       rapid.Int8().Draw(t, "i8"),
			U16:      rapid.Uint16().Draw(t, "u16"),
			F32:      rapid.Float32().Draw(t, "f32"),
			F64:      rapid.Float64().Draw(t, "f64"),
			Text:     anyBytes().Draw(t, "text"),
			Bytes:    rapid.Make[[]byte]().Draw(t, "bytes"),
			Hash:     rapid.Make[[32]byte]().Draw(t, "hash"),
			Duration: time.Duration(rapid.Int64().Draw(t, "duration")),
			Time:     times().Draw(t, "time"),
			Number:   *bigs().Draw(t, "number"),
			Next:     rapid.Make[*Point]().Draw(t, "next"),
			Points:   rapid.Make[[]Point]().Draw(t, "points"),
			Pointers: rapid.Make[[]*Point]().Draw(t, "pointers"),
			Grid:     rapid.Make[[2][3]int]().Draw(t, "grid"),
			Names:    rapid.MapOf(anyBytes(), anyBytes()).Draw(t, "names"),
			ByKind:   rapid.Make[map[Kind][]string]().Draw(t, "by kind"),
			ByHash:   rapid.Make[map[[4]byte]bool]().Draw(t, "by hash"),
			Chunks:   rapid.Make[[][]byte]().Draw(t, "chunks"),
			Own:      Secret{rapid.Uint32().Draw(t, "own")},
			Packed:   Triple{A: rapid.Int().Draw(t, "a"), C: rapid.Make[[]Point]().Draw(t, "c")},
		}
		if rapid.Bool().Draw(t, "pointers too") {
			at := times().Draw(t, "at")
			r.Ptr, r.Big = &at, bigs().Draw(t, "big")
		}
		return r
	})
}

func trees(depth int) *rapid.Generator[Tree] {
	return rapid.Custom(func(t *rapid.T) Tree {
		tree := Tree{Value: rapid.Int().Draw(t, "value")}
		if depth == 0 {
			return tree
		}
		below := trees(depth - 1)
		tree.Children = rapid.SliceOfN(rapid.Ptr(below, true), 0, 2).Draw(t, "children")
		tree.ByName = rapid.MapOfN(rapid.String(), below, 0, 2).Draw(t, "by name")
		return tree
	})
}

func TestRoundTrip(t *testing.T)         { rapid.Check(t, richValues) }
func FuzzRoundTripProperty(f *testing.F) { f.Fuzz(rapid.MakeFuzz(richValues)) }
