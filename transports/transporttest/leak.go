package transporttest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mainPatience is how long goroutines may take to end after the last test.
const mainPatience = 5 * time.Second

// Main runs the tests of a package and fails if they leave a goroutine behind. It is called by
// TestMain and does not return.
func Main(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	settled := func() bool { return runtime.NumGoroutine() <= before }
	if code == 0 && !eventually(mainPatience, settled) {
		fmt.Fprintf(os.Stderr, "FAIL: %d goroutines at the start, %d at the end:\n",
			before, runtime.NumGoroutine())
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

// eventually asks until the answer is yes or patience ends. There is no other way to wait for the
// end of a goroutine that does not say so.
func eventually(patience time.Duration, yes func() bool) bool {
	end := time.After(patience)
	for pause := time.Millisecond; !yes(); pause *= 2 {
		select {
		case <-time.After(pause):
		case <-end:
			return yes()
		}
	}
	return true
}

// leavesNone runs f, closes what it has opened, and breaks the law if then a goroutine is left that
// f or one of its goroutines has started. They are known by a label that goroutines inherit, so
// that others, of tests that run at the same time, do not count.
func (tr *trial) leavesNone(f func()) {
	const key = "transporttest"
	label := strconv.FormatUint(rand.Uint64(), 36)
	pprof.Do(context.Background(), pprof.Labels(key, label), func(context.Context) { f() })
	tr.step("closing everything")
	tr.closeAll()
	if !eventually(tr.patience(), func() bool { return labelled(label) == "" }) {
		tr.failf("goroutines are left after everything was closed:\n%s", labelled(label))
	}
}

// labelled returns the part of the goroutine profile that has the label.
func labelled(label string) string {
	var profile bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&profile, 1)
	var found []string
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(group, label) {
			found = append(found, group)
		}
	}
	return strings.Join(found, "\n\n")
}
