package core

import (
	"testing"

	"github.com/lahja-go/lahja/internal/wire"
)

// A session that ends while another connection resumes it is not kept by the context of that one,
// which may live for as long as the bus.
func TestEndedSessionIsLetGo(t *testing.T) {
	n := NewNode(Config{})
	defer n.Close()
	p, err := n.join(&wire.Hello{Name: "far"}, Caller{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.servedUnder(t.Context())
	p.link.Kill(nil)
	<-p.ended
	p.servedUnder(t.Context())
	if p.unserve() {
		t.Error("the context still holds the session")
	}
}
