package codec_test

import (
	"net/netip"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// What decodes itself keeps nothing of the bytes either.
func TestMethodsKeepNothing(t *testing.T) {
	type S struct {
		Raw  cbor.RawMessage
		Raws []cbor.RawMessage
		Addr netip.Addr
		Keys map[netip.Addr]string
	}
	addr := netip.MustParseAddr("fe80::1%eth0")
	raw := cbor.RawMessage{0x63, 'r', 'a', 'w'}
	arrives(t, S{raw, []cbor.RawMessage{raw, raw}, addr, map[netip.Addr]string{addr: "value"}})
}
