package codec_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/lahja-go/lahja/internal/codec"
)

type (
	Plain          struct{ A int }
	Named          struct{ A int }
	ByPtr          struct{ A int }
	Pair[A, B any] struct {
		First  A
		Second B
	}
	// Generic embeds what has a name and declares its own.
	Generic[T any] struct {
		Named
		V T
	}
	Heir[T any] struct {
		Named
		V T
	}
	HeirByPtr struct{ *Named }
	Overrides struct {
		Named
		B int
	}
	Forwards struct {
		Named
		B int
	}
	OtherResult struct{ A int }
	FromField   struct{ A string }
)

func (Named) EventName() string       { return "named" }
func (*ByPtr) EventName() string      { return "by pointer" }
func (Generic[T]) EventName() string  { return "generic" }
func (Overrides) EventName() string   { return constant() }
func (f Forwards) EventName() string  { return f.Named.EventName() }
func (OtherResult) EventName() int    { return 0 }
func (f FromField) EventName() string { return "field" + f.A }

func constant() string { return "overrides" }

func TestNames(t *testing.T) {
	const pkg = "github.com/lahja-go/lahja/internal/codec_test."
	for _, c := range []struct {
		typ  reflect.Type
		want string
	}{
		{of[Plain](), pkg + "Plain"},
		{of[Kind](), pkg + "Kind"},
		{of[Named](), "named"},
		{of[FromField](), "field"},
		{of[ByPtr](), pkg + "ByPtr"},             // on *T: not declared on T
		{of[OtherResult](), pkg + "OtherResult"}, // another method of that name
		{of[Heir[int]](), pkg + "Heir[int]"},     // promoted
		{of[HeirByPtr](), pkg + "HeirByPtr"},
		{of[Overrides](), "overrides"},
		{of[Forwards](), "named"},
		{of[Generic[int]](), "generic"},
		{of[Generic[Generic[string]]](), "generic"},
		{of[Pair[int, Plain]](), pkg + "Pair[int," + pkg + "Plain]"},
		{of[Pair[[]Plain, map[string]*Pair[int, bool]]](),
			pkg + "Pair[[]" + pkg + "Plain,map[string]*" + pkg + "Pair[int,bool]]"},
	} {
		typ, err := codec.Event(c.typ)
		if err != nil {
			t.Error(err)
		} else if typ.Name() != c.want {
			t.Errorf("%v is called %q, want %q", c.typ, typ.Name(), c.want)
		}
		if r, err := codec.Response(c.typ); err != nil || r.Name() != c.want {
			t.Errorf("%v as a response: %v, %v", c.typ, r, err)
		}
	}
}

func TestNamesOfResponses(t *testing.T) {
	const pkg = "github.com/lahja-go/lahja/internal/codec_test."
	for _, c := range []struct {
		typ  reflect.Type
		want string
	}{
		{of[string](), "string"},
		{of[byte](), "uint8"},
		{of[[]int](), "[]int"},
		{of[*Plain](), "*" + pkg + "Plain"},
		{of[*Named](), "*named"},
		{of[**ByPtr](), "**" + pkg + "ByPtr"},
		{of[[4][]Named](), "[4][]named"},
		{of[map[string]Plain](), "map[string]" + pkg + "Plain"},
		{of[map[Kind]*[]string](), "map[" + pkg + "Kind]*[]string"},
		{of[struct{}](), "struct{}"},
		{of[struct {
			Plain
			B []Plain `cbor:"b"`
		}](), "struct{" + pkg + `Plain; B []` + pkg + `Plain "cbor:\"b\""}`},
	} {
		if typ, err := codec.Response(c.typ); err != nil {
			t.Error(err)
		} else if typ.Name() != c.want {
			t.Errorf("%v is called %q, want %q", c.typ, typ.Name(), c.want)
		}
	}
}

// Events with names that cannot be.
type (
	NameEmpty    struct{}
	NameReserved struct{}
	NameInvalid  struct{}
	NameControl  struct{}
	NameLong     struct{}
	NamePanics   struct{ P *Plain }
	NameLongest  struct{}
)

func (NameEmpty) EventName() string    { return "" }
func (NameReserved) EventName() string { return "lahja:sub" }
func (NameInvalid) EventName() string  { return "a\xff" }
func (NameControl) EventName() string  { return "a\u0085b" }
func (NameLong) EventName() string     { return strings.Repeat("n", 256) }
func (NameLongest) EventName() string  { return strings.Repeat("n", 255) }
func (n NamePanics) EventName() string { return string(rune(n.P.A)) }

