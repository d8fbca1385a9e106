package wire_test

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"github.com/lahja-go/lahja/internal/wire"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// The keys of each message, in the order of their numbers: they must never change.
func TestControlKeys(t *testing.T) {
	for _, c := range []struct {
		message any
		hex     string
	}{
		{wire.Hello{
			MinVersion: 1, MaxVersion: 2, Features: []string{"f"}, Name: "n",
			Incarnation: []byte{1}, Session: []byte{2}, Token: []byte{3}, Attempt: 4, Received: 5,
			MaxFrame: 6, Heartbeat: 7, Credentials: []byte{8}, Extension: []byte{9},
		}, "ad 0101 0202 03816166 04616e 054101 064102 074103 0804 0905 0a06 0b07 0c4108 0d4109"},
		{wire.Welcome{
			Version: 1, Features: []string{"f"}, Name: "n", Incarnation: []byte{1},
			Session: []byte{2}, Token: []byte{3}, Resumed: true, Received: 4, MaxFrame: 5, Lag: 6,
			Heartbeat: 7, ResumeWindow: 8, Permissions: []byte{9}, Extension: []byte{10}, Stall: 11,
		}, "af 0101 02816166 03616e 044101 054102 064103 07f5 0804 0905 0a06 0b07 0c08 0d4109 " +
			"0e410a 0f0b"},
		{wire.Refusal{Code: "c", Message: "m", RetryAfter: 1}, "a3 016163 02616d 0301"},
		{wire.Subscribe{
			ID: 1, Event: "e", From: []string{"f"}, Observe: true, DropOldest: true, Retained: true,
			Group: "g", Room: 2, Response: "r", Source: "s",
		}, "aa 0101 026165 03816166 04f5 05f5 06f5 076167 0802 096172 0a6173"},
		{wire.Subscribed{ID: 1, Code: "c", Message: "m"}, "a3 0101 026163 03616d"},
		{wire.Leave{ID: 1, Code: "c", Message: "m"}, "a3 0101 026163 03616d"},
		{wire.Ask{ID: 1, Event: "e", HasTo: true, To: []string{"t"}, Except: []string{"x"}},
			"a5 0101 026165 03f5 04816174 05816178"},
		{wire.Answer{ID: 1, Count: 2}, "a2 0101 0202"},
		{wire.Peer{Name: "n", Events: []string{"e"}, Gone: true}, "a3 01616e 02816165 03f5"},
		{wire.Forget{Event: "e", Key: "k"}, "a2 016165 02616b"},
		{wire.Held{Number: 1, Publishers: []string{"p"}}, "a2 0101 02816170"},
		{wire.Held{Number: 1, Publishers: []string{"p"}, Alone: []uint64{2, 3}},
			"a3 0101 02816170 03820203"},
		{wire.Goodbye{Code: "c", Message: "m"}, "a2 016163 02616d"},
		{wire.Goodbye{}, "a0"},
		{wire.Subscribe{ID: 1, Event: "e"}, "a2 0101 026165"},
		{wire.Subscribed{ID: 1}, "a1 0101"},
	} {
		got := wire.AppendControl(nil, wire.TypeVoid, c.message)[wire.FrameHeader:]
		if want := unhex(t, c.hex); !reflect.DeepEqual(got, want) {
			t.Errorf("%T\ngot  % x\nwant % x", c.message, got, want)
		}
	}
}

// A reader ignores keys that it does not know, whatever is behind them, and has defaults for those
// that are missing.
func TestControlEvolves(t *testing.T) {
	for body, want := range map[string]wire.Answer{
		"a0":                               {},
		"a1 0202":                          {Count: 2},
		"a3 0101 0202 1863 6161":           {ID: 1, Count: 2},
		"a3 0202 1863 8201a1 616102 0101":  {ID: 1, Count: 2},
		"a3 0101 20 f6 0202":               {ID: 1, Count: 2},
		"a3 0101 6161 4102 0202":           {ID: 1, Count: 2},
		"a2 1801 01 1b0000000000000002 02": {ID: 1, Count: 2}, // longer than need be
		"a2 0101 02f6":                     {ID: 1},
	} {
		var got wire.Answer
		if err := wire.ParseControl(unhex(t, body), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
}

func TestControlRefused(t *testing.T) {
	for what, body := range map[string]string{
		"nothing":                   "",
		"no map":                    "01",
		"text":                      "6161",
		"two items":                 "a0 a0",
		"a key twice":               "a2 0101 0102",
		"an unknown key twice":      "a2 186301 186302",
		"unknown length":            "bf 0101 ff",
		"a list of unknown length":  "a1 03 9f ff",
		"a tag":                     "c1 a0",
		"a tag on a value":          "a1 01 c101",
		"a big number":              "a1 01 c2 41 01",
		"a negative number":         "a1 01 20",
		"a float":                   "a1 01 f93c00",
		"text for a number":         "a1 01 6131",
		"bytes for text":            "a1 02 4165",
		"text that is not UTF-8":    "a1 02 61ff",
		"text in a list, not UTF-8": "a1 03 81 61ff",
		"a number for a list":       "a1 03 01",
		"2^32-1 pairs":              "ba ffffffff",
		"2^64-1 names":              "a1 03 9bffffffffffffffff",
		"text of 2^64-1 bytes":      "a1 02 7bffffffffffffffff",
		"nine levels":               "a1 1863 81 81 81 81 81 81 81 81 01",
		"undefined":                 "a1 01 f7",
		"a simple value":            "a1 01 e0",
		"NaN behind an unknown key": "a1 1863 f97e00",
	} {
		var got wire.Subscribe
		if err := wire.ParseControl(unhex(t, body), &got); err == nil {
			t.Errorf("%s: %+v", what, got)
		} else if !strings.Contains(err.Error(), "*wire.Subscribe that cannot be read") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestControlThatCannotBe(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	wire.AppendControl(nil, wire.TypeVoid, make(chan int))
}
