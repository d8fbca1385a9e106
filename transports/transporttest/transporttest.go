// Package transporttest certifies implementations of [lahja.Transport].
//
// This is a whole test file, for a transport that is called mine:
//
//	package mine_test
//
//	func TestMain(m *testing.M) { transporttest.Main(m) }
//
//	func TestTransport(t *testing.T) {
//		transporttest.Run(t, mine.New(freePlace(t)))
//	}
//
// Every rule of [lahja.Transport], [lahja.Listener] and [lahja.Conn] is a law with a name, which is
// the name of its subtest. A law that takes longer than half a minute is broken: the suite closes
// everything that the law has opened, reports what it was waiting for, and goes on with the next.
//
// Data and lengths are pseudo-random. A failure names the seed, and the environment variable
// TRANSPORTTEST_SEED repeats a run with it.
package transporttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// usualLimit bounds each law. The slowest needs a second or two on a busy machine.
const usualLimit = 30 * time.Second

// Run checks all laws, each in a subtest. Nobody may listen at the transport's place, and the place
// must be a fixed one: a TCP transport needs the number of a free port.
func Run(t *testing.T, transport lahja.Transport) {
	t.Helper()
	run(t, slices.Concat(transportLaws, connLaws), subject{transport: transport})
}

// RunConn checks the laws of [lahja.Conn] alone, each in a subtest, for connections that come about
// in another way than by Listen and Dial. Each call of connect makes a new connection and returns
// its two ends, which the suite closes. Calls are not concurrent.
func RunConn(t *testing.T, connect func() (a, b lahja.Conn, err error)) {
	t.Helper()
	run(t, connLaws, subject{connect: connect})
}

func run(t *testing.T, laws []law, s subject) {
	t.Helper()
	seed := chooseSeed(t)
	for _, l := range laws {
		t.Run(l.name, func(t *testing.T) {
			if failure := judge(l, newTrial(s, seed, usualLimit)); failure != "" {
				t.Errorf("%s\n(to repeat it: TRANSPORTTEST_SEED=%d)", failure, seed)
			}
		})
	}
}

func chooseSeed(t *testing.T) uint64 {
	t.Helper()
	text, set := os.LookupEnv("TRANSPORTTEST_SEED")
	if !set {
		return rand.Uint64()
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(fmt.Errorf("TRANSPORTTEST_SEED must be a number without sign: %w", err))
	}
	return seed
}
