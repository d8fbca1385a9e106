// Package leak fails the tests of a package when they leave a goroutine behind.
package leak

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// patience is how long goroutines may take to end after the last test.
const patience = 5 * time.Second

// Main runs the tests of a package and fails if they leave a goroutine behind. It is called by
// TestMain and does not return. It does not look when a test has failed, which may be why something
// is left, and when it fuzzes, which has goroutines of its own.
func Main(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	if code == 0 && !fuzzing && !settles(before, runtime.NumGoroutine, patience, os.Stderr) {
		code = 1
	}
	os.Exit(code)
}

// settles reports whether there are soon no more goroutines than before, and if not which.
func settles(before int, count func() int, patience time.Duration, w io.Writer) bool {
	if Eventually(patience, func() bool { return count() <= before }) {
		return true
	}
	fmt.Fprintf(w, "FAIL: %d goroutines at the start, %d at the end:\n", before, count())
	pprof.Lookup("goroutine").WriteTo(w, 1)
	return false
}

// Eventually asks until the answer is yes or patience ends. There is no other way to wait for the
// end of a goroutine that does not say so.
func Eventually(patience time.Duration, yes func() bool) bool {
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
