// Command bench does the same work on lahja, on its peers and on the bare conduit, in one run, and
// writes what it has measured as one table and as charts.
//
// Each measurement is made by a process of its own, so that no system meets the heap, the timers
// and the goroutines that another has left. Where work crosses processes, that process starts
// further ones. The measurements of a case are interleaved: each round makes one of each system,
// and ratios are taken within a round.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "work":
			return work(os.Args[2])
		case "child":
			return beChild(os.Args[2])
		}
	}
	scratch, err := os.MkdirTemp("", "lahja-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	os.Setenv("TMPDIR", scratch) // also for the processes that measure, whose sockets are there
	if len(os.Args) > 1 && os.Args[1] == "own" {
		return ownMain(os.Args[2:])
	}
	s := settings{}
	flag.IntVar(&s.rounds, "rounds", 7, "how often each measurement is made")
	flag.DurationVar(&s.target, "time", 300*time.Millisecond, "how long each measurement lasts")
	out := flag.String("out", "", "the directory for the table and the charts; none: only print")
	only := flag.String("run", "", "a regular expression: only cases whose name it matches")
	of := flag.String("of", "", "a regular expression: only rows whose label it matches")
	flag.StringVar(&s.profile, "profile", "", "the directory for CPU profiles; none: no profiles")
	redraw := flag.String("redraw", "", "a results.json: only draw its charts, into -out")
	small := flag.Bool("small", false, "everything once, small: it only has to work")
	flag.Parse()
	if *redraw != "" {
		return drawAgain(*redraw, *out)
	}
	if *small {
		s = settings{rounds: 1, target: 5 * time.Millisecond, small: true}
	}
	chosen, err := choose(cases(s.small), *only, *of)
	if err != nil {
		return err
	}
	tables, err := s.measure(chosen)
	if err != nil {
		return err
	}
	return publish(os.Stdout, *out, tables, s)
}

// choose returns the cases whose name matches, with those of their rows whose label does.
// That there is none is an error: a report of nothing would take the place of one of something.
func choose(all []*benchCase, name, label string) (chosen []*benchCase, err error) {
	names, err := regexp.Compile(name)
	if err != nil {
		return nil, err
	}
	labels, err := regexp.Compile(label)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if names.MatchString(c.Name) {
			c.Rows = slices.DeleteFunc(c.Rows, func(r row) bool {
				return !labels.MatchString(r.Label)
			})
			if len(c.Rows) > 0 {
				chosen = append(chosen, c)
			}
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no case has a name that matches %q and a row that matches %q",
			name, label)
	}
	return chosen, nil
}

// parse reads the JSON that one of our processes gives to another.
func parse[T any](text string) (v T, err error) {
	err = json.Unmarshal([]byte(text), &v)
	return v, err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
