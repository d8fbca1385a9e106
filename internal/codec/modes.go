package codec

import (
	"reflect"

	"github.com/fxamacker/cbor/v2"
)

// What a payload may cost the process that receives it. A sender keeps to the same limits, so that
// what was encoded can be decoded.
const (
	// MaxNesting is how deep the arrays, maps and tags of a payload may nest.
	MaxNesting = 32

	// MaxGrowth and MaxMemory bound what decoding may hold: MaxGrowth bytes of memory for each byte
	// received or MaxMemory bytes, whichever is more.
	MaxGrowth = 64
	MaxMemory = 64 << 20

	// MaxBignum is how many bytes a big number may have where the Go type has no big.Int. Printing
	// one in the error takes time that grows with the square of its length.
	MaxBignum = 4096
)

// What a control message may hold.
const (
	ControlNesting  = 8
	ControlElements = 16 << 10 // the endpoints of a large bus, in one list
	ControlPairs    = 32       // 15 are the most; an unknown key takes 120 bytes
)

var (
	payloadEnc = must(payloadEncOptions().UserBufferEncMode())
	payloadDec = must(payloadDecOptions().DecMode())
	controlEnc = must(controlEncOptions().EncMode())
	controlDec = must(controlDecOptions().DecMode())
)

// payloadEncOptions is how values of users' types are written.
func payloadEncOptions() cbor.EncOptions {
	return cbor.EncOptions{
		// Struct fields come in the order of their declaration and maps as Go ranges over them:
		// nothing compares payloads, and sorting costs time.
		Sort: cbor.SortNone,
		// A float keeps its width and every bit, NaN's too: exact, and faster than looking for a
		// shorter form.
		ShortestFloat: cbor.ShortestFloatNone,
		NaNConvert:    cbor.NaNConvertNone,
		InfConvert:    cbor.InfConvertNone,
		// A big.Int that fits a CBOR integer is one; only a larger one needs a tag.
		BigIntConvert: cbor.BigIntConvertShortest,
		// Text keeps nanoseconds and the zone's offset, which no number does. It needs no tag: the
		// receiver's type says that it is a time. The zero time is null.
		Time:    cbor.TimeRFC3339Nano,
		TimeTag: cbor.EncTagNone,
		// The decoder refuses indefinite lengths, so a MarshalCBOR method must not write them.
		IndefLength:           cbor.IndefLengthForbidden,
		ToIndefArrayStructTag: cbor.ToIndefArrayStructTagForbidden,
		// nil is null, so that nil and empty stay two things.
		NilContainers: cbor.NilContainerAsNull,
		// Big numbers and MarshalCBOR methods write tags.
		TagsMd: cbor.TagsAllowed,
		// What encoding/json calls empty, which authors of tags know.
		OmitEmpty: cbor.OmitEmptyGoValue,
		// Strings and field names are text: readable, and what other languages expect.
		String:    cbor.StringToTextString,
		FieldName: cbor.FieldNameToTextString,
		// Bytes are byte strings without a hint of how to print them, arrays of bytes as well.
		ByteSliceLaterFormat: cbor.ByteSliceLaterFormatNone,
		ByteArray:            cbor.ByteArrayToByteSlice,
		// A type's own binary form is the one way, beside MarshalCBOR, to send what has unexported
		// fields. Text and JSON forms are for people: a type that has one as well as plain fields
		// is sent by its fields.
		BinaryMarshaler:         cbor.BinaryMarshalerByteString,
		TextMarshaler:           cbor.TextMarshalerNone,
		JSONMarshalerTranscoder: nil,
	}
}

