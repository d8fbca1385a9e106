package lahja_test

import (
	"context"
	"log/slog"
	"testing"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/fuzzing"
	"github.com/lahja-go/lahja/transports/memory"
)

// sessionTarget takes any bytes for the choices of a maker of frames, which it throws in a session
// with a bus, or with an endpoint.
func sessionTarget() fuzzing.Target {
	var seeds [][]byte
	for n := range 8 {
		seeds = append(seeds, append([]byte{byte(n)}, noise(100 << n)[50<<n:]...))
	}
	return fuzzing.Target{Name: "FuzzSession", Part: 2, Seeds: seeds, Run: anySession}
}

func anySession(t rapid.TB, data []byte) {
	if len(data) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), tooLong)
	s := &stage{TB: t.(testing.TB), ctx: ctx, bus: lahja.NewBus()}
	defer func() {
		s.must(s.bus.Close())
		cancel()
		s.group.Wait()
	}()
	b := &barrage{stage: s, most: 1 + len(data)/64, maker: &maker{toBus: data[0]&1 == 0}}
	b.pick = func(n int) (choice int) {
		for left := n - 1; left > 0 && len(data) > 0; left >>= 8 {
			choice = choice<<8 | int(data[0])
			data = data[1:]
		}
		return choice % n
	}
	b.once(memory.New())
}

// once is one session at a place of its own. The bus serves its own endpoint in the end.
func (b *barrage) once(place lahja.Transport) {
	l, err := place.Listen(b.ctx)
	b.must(err)
	defer l.Close()
	if !b.toBus {
		b.atEndpoint(place, l)
		return
	}
	own := b.own("own")
	stop := b.busy(own)
	ended := beside(b.stage, func() error {
		conn, err := l.Accept()
		if err == nil {
			err = b.bus.ServeConn(b.ctx, conn)
		}
		return err
	})
	conn, err := place.Dial(b.ctx)
	b.must(err)
	b.atBus(&stranger{TB: b.TB, conn: conn}, ended)
	stop()
	items := lahja.Stream[item](b.ctx, own, lahja.Take(1))
	say(b.stage, own, item{1})
	hear(b.stage, items, item{1})
}

func FuzzSession(f *testing.F) {
	logTo(f, slog.DiscardHandler)
	sessionTarget().Fuzz(f)
}

// The target of this package, with its part of very many executions.
func TestFuzzAtLength(t *testing.T) {
	logTo(t, slog.DiscardHandler)
	fuzzing.AtLength(t, sessionTarget())
}
