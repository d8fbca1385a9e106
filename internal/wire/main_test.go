package wire_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain fails if a test has left a goroutine: the package promises to start none. One that is
// about to end is given the time, and fuzzing has goroutines of its own.
func TestMain(m *testing.M) {
	code := m.Run()
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	for end := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > 1; runtime.Gosched() {
		if code != 0 || fuzzing {
			break
		}
		if time.Now().After(end) {
			stacks := make([]byte, 64<<10)
			fmt.Printf("goroutines are left:\n%s\n", stacks[:runtime.Stack(stacks, true)])
			os.Exit(1)
		}
	}
	os.Exit(code)
}
