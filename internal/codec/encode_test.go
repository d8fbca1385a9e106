package codec_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lahja-go/lahja/internal/codec"
)

// cannotSend requires that v is refused with these words and leaves no bytes behind.
func cannotSend[T any](t *testing.T, v T, want string) {
	t.Helper()
	typ := typeOf[T](t)
	buf := bytes.NewBufferString("before")
	err := typ.Encode(buf, &v)
	want = "lahja: cannot encode " + typ.Name() + ": " + want
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if buf.String() != "before" {
		t.Errorf("left % x behind", buf.Bytes())
	}
}

func TestValuesThatWouldArriveAsOthers(t *testing.T) {
	odd := time.Date(1890, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 3208))
	const offset = "is a time whose offset from UTC is not whole minutes; use its UTC()"
	cannotSend(t, odd, "it "+offset)
	cannotSend(t, Base{Created: odd}, "field Created "+offset)
	cannotSend(t, Rich{Base: Base{Created: odd}}, "field Base.Created "+offset)
	cannotSend(t, Rich{Ptr: &odd}, "field Ptr "+offset)
	cannotSend(t, [][2]time.Time{{}, {odd}}, "element [][] "+offset)
	cannotSend(t, map[string][]Base{"k": {{}, {Created: odd}}}, "element [][].Created "+offset)
	cannotSend(t, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		"cbor: unsupported value: time.Time year outside of range [0,9999] for RFC 3339")

	cannotSend(t, Rich{Ptr: new(time.Time)},
		"field Ptr points to the zero time and would arrive as nil; make it nil")
	cannotSend(t, new([]int), "it points to a nil slice and would arrive as nil; make it nil")
	cannotSend(t, new([]byte), "it points to a nil slice and would arrive as nil; make it nil")
	cannotSend(t, []*map[int]int{new(map[int]int)},
		"element [] points to a nil map and would arrive as nil; make it nil")
	cannotSend(t, new(*int), "it points to a nil pointer and would arrive as nil; make it nil")
}

func TestValuesWithoutEnd(t *testing.T) {
	const endless = "it nests more than 32 levels deep, or refers to itself"
	self := &Tree{}
	self.Children = []*Tree{self, self}
	cannotSend(t, *self, endless)
	cyclic := map[string]Tree{}
	cyclic["self"] = Tree{ByName: cyclic}
	cannotSend(t, cyclic, endless)

	// As deep as it goes: each Tree is a map with an array in it.
	deep := &Tree{}
	for range (codec.MaxNesting - 1) / 2 {
		deep = &Tree{Children: []*Tree{deep}}
	}
	arrives(t, deep)
	arrives(t, []*Tree{deep})
	cannotSend(t, [][]*Tree{{deep}}, endless)
	cannotSend(t, Tree{Children: []*Tree{deep}}, endless)

	// Few values that are many on the wire.
	type List struct{ A, B *List }
	list := &List{}
	for range codec.MaxNesting - 1 {
		list = &List{A: list, B: list}
	}
	cannotSend(t, *list, "it is too large")
}

func TestMethodsThatWriteWhatIsRefused(t *testing.T) {
	nested := join(repeat("81", 40), unhex("00"))
	cannotSend(t, Raw{data: nested}, "cbor: exceeded max nested level 32")
	cannotSend(t, []Raw{{data: unhex("f8 63")}},
		"cbor: data item of cbor type primitives is not accepted by protocol: "+
			"simple value 99 is not recognized")
	cannotSend(t, Raw{data: unhex("9f ff")},
		"cbor: error calling MarshalCBOR for type codec_test.Raw: "+
			"cbor: indefinite-length array isn't allowed")
	cannotSend(t, Raw{data: unhex("82 00")},
		"cbor: error calling MarshalCBOR for type codec_test.Raw: unexpected EOF")
	arrives(t, Raw{data: unhex("c6 d8 20 81 f4")})
}

func TestTypesThatNestTooDeep(t *testing.T) {
	deep := reflect.ValueOf(0)
	for range codec.MaxNesting + 1 {
		outer := reflect.MakeSlice(reflect.SliceOf(deep.Type()), 1, 1)
		outer.Index(0).Set(deep)
		deep = outer
	}
	typ, err := codec.Response(deep.Type())
	if err != nil {
		t.Fatal(err)
	}
	if err := typ.Encode(new(bytes.Buffer), deep.Interface()); err == nil {
		t.Error("encoded what nobody decodes")
	}
	deep.Index(0).SetZero()
	if err := typ.Encode(new(bytes.Buffer), deep.Interface()); err != nil {
		t.Error(err)
	}
}

type Failing struct{}

var errFailing = errors.New("no")

func (Failing) MarshalCBOR() ([]byte, error) { return nil, errFailing }
func (*Failing) UnmarshalCBOR([]byte) error  { return errFailing }

func TestErrorsOfMethods(t *testing.T) {
	typ := typeOf[Failing](t)
	if err := typ.Encode(new(bytes.Buffer), Failing{}); !errors.Is(err, errFailing) {
		t.Error(err)
	}
	err := typ.Decode([]byte{0}, new(Failing))
	if err == nil || errors.Is(err, errFailing) || !strings.HasSuffix(err.Error(), ".Failing: no") {
		t.Error(err)
	}
}

func TestPanicsOfMethods(t *testing.T) {
	buf := bytes.NewBufferString("before")
	func() {
		defer func() { recover() }()
		typeOf[PanicsLate](t).Encode(buf, &PanicsLate{A: 1})
		t.Error("a method's panic was lost")
	}()
	if buf.String() != "before" {
		t.Errorf("left % x behind", buf.Bytes())
	}
}

type PanicsLate struct {
	A int
	B Panics
}

type Panics struct{}

func (Panics) MarshalBinary() ([]byte, error) { panic("no") }
func (*Panics) UnmarshalBinary([]byte) error  { panic("no") }

func TestErrorsArePrintable(t *testing.T) {
	data := append([]byte{0x78, 200}, strings.Repeat("\n\xff\x1b[", 50)...)
	err := typeOf[time.Time](t).Decode(data, new(time.Time))
	if err == nil || !utf8.ValidString(err.Error()) ||
		strings.ContainsFunc(err.Error(), unicode.IsControl) {
		t.Errorf("%q", err)
	}
}

// TestCostlyValues has values that are small on the wire and too large for those who receive them.
func TestCostlyValues(t *testing.T) {
	type Sparse struct {
		Numbers [128]uint64 `cbor:",omitzero"`
	}
	cannotSend(t, make([]Sparse, 100_000), "its 100005 bytes would take more than 64 MiB of memory")
	arrives(t, make([]Sparse, 10_000))
	// Large, but no larger in memory than on the wire.
	arrives(t, [][]byte{make([]byte, codec.MaxMemory+1)})
}

func TestWrongGoTypes(t *testing.T) {
	typ := typeOf[Message](t)
	for _, v := range []any{nil, Ping{}, &Ping{}, new(*Message), (*Message)(nil)} {
		if err := typ.Encode(new(bytes.Buffer), v); err == nil {
			t.Errorf("a %T was encoded as a Message", v)
		}
		if err := typ.Decode([]byte{0xa0}, v); err == nil {
			t.Errorf("a Message was decoded to a %T", v)
		}
	}
	if err := typ.Decode([]byte{0xa0}, Message{}); err == nil {
		t.Error("a Message was decoded to a value")
	}
}
