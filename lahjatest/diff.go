package lahjatest

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/lahja-go/lahja"
)

const (
	maxTable  = 1 << 20 // cells of the table by which lists are aligned; longer ones are not
	maxFields = 10      // differences that are shown of a pair of values
	around    = 2       // events that are shown before and after what differs
	maxLines  = 100     // of a comparison, beside what explains them
)

// step is a line of a comparison: what both lists have, what was wanted alone, or what came alone.
type step struct {
	mark      byte // ' ', '-', '+'
	want, got int  // indices
}

// compare shows where the events that came differ from the values that were wanted.
func compare[T any](want []T, got []lahja.Event[T]) string { return compareFrom(0, want, got) }

// compareFrom is compare for lists whose first element has this number.
func compareFrom[T any](first int, want []T, got []lahja.Event[T]) string {
	steps := align(len(want), len(got), func(i, j int) bool { return equal(want[i], got[j].Value) })
	var out strings.Builder
	shown := nearby(steps)
	for i, lines := 0, 0; i < len(steps); i, lines = i+1, lines+1 {
		s := steps[i]
		switch {
		case lines == maxLines:
			fmt.Fprintf(&out, "    … and %d more\n", len(steps)-i)
			return out.String()
		case !shown[i]:
			from := i
			for i+1 < len(steps) && !shown[i+1] {
				i++
			}
			fmt.Fprintf(&out, "    … %d as expected\n", i+1-from)
		case s.mark == '-':
			fmt.Fprintf(&out, "  - %d  %s\n", first+s.want, format(want[s.want]))
		default:
			ev := got[s.got]
			fmt.Fprintf(&out, "  %c %d  %s from %q%s\n", s.mark, first+s.got, format(ev.Value),
				ev.Origin, notes(ev))
		}
		if i > 0 && s.mark == '+' && steps[i-1].mark == '-' {
			out.WriteString(fields(want[steps[i-1].want], got[s.got].Value))
		}
	}
	return out.String()
}

// notes is what an event says of itself beside its value.
func notes[T any](ev lahja.Event[T]) (text string) {
	if ev.Key != "" {
		text += fmt.Sprintf(", key %q", ev.Key)
	}
	if ev.Missed > 0 {
		text += fmt.Sprintf(", %d missed", ev.Missed)
	}
	if ev.Gone {
		text += ", gone"
	}
	return text
}

// nearby tells which steps are shown: what differs, and what is next to that.
func nearby(steps []step) []bool {
	shown := make([]bool, len(steps))
	for i, s := range steps {
		if s.mark == ' ' {
			continue
		}
		for j := max(0, i-around); j <= min(len(steps)-1, i+around); j++ {
			shown[j] = true
		}
	}
	return shown
}

// align finds the least difference of two lists. Elements that were replaced by others come in
// pairs, what was wanted before what came.
func align(want, got int, same func(i, j int) bool) []step {
	begin := 0
	for begin < min(want, got) && same(begin, begin) {
		begin++
	}
	var steps []step
	for i := range begin {
		steps = append(steps, step{' ', i, i})
	}
	length := func(int, int) int { return 0 }
	if (want-begin+1)*(got-begin+1) <= maxTable {
		length = common(begin, want, got, same)
	}
	var gone, came []step
	flush := func() {
		for len(gone) > 0 || len(came) > 0 {
			if len(gone) > 0 {
				steps, gone = append(steps, gone[0]), gone[1:]
			}
			if len(came) > 0 {
				steps, came = append(steps, came[0]), came[1:]
			}
		}
	}
	i, j := begin, begin
	for i < want || j < got {
		switch {
		case i < want && j < got && same(i, j):
			flush()
			steps = append(steps, step{' ', i, j})
			i, j = i+1, j+1
		case j == got || i < want && length(i+1, j) >= length(i, j+1):
			gone = append(gone, step{'-', i, j})
			i++
		default:
			came = append(came, step{'+', i, j})
			j++
		}
	}
	flush()
	return steps
}

// common returns the length of the longest common subsequence of what follows i and j.
func common(begin, want, got int, same func(i, j int) bool) func(i, j int) int {
	width := got - begin + 1
	table := make([]int, (want-begin+1)*width)
	at := func(i, j int) int { return (i-begin)*width + j - begin }
	for i := want - 1; i >= begin; i-- {
		for j := got - 1; j >= begin; j-- {
			if same(i, j) {
				table[at(i, j)] = table[at(i+1, j+1)] + 1
			} else {
				table[at(i, j)] = max(table[at(i+1, j)], table[at(i, j+1)])
			}
		}
	}
	return func(i, j int) int { return table[at(i, j)] }
}

// fields shows in which parts two values differ, unless that is the whole and can be seen.
func fields(want, got any) string {
	var out strings.Builder
	n := 0
	report := func(path string, show func() (w, g string)) {
		if path == "" && format(want) == format(got) {
			path = "it"
		}
		if n++; path != "" && n <= maxFields {
			w, g := show()
			fmt.Fprintf(&out, "         %s: expected %s, received %s\n", path, w, g)
		}
	}
	differences(reflect.ValueOf(want), reflect.ValueOf(got), "", report)
	if n > maxFields {
		fmt.Fprintf(&out, "         … and %d more\n", n-maxFields)
	}
	return out.String()
}
