package lahja_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
)

// A row is something that may arrive at a connection and must do no harm: the connection ends with
// an error that can be told, or goes on as if nothing had been; and nothing else happens.
type row struct {
	number int    // in the catalogue of bad inputs, B01 to B62; several rows may have the same
	throws string // in words
	at     moment
	throw  func(*attack)
	ends   error  // with what the connection ends; nil: it goes on
	only   string // "bus" or "endpoint": against that alone

	content      bool   // it is in what a frame holds, of which no transport knows
	hurry        bool   // the side under attack gives the handshake little time
	endpointEnds error  // with what it ends at an endpoint, if that is another
	over         string // the venue where alone it has a meaning; empty: all
}

// rows are all there are.
func rows() []row {
	return slices.Concat(framingRows, handshakeRows, identityRows, resumeRows, flowRows,
		controlRows(), payloadRows(), systemRows)
}

// elsewhereShown are the numbers without a row, with what they are, why they have none, and the
// tests that show the same by themselves.
var elsewhereShown = map[int]struct{ what, why, tests string }{
	16: {"wrong credentials, alike in words and time", "credentials are those of the transport; " +
		"a wrong token of a resume is a row of 30", "TestRefusedResumes"},
	22: {"a listener for other machines without TLS", "it is an error of Listen, and no input",
		"TestListenRefusesOpenAddresses"},
	23: {"files with credentials or rules", "none are read; an Authorize that fails refuses",
		"TestAuthorizeFails"},
	25: {"compression", "there is none", ""},
	28: {"what permissions forbid, by every way", "it takes a bus with permissions",
		"TestPropertyPermissions"},
	35: {"a cut in a resume, over and over", "it takes virtual time",
		"TestResumeCutAfterEveryByte"},
	57: {"no descriptors are left", "it concerns the whole process",
		"TestOutOfDescriptors"},
	58: {"sockets' paths and directories", "they are given by the user", "TestPathLength " +
		"TestStaleSocketIsReplaced TestLiveListenerIsNotReplaced TestOtherFilesAreNotReplaced"},
	60: {"a peer that is stopped", "it takes a process", "TestStoppedEndpoint TestStoppedBus"},
	61: {"a wall clock that jumps", "no decision looks at it: times are differences that Go " +
		"measures by the monotonic clock", ""},
}

// Everything that may be thrown, at a bus and at an endpoint, over every transport.
func TestBadInputs(t *testing.T) {
	for place, v := range strangersVenues {
		for _, against := range []string{"bus", "endpoint"} {
			t.Run(v.name+"/"+against, func(t *testing.T) {
				a := newArena(t, &v)
				thrown, most := 0, int64(0)
				for i, r := range rows() {
					if r.only != "" && r.only != against || r.over != "" && r.over != v.name {
						continue
					}
					if r.content && scale() == 1 && i%len(strangersVenues) != place {
						continue // in the short form what is read is read by one way
					}
					name := fmt.Sprintf("B%02d %s", r.number, r.throws)
					t.Run(name, func(t *testing.T) { most = max(most, a.try(t, against, &r)) })
					thrown++
				}
				if what := a.left(true); what != "" {
					t.Errorf("there are %s", what)
				}
				t.Logf("%d rows; at most %d KiB more in use than before", thrown, most>>10)
			})
		}
	}
}

const mebibyte = 1 << 20

// try throws one row, and returns how much more memory is in use than before the first.
func (a *arena) try(t *testing.T, against string, r *row) (took int64) {
	outer := a.TB
	a.TB = t
	defer func() { a.TB = outer }()
	t.Cleanup(func() {
		for x := range a.begun {
			if t.Failed() {
				x.over() // it was left
			}
			x.cancel()
			delete(a.begun, x)
		}
	})
	if a.routines == 0 {
		a.settle() // here, where the goroutine of the row counts
	}
	a.hurries.Store(r.hurry)
	x := a.begin(against, r.at)
	r.throw(x)
	ends := r.ends
	if against == "endpoint" && r.endpointEnds != nil {
		ends = r.endpointEnds
	}
	if ends != nil {
		err := x.end()
		if ends == errInOrder && (err == nil || errors.Is(err, fouled)) {
			ends = err // whether it ends before the mistake is seen is a matter of luck
		}
		if ends == errInOrder {
			ends = lahja.ErrClosed
		}
		if !errors.Is(err, ends) {
			t.Errorf("it ends with %v, and not %q", err, ends)
		} else if err != nil && len(err.Error()) > 1024 {
			t.Errorf("it ends with an error of %d bytes", len(err.Error()))
		}
	} else if r.at == open {
		x.alive()
	}
	took = a.weigh()
	x.over()
	a.undisturbed()
	if what := a.left(false); what != "" {
		t.Errorf("there are %s", what)
	}
	if took > mebibyte {
		t.Errorf("there are %d bytes more in use than before the first row", took)
	}
	return took
}

// Each number of the catalogue has a row, or a reason why it has none and a test that exists.
func TestBadInputsAreComplete(t *testing.T) {
	const last = 62
	have := map[int]bool{}
	for _, r := range rows() {
		have[r.number] = true
		if _, twice := elsewhereShown[r.number]; twice || r.throws == "" {
			t.Errorf("B%02d has rows, and a reason why it has none", r.number)
		}
	}
	for n := 1; n <= last; n++ {
		_, shown := elsewhereShown[n]
		if !have[n] && !shown {
			t.Errorf("B%02d is missing", n)
		}
	}
	tests := testNames(t)
	for n, other := range elsewhereShown {
		for name := range strings.FieldsSeq(other.tests) {
			if !tests[name] {
				t.Errorf("B%02d: there is no test %s", n, name)
			}
		}
	}
}

// errInOrder is how a connection ends that was parted from.
var errInOrder = errors.New("in order")

// The errors of a connection.
const (
	fouled  = lahja.ErrProtocol
	severed = lahja.ErrSessionLost
)