// payloadDecOptions is how payloads are read. Sizes are not limited here: a limit per array or map
// bounds nothing once they nest, so [Type.Decode] weighs the whole payload instead.
func payloadDecOptions() cbor.DecOptions {
	return cbor.DecOptions{
		// A key that comes twice reads differently in different readers.
		DupMapKey: cbor.DupMapKeyEnforcedAPF,
		// Times come without a tag; with one it has to be one of the two for times.
		TimeTag:          cbor.DecTagOptional,
		MaxNestedLevels:  MaxNesting,
		MaxArrayElements: 1<<31 - 1,
		MaxMapPairs:      1<<31 - 1,
		// Definite lengths are all that anybody needs, and can be checked before memory is taken.
		IndefLength: cbor.IndefLengthForbidden,
		// Allowed for every type: a field that this process does not know yet may hold a big
		// number, and must not make the whole payload unreadable.
		TagsMd:    cbor.TagsAllowed,
		BignumTag: cbor.BignumTagAllowed,
		// A field that this process does not know is ignored: payloads evolve.
		ExtraReturnErrors: cbor.ExtraDecErrorNone,
		// A Go string may hold any bytes, and arrives as it was sent, as it does in one process.
		UTF8: cbor.UTF8DecodeInvalid,
		// One spelling of a key, so that all readers agree which field it is.
		FieldNameMatching:   cbor.FieldNameMatchingCaseSensitive,
		FieldNameByteString: cbor.FieldNameByteStringForbidden,
		// One form of each kind of value: bytes are neither strings nor times.
		ByteStringToString:       cbor.ByteStringToStringForbidden,
		ByteStringToTime:         cbor.ByteStringToTimeForbidden,
		ByteStringExpectedFormat: cbor.ByteStringExpectedFormatNone,
		// No field is an interface, so these choose nothing but what a stray key is read into.
		DefaultMapType:        reflect.TypeFor[map[string]any](),
		DefaultByteStringType: reflect.TypeFor[[]byte](),
		IntDec:                cbor.IntDecConvertNone,
		BigIntDec:             cbor.BigIntDecodeValue,
		MapKeyByteString:      cbor.MapKeyByteStringForbidden,
		TimeTagToAny:          cbor.TimeTagToTime,
		UnrecognizedTagToAny:  cbor.UnrecognizedTagNumAndContentToAny,
		// Floats are sent as they are. None is a map's key, where NaN would be trouble.
		NaN: cbor.NaNDecodeAllowed,
		Inf: cbor.InfDecodeAllowed,
		// Others would decode as numbers, which nobody sends.
		SimpleValues: onlyFalseTrueNull(),
		// As written.
		BinaryUnmarshaler:         cbor.BinaryUnmarshalerByteString,
		TextUnmarshaler:           cbor.TextUnmarshalerNone,
		JSONUnmarshalerTranscoder: nil,
	}
}

// controlEncOptions is how the package's own messages are written: like payloads, but by fields
// alone.
func controlEncOptions() cbor.EncOptions {
	opts := payloadEncOptions()
	opts.TagsMd = cbor.TagsForbidden
	opts.BinaryMarshaler = cbor.BinaryMarshalerNone
	return opts
}

// controlDecOptions is how the package's own messages are read. They may come from a peer that
// nobody has admitted yet, so that everything they do not need is refused.
func controlDecOptions() cbor.DecOptions {
	opts := payloadDecOptions()
	opts.MaxNestedLevels = ControlNesting
	opts.MaxArrayElements = ControlElements
	opts.MaxMapPairs = ControlPairs
	opts.TagsMd = cbor.TagsForbidden
	opts.BignumTag = cbor.BignumTagForbidden
	opts.NaN = cbor.NaNDecodeForbidden
	opts.Inf = cbor.InfDecodeForbidden
	// Names are text that people read and other programs compare.
	opts.UTF8 = cbor.UTF8RejectInvalid
	// No user's code sees these bytes.
	opts.BinaryUnmarshaler = cbor.BinaryUnmarshalerNone
	return opts
}

// onlyFalseTrueNull refuses the simple values that stand for nothing in Go.
func onlyFalseTrueNull() *cbor.SimpleValueRegistry {
	var reject []func(*cbor.SimpleValueRegistry) error
	for v := range 256 {
		reserved := v >= 24 && v < 32 // never well-formed, so that it cannot be registered
		if v >= 20 && v <= 22 || reserved {
			continue
		}
		reject = append(reject, cbor.WithRejectedSimpleValue(cbor.SimpleValue(v)))
	}
	return must(cbor.NewSimpleValueRegistryFromDefaults(reject...))
}

// must is for options that are constant: they are right or no test passes.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
