package codec_test

import (
	"io"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/lahja-go/lahja/internal/codec"
)

// Types that cannot be sent, each for one reason.
type (
	Unexported struct {
		A int
		b int
	}
	Header   struct{ hash [32]byte }
	Block    struct{ Header Header }
	Deep     struct{ M map[string][]*Header }
	HasFunc  struct{ F func() }
	Func     func()
	Chan     struct{ C chan int }
	HasAny   struct{ V any }
	HasError struct{ Err error }
	Complex  struct{ C complex128 }
	Uintptr  struct{ P uintptr }
	Unsafe   struct{ P unsafe.Pointer }
	Callers  []func()
	Dashed   struct {
		A int `cbor:"-"`
	}
	DashedJSON struct {
		A int `json:"-"`
	}
	FloatKey  struct{ M map[float64]int }
	StructKey struct{ M map[Point]int }
	IfaceKey  struct{ M map[any]int }
	TimeKey   struct{ M map[time.Time]int }
	PtrKey    struct{ M map[*int]int }
	SameKey   struct {
		A int `cbor:"x"`
		B int `cbor:"x"`
	}
	SameName struct {
		ID int
		Base
	}
	CaseKey struct {
		Id int
		ID int
	}
	SameNumber struct {
		A int `cbor:"1,keyasint"`
		B int `cbor:"+1,keyasint"`
	}
	NoNumber struct {
		A int `cbor:"a,keyasint"`
	}
	IndefArray struct {
		_ struct{} `cbor:",toindefarray"`
		A int
	}
	EmbeddedScalar struct {
		A int
		inner
	}
	inner         int
	EmbeddedIface struct{ io.Reader }
	HiddenPointer struct {
		*hidden
		A int
	}
	HiddenNamed struct {
		hidden `cbor:"h"`
	}
	ArrayPointer struct {
		_ struct{} `cbor:",toarray"`
		*Extra
	}
	AllOmitted struct {
		A int `cbor:",omitempty"`
	}
	OmittedPointer struct{ *AllOmitted }
	EmptyPointer   struct{ *Empty }
	Empty          struct{}
	Self           struct {
		A int
		*Self
	}
	EmbedsTime struct {
		time.Time
		Extra int
	}
	EmbedsTimePointer struct{ *time.Time }
	HalfCBOR          struct{ A int }
	HalfBinary        struct{ A int }
	HalfDecoder       struct{ A int }
	Endless           *Endless
	HasEndless        struct{ P Endless }
)

func (HalfCBOR) MarshalCBOR() ([]byte, error)     { return nil, nil }
func (HalfBinary) MarshalBinary() ([]byte, error) { return nil, nil }
func (*HalfDecoder) UnmarshalBinary([]byte) error { return nil }

var _ = []any{Unexported{b: 1}, Header{hash: [32]byte{1}}, EmbeddedScalar{inner: 1}}

