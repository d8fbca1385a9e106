package lahja_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// The bus does not remember everybody who has come and gone for one that watches and does not read;
// when it reads again, what it is told is who is there.
func TestWatcherThatDoesNotRead(t *testing.T) {
	s := newStage(t, &venues[1], [2]bool{})
	stays := s.own("stays")
	conn, err := s.place.Dial(s.ctx)
	s.must(err)
	defer conn.Close()
	g := &stranger{TB: t, conn: conn}
	g.preface(wire.TypeHello, wire.Hello{MinVersion: 1, MaxVersion: 1, Name: "watcher"})
	s.until(stays, lahja.Present("watcher"))
	g.record(numbers(wire.TypeWatch, 1, 1))
	before := int64(0)
	for i := range 12_000 {
		ep, err := s.bus.Endpoint(fmt.Sprintf("%0250d", i))
		s.must(err)
		s.must(ep.Close())
		if i == 2000 {
			before = footprint()
		}
	}
	if grown := footprint() - before; grown > mebibyte {
		t.Errorf("it takes %d bytes", grown)
	}
	s.own("last")
	g.listen()
	g.record(numbers(wire.TypeWatch, 1, 2))
	there := map[string]bool{}
	for question, complete := uint64(0), uint64(0); question < 2 || complete == 0; {
		f := <-g.heard
		var m wire.Peer
		switch f.Type {
		case wire.TypePeer:
			s.must(wire.ParseControl(f.Body, &m))
			if there[m.Name] = true; m.Gone {
				delete(there, m.Name)
			}
		case wire.TypePeers:
			s.must(wire.Uvarints(f.Body, &question, &complete))
			if complete == 0 {
				clear(there)
			}
		case 0:
			t.Fatal("the connection ends before the view is complete")
		}
	}
	want := map[string]bool{"stays": true, "watcher": true, "last": true}
	if !maps.Equal(there, want) {
		t.Errorf("it is told of %d endpoints: %.300v", len(there), there)
	}
}
