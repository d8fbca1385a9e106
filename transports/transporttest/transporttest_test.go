package transporttest

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

func TestMain(m *testing.M) { Main(m) }

func TestRightTransport(t *testing.T) {
	Run(t, memory.New())
}

func TestRightConn(t *testing.T) {
	RunConn(t, viaMemory)
}

// Each fault is found, by the law that is there for it, and described by what is wrong. All are
// tried at once, because many consist in waiting.
func TestFaultsAreFound(t *testing.T) {
	var trying sync.WaitGroup
	for _, fault := range slices.Concat(listenerFaults, connFaults) {
		trying.Go(func() {
			finds(t, fault, func() string {
				transport := newFaulty()
				defer transport.release()
				fault.breaks(transport)
				return judgeFault(fault, subject{transport: transport})
			})
		})
	}
	for _, fault := range connectFaults {
		trying.Go(func() {
			finds(t, fault.fault, func() string {
				return judgeFault(fault.fault, subject{connect: fault.connect})
			})
		})
	}
	trying.Wait()
}

func judgeFault(f fault, s subject) string {
	return judge(lawNamed(f.law), newTrial(s, 1, f.limit))
}

// finds tries until the law has found something. Some faults are races, which on a busy machine may
// end well a few times.
func finds(t *testing.T, f fault, try func() string) {
	t.Helper()
	failure := ""
	for tries := 0; failure == "" && tries < 20; tries++ {
		failure = try()
	}
	if !strings.Contains(failure, f.says) {
		t.Errorf("%s: %s says %q, want something with %q", f.name, f.law, failure, f.says)
	}
}

func lawNamed(name string) law {
	laws := slices.Concat(transportLaws, connLaws)
	i := slices.IndexFunc(laws, func(l law) bool { return l.name == name })
	if i < 0 {
		panic("there is no law " + name)
	}
	return laws[i]
}

// A law that no fault breaks might be unable to fail.
func TestEveryLawCanFail(t *testing.T) {
	broken := map[string]bool{}
	for _, fault := range slices.Concat(listenerFaults, connFaults) {
		broken[fault.law] = true
	}
	for _, fault := range connectFaults {
		broken[fault.law] = true
	}
	for _, l := range slices.Concat(transportLaws, connLaws) {
		if !broken[l.name] {
			t.Errorf("no fault breaks %s", l.name)
		}
	}
}

// A Close that does not return is reported, and does not stop the suite.
func TestStuckClose(t *testing.T) {
	released := make(chan struct{})
	defer close(released)
	connect := func() (a, b lahja.Conn, err error) {
		a, b, err = viaMemory()
		stuck := &faultyConn{Conn: a, close: func() error {
			<-released
			return nil
		}}
		return stuck, b, err
	}
	tr := newTrial(subject{connect: connect}, 1, hangs)
	failure := judge(law{"Pair", func(tr *trial) { tr.pair() }}, tr)
	if want := "Close has not returned"; !strings.Contains(failure, want) {
		t.Errorf("judge says %q, want something with %q", failure, want)
	}
}

func TestSeedIsTakenFromEnvironment(t *testing.T) {
	t.Setenv("TRANSPORTTEST_SEED", "42")
	if got := chooseSeed(t); got != 42 {
		t.Errorf("chooseSeed() = %d, want 42", got)
	}
}
