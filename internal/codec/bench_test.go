package codec_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/lahja-go/lahja/internal/codec"
)

func message() *Message { return &Message{Seq: 12345, Payload: make([]byte, 64)} }

func BenchmarkEncode(b *testing.B) {
	bench(b, func(b *testing.B, typ *codec.Type, v any) {
		var buf bytes.Buffer
		for b.Loop() {
			buf.Reset()
			if err := typ.Encode(&buf, v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	bench(b, func(b *testing.B, typ *codec.Type, v any) {
		var buf bytes.Buffer
		if err := typ.Encode(&buf, v); err != nil {
			b.Fatal(err)
		}
		ptr := reflect.New(reflect.TypeOf(v).Elem())
		for b.Loop() {
			ptr.Elem().SetZero()
			if err := typ.Decode(buf.Bytes(), ptr.Interface()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSize(b *testing.B) {
	bench(b, func(b *testing.B, typ *codec.Type, v any) {
		value := reflect.ValueOf(v).Elem()
		for b.Loop() {
			typ.Size(value)
		}
	})
}

// bench runs f with a small payload, and with ones that have to be looked at before or after.
func bench(b *testing.B, f func(b *testing.B, typ *codec.Type, v any)) {
	run := func(name string, typ *codec.Type, v any) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			f(b, typ, v)
		})
	}
	run("message", typeOf[Message](b), message())
	run("time", typeOf[Base](b), &Base{ID: 1, Created: time.Now()})
	run("tree", typeOf[Tree](b), &Tree{Children: []*Tree{{Value: 1}, {Value: 2}}})
	run("map", typeOf[map[string]string](b), &map[string]string{"key": "value", "other": "value"})
	many := make([]Message, 10_000)
	for i := range many {
		many[i] = *message()
	}
	run("megabyte", typeOf[[]Message](b), &many)
}

func BenchmarkEventFor(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.EventFor[Message](); err != nil {
			b.Fatal(err)
		}
	}
}