func TestRefusedContent(t *testing.T) {
	const pkg = "github.com/lahja-go/lahja/internal/codec_test."
	const iface = "is an interface, and the receiver would not know which type to make; use one " +
		"type, or a struct with a pointer to each that it may be"
	const lost = " and would be lost; leave it out and send what the other process needs to know"
	const keys = ", which need not arrive as they were sent; use strings, integers, booleans or " +
		"arrays of bytes"
	const dash = `has the tag "-", so that it would arrive in the same process but not in ` +
		"another; remove the tag, or the field"
	for _, c := range []struct {
		typ  reflect.Type
		want string // after the words that all have
	}{
		{of[Unexported](), "field b is unexported and would be lost; " +
			"export it or give Unexported a MarshalCBOR/UnmarshalCBOR pair"},
		{of[Block](), "field Header.hash is unexported and would be lost; " +
			"export it or give Header a MarshalCBOR/UnmarshalCBOR pair"},
		{of[Deep](), "field M[][].hash is unexported and would be lost; " +
			"export it or give Header a MarshalCBOR/UnmarshalCBOR pair"},
		{of[HasFunc](), "field F is a func" + lost},
		{of[Func](), "it is a func" + lost},
		{of[Callers](), "element [] is a func" + lost},
		{of[Chan](), "field C is a chan" + lost},
		{of[HasAny](), "field V " + iface},
		{of[HasError](), "field Err " + iface},
		{of[EmbeddedIface](), "field Reader " + iface},
		{of[IfaceKey](), "field M[key] " + iface},
		{of[Complex](), "field C is of type complex128, which CBOR does not have; " +
			"use another type"},
		{of[Uintptr](), "field P is of type uintptr, which CBOR does not have; " +
			"use another type"},
		{of[Unsafe](), "field P is of type unsafe.Pointer, which CBOR does not have; " +
			"use another type"},
		{of[Dashed](), "field A " + dash},
		{of[DashedJSON](), "field A " + dash},
		{of[FloatKey](), "field M has keys of type float64" + keys},
		{of[StructKey](), "field M has keys of type codec_test.Point" + keys},
		{of[TimeKey](), "field M has keys of type time.Time" + keys},
		{of[PtrKey](), "field M has keys of type *int" + keys},
		{of[SameKey](), `field B has the same key as A, "x"; ` +
			"give one of them another key by a cbor tag"},
		{of[SameName](), `field Base.ID has the same key as ID, "ID"; ` +
			"give one of them another key by a cbor tag"},
		{of[CaseKey](), `field ID has the key "ID", which is "Id" of Id but for case; ` +
			"give one of them another key by a cbor tag"},
		{of[SameNumber](), "field B has the same key as A, 1; " +
			"give one of them another key by a cbor tag"},
		{of[NoNumber](), `field A has the tag keyasint and the name "a"; ` +
			"make the name an integer"},
		{of[IndefArray](), "it has the tag toindefarray, which receivers refuse; use toarray"},
		{of[EmbeddedScalar](), "field inner is unexported and would be lost; " +
			"export it or give EmbeddedScalar a MarshalCBOR/UnmarshalCBOR pair"},
		{of[HiddenPointer](), "field hidden is an embedded pointer to an unexported struct, " +
			"which no decoder can set; embed the struct itself or export it"},
		{of[HiddenNamed](), "field hidden is unexported and has a name in its tag; " +
			"export it or remove the name"},
		{of[ArrayPointer](), "field Extra is an embedded pointer in a struct with the tag " +
			"toarray, and would not arrive as nil; embed the struct itself or give the field a " +
			"name"},
		{of[OmittedPointer](), "field AllOmitted is an embedded pointer to a struct whose " +
			"fields may all be left out, and could arrive as nil; embed the struct itself or " +
			"give the field a name"},
		{of[EmptyPointer](), "field Empty is an embedded pointer to a struct whose " +
			"fields may all be left out, and could arrive as nil; embed the struct itself or " +
			"give the field a name"},
		{of[Self](), "field Self embeds the struct in itself; give the field a name"},
		{of[EmbedsTime](), "it has its MarshalBinary method from the embedded Time, which " +
			"sends nothing else; declare MarshalBinary and UnmarshalBinary on EmbedsTime, or do " +
			"not embed Time"},
		{of[EmbedsTimePointer](), "it has its MarshalBinary method from the embedded Time, " +
			"which sends nothing else; declare MarshalBinary and UnmarshalBinary on " +
			"EmbedsTimePointer, or do not embed Time"},
		{of[HalfCBOR](), "it is of type " + pkg + "HalfCBOR, which has MarshalCBOR but no " +
			"UnmarshalCBOR; declare both or neither"},
		{of[HalfBinary](), "it is of type " + pkg + "HalfBinary, which has MarshalBinary but " +
			"no UnmarshalBinary; declare both or neither"},
		{of[HalfDecoder](), "it is of type " + pkg + "HalfDecoder, which has UnmarshalBinary " +
			"but no MarshalBinary; declare both or neither"},
		{of[HasEndless](), "field P points to pointers without end; use one pointer"},
	} {
		want := "lahja: type " + pkg + c.typ.Name() + " cannot be an event: " + c.want
		if _, err := codec.Event(c.typ); err == nil || err.Error() != want {
			t.Errorf("%v\n got %v\nwant %s", c.typ, err, want)
		}
		// The same check on every path.
		want = "lahja: type " + pkg + c.typ.Name() + " cannot be a response: " + c.want
		if _, err := codec.Response(c.typ); err == nil || err.Error() != want {
			t.Errorf("%v\n got %v\nwant %s", c.typ, err, want)
		}
	}
}

type (
	OwnTime struct {
		time.Time
		Extra int
	}
	Blank struct {
		_ [4]byte
		A int
	}
	RawEvent struct{ Body Raw }
)

func (OwnTime) MarshalCBOR() ([]byte, error) { return []byte{0xf6}, nil }
func (*OwnTime) UnmarshalCBOR([]byte) error  { return nil }

func TestAllowedContent(t *testing.T) {
	for _, typ := range []reflect.Type{
		of[Ping](), of[Message](), of[Rich](),
		of[Tree](), of[Triple](), of[Compact](),
		of[Secret](), of[Raw](), of[Empty](),
		of[OwnTime](), of[Blank](), of[RawEvent](),
		of[Kind](), of[time.Time](),
	} {
		if _, err := codec.Event(typ); err != nil {
			t.Error(err)
		}
	}
}