type (
	Iface    interface{ M() }
	Pointer  *Plain
	Function func()
)

func TestRefusedAsEvents(t *testing.T) {
	const pkg = "github.com/lahja-go/lahja/internal/codec_test."
	type Wide = Pair[Pair[Pair[Plain, Plain], Plain], Pair[Plain, Plain]]
	for _, c := range []struct {
		typ  reflect.Type
		want string
	}{
		{of[*Plain](), "*codec_test.Plain cannot be an event: it is a pointer; use " + pkg +
			"Plain itself"},
		{of[Pointer](), pkg + "Pointer cannot be an event: it is a pointer; use " + pkg +
			"Plain itself"},
		{of[any](), "interface {} cannot be an event: it is an interface; use the types that " +
			"implement it, each as an event of its own"},
		{of[Iface](), pkg + "Iface cannot be an event: it is an interface; use the types that " +
			"implement it, each as an event of its own"},
		{of[error](), "error cannot be an event: it is an interface; use the types that " +
			"implement it, each as an event of its own"},
		{of[[]int](), "[]int cannot be an event: it has no name; declare one: type Name []int"},
		{of[struct{ A int }](), "struct { A int } cannot be an event: it has no name; " +
			"declare one: type Name struct { A int }"},
		{of[int](), "int cannot be an event: it is predeclared, for values of any meaning; " +
			"declare one: type Name int"},
		{of[NameEmpty](), pkg + "NameEmpty cannot be an event: its EventName \"\" is empty; " +
			"return a name of 1 to 255 bytes"},
		{of[NameReserved](), pkg + "NameReserved cannot be an event: its EventName " +
			`"lahja:sub" starts with "lahja:", which is reserved; choose another`},
		{of[NameInvalid](), pkg + "NameInvalid cannot be an event: its EventName \"a\\xff\" " +
			"is not valid UTF-8; return text"},
		{of[NameControl](), pkg + "NameControl cannot be an event: its EventName " +
			"\"a\\u0085b\" has a control character; return printable text"},
		{of[NameLong](), pkg + "NameLong cannot be an event: its EventName \"" +
			strings.Repeat("n", 256) + "\" is 256 bytes long; return a name of 1 to 255 bytes"},
		{of[NamePanics](), pkg + "NamePanics cannot be an event: its EventName method " +
			"panicked on the zero value: " +
			"runtime error: invalid memory address or nil pointer dereference"},
		{of[Wide](), pkg + of[Wide]().Name() + " cannot be an event: it has a " +
			"name of 467 bytes, and 255 is the most; give it a method EventName() string"},
	} {
		if _, err := codec.Event(c.typ); err == nil || err.Error() != "lahja: type "+c.want {
			t.Errorf("%v\n got %v\nwant lahja: type %s", c.typ, err, c.want)
		}
	}
	if _, err := codec.Event(nil); err == nil {
		t.Error("nil is an event")
	}
	if typ, err := codec.Event(of[NameLongest]()); err != nil || len(typ.Name()) != 255 {
		t.Error(err)
	}
}

func TestTypesInFunctionsCannotBeEvents(t *testing.T) {
	type Plain struct{ B int }
	want := "lahja: type github.com/lahja-go/lahja/internal/codec_test.Plain cannot be an event: " +
		"it is declared inside a function, where others may have its name; " +
		"declare it at package level"
	for range 2 {
		if _, err := codec.EventFor[Plain](); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	if _, err := codec.EventFor[Pair[int, Plain]](); err == nil {
		t.Error("a generic type of one is an event")
	}
	if _, err := codec.Event(of[Pair[int, Plain]]()); err == nil {
		t.Error("a generic type of one is an event without its type")
	}
	if _, err := inGeneric[int](); err == nil {
		t.Error("one in a generic function is an event")
	}
	if _, err := codec.Response(of[Plain]()); err != nil {
		t.Error(err)
	}
	_, err := codec.EventFor[[]Plain]()
	if err == nil || !strings.Contains(err.Error(), "has no name") {
		t.Error(err)
	}
}

func inGeneric[T any]() (*codec.Type, error) {
	type Local struct{ V T }
	return codec.EventFor[Local]()
}

func TestTypesAreMadeOnce(t *testing.T) {
	a, err := codec.EventFor[Plain]()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := codec.Event(of[Plain]())
	c, _ := codec.EventFor[Plain]()
	if a != b || b != c {
		t.Error("one type was made several times")
	}
}
