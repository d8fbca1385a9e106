package transporttest_test

import (
	"context"
	"flag"
	"fmt"
	"regexp"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/transporttest"
)

// A transport is certified by a test that consists of one call; go test runs it.
func ExampleRun() {
	TestTransport := func(t *testing.T) {
		transporttest.Run(t, memory.New())
	}

	fmt.Println("it keeps all laws:", passes(TestTransport))
	// Output: it keeps all laws: true
}

// Connections that come about in another way than by Listen and Dial are certified alone.
func ExampleRunConn() {
	TestConn := func(t *testing.T) {
		place := memory.New()
		l, err := place.Listen(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		transporttest.RunConn(t, func() (a, b lahja.Conn, err error) {
			if a, err = place.Dial(context.Background()); err != nil {
				return nil, nil, err
			}
			b, err = l.Accept()
			return a, b, err
		})
	}

	fmt.Println("they keep all laws:", passes(TestConn))
	// Output: they keep all laws: true
}

// passes runs a test as go test does, but once, all of it, and without a word if it passes: what
// the flags say is meant for the tests around it.
func passes(test func(*testing.T)) bool {
	for name, value := range map[string]string{
		"test.run": "", "test.skip": "", "test.v": "false", "test.count": "1",
	} {
		f := flag.Lookup(name)
		before := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			panic(err)
		}
		defer f.Value.Set(before)
	}
	return testing.RunTests(regexp.MatchString, []testing.InternalTest{{Name: "Test", F: test}})
}

// The subtests of a test are run, whatever the flags say.
func TestPasses(t *testing.T) {
	ran := false
	if !passes(func(t *testing.T) { t.Run("sub", func(*testing.T) { ran = true }) }) || !ran {
		t.Errorf("a test that passes does not, or its subtest did not run: %v", ran)
	}
}
