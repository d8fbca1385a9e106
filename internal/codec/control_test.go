package codec_test

import (
	"strings"
	"testing"

	"github.com/lahja-go/lahja/internal/codec"
)

type hello struct {
	Name   string            `cbor:"1,keyasint"`
	Events []string          `cbor:"2,keyasint"`
	Extra  map[string]string `cbor:"3,keyasint"`
	Token  []byte            `cbor:"4,keyasint"`
	Peers  []hello           `cbor:"5,keyasint"`
}

func TestControl(t *testing.T) {
	in := hello{
		Name: "worker", Events: make([]string, codec.ControlElements), Token: []byte{1},
		Extra: map[string]string{"k": "v"}, Peers: []hello{{Name: "main"}},
	}
	data, err := codec.Control.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out hello
	if err := codec.Control.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	if out.Name != in.Name || len(out.Events) != len(in.Events) || out.Extra["k"] != "v" ||
		len(out.Token) != 1 || out.Peers[0].Name != "main" {
		t.Error("arrived as another")
	}
	// A key of a later version.
	if err := codec.Control.Unmarshal(unhex("a2 18 63 01 01 61 61"), &out); err != nil {
		t.Error(err)
	}
}

func TestControlRefuses(t *testing.T) {
	many := hello{Events: make([]string, codec.ControlElements+1)}
	if _, err := codec.Control.Marshal(many); err == nil {
		t.Error("more elements than receivers take were encoded")
	}
	for _, c := range []struct{ what, data string }{
		{"nothing", ""},
		{"a tag", "c6 a0"},
		{"a tag in an unknown field", "a1 18 63 c6 00"},
		{"a big number", "a1 18 63 c2 41 00"},
		{"a key twice", "a2 01 61 61 01 61 61"},
		{"an unknown key twice", "a2 18 63 00 18 63 00"},
		{"an unknown length", "bf ff"},
		{"text that is not UTF-8", "a1 01 61 ff"},
		{"NaN", "a1 18 63 f9 7e00"},
		{"infinity", "a1 18 63 f9 7c00"},
		{"undefined", "a1 01 f7"},
		{"trailing bytes", "a0 00"},
		{"nine levels", "a1 18 63" + strings.Repeat("81", 8) + "00"},
		{"a million levels", "a1 18 63" + strings.Repeat("81", 1e6) + "00"},
		{"too many elements", "a1 18 63 99 4001" + strings.Repeat("00", codec.ControlElements+1)},
		{"too many pairs", "a1 18 63 b8 21" + strings.Repeat("0000", codec.ControlPairs+1)},
		{"bytes for text", "a1 01 41 61"},
		{"a number in a list of text", "a1 02 82 60 01"},
		{"an array where bytes are due", "a1 04 81 01"},
		{"an array for a key", "a1 80 01"},
		{"an array of more than there can be", "9b 0000 42fa 42fa 42fa 42"},
	} {
		const want = "lahja: cannot decode a control message: "
		err := codec.Control.Unmarshal(unhex(c.data), new(hello))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	// The methods of a type see no bytes.
	if err := codec.Control.Unmarshal(unhex("41 00"), new(Explosive)); err == nil {
		t.Error("a type read its own binary form")
	}
}
