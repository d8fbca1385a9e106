package codec_test

import (
	"encoding/binary"
	"errors"
	"math/big"
	"reflect"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// The types that several tests share.

type Ping struct{ Seq uint64 }

type Message struct {
	Seq     uint64
	Payload []byte
}

type Kind uint8

type Point struct{ X, Y int32 }

// Base is embedded in others.
type Base struct {
	ID      uint64
	Created time.Time
}

type hidden struct{ Visible string }

// Rich has a field of every sort that can be sent.
type Rich struct {
	Base
	hidden
	*Extra
	Bool     bool
	Int      int
	I8       int8
	I64      int64
	U16      uint16
	F32      float32
	F64      float64
	Text     string
	Bytes    []byte
	Hash     [32]byte
	Kind     Kind
	Duration time.Duration
	Time     time.Time
	Big      *big.Int
	Number   big.Int
	Point    Point
	Next     *Point
	Points   []Point
	Pointers []*Point
	Grid     [2][3]int
	Names    map[string]string
	ByKind   map[Kind][]string
	ByHash   map[[4]byte]bool
	Chunks   [][]byte
	Tagged   int    `cbor:"t"`
	Numbered string `cbor:"7,keyasint"`
	FromJSON string `json:"from_json,omitempty"`
	Own      Secret
	Packed   Triple
	Ptr      *time.Time
}

type Extra struct{ Note string }

// Triple is sent as an array.
type Triple struct {
	_ struct{} `cbor:",toarray"`
	A int
	B string
	C []Point
}

// Compact has numbers for keys.
type Compact struct {
	Seq  uint64 `cbor:"1,keyasint"`
	Body []byte `cbor:"-2,keyasint"`
}

// Tree contains itself.
type Tree struct {
	Value    int
	Children []*Tree
	ByName   map[string]Tree
}

// Secret has an unexported field and encodes itself.
type Secret struct{ n uint32 }

func (s Secret) MarshalBinary() ([]byte, error) {
	return binary.BigEndian.AppendUint32(nil, s.n), nil
}

func (s *Secret) UnmarshalBinary(data []byte) error {
	if len(data) != 4 {
		return errors.New("a secret has four bytes")
	}
	s.n = binary.BigEndian.Uint32(data)
	return nil
}

// of is a Go type.
func of[T any]() reflect.Type { return reflect.TypeFor[T]() }

// Raw writes whatever it is told to.
type Raw struct{ data []byte }

func (r Raw) MarshalCBOR() ([]byte, error) {
	if r.data == nil {
		return cbor.Marshal("")
	}
	return r.data, nil
}

func (r *Raw) UnmarshalCBOR(data []byte) error {
	if len(data) > 0 && data[0] == 0x60 {
		return nil
	}
	r.data = append([]byte(nil), data...)
	return nil
}

// Explosive panics on most bytes.
type Explosive struct{ n byte }

func (e Explosive) MarshalBinary() ([]byte, error) { return []byte{0, 0, 0, e.n}, nil }

func (e *Explosive) UnmarshalBinary(data []byte) error {
	e.n = data[3]
	return nil
}

// Stored has a binary form, and exported fields besides.
type Stored struct{ L []Large }

func (Stored) MarshalBinary() ([]byte, error) { return []byte{1}, nil }
func (*Stored) UnmarshalBinary([]byte) error  { return nil }

// Boxed has something of any type, which it alone knows how to write.
type Boxed struct{ in any }

func (b Boxed) MarshalCBOR() ([]byte, error) { return cbor.Marshal(b.in) }

func (b *Boxed) UnmarshalCBOR(data []byte) error { return cbor.Unmarshal(data, &b.in) }
