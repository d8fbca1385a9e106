package core

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Those who are there are sorted by name, behind the one that asks.
func TestPropertySortAttached(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := rapid.SliceOfDistinct(rapid.StringN(1, 2, -1), rapid.ID[string]).
			Filter(func(s []string) bool { return len(s) > 0 }).Draw(t, "names")
		self := rapid.SampledFrom(given).Draw(t, "self")
		var all []Attached
		for _, name := range given {
			all = append(all, Attached{Name: name})
		}
		sortAttached(all, self)
		slices.Sort(given)
		given = slices.DeleteFunc(given, func(name string) bool { return name == self })
		for i, name := range append([]string{self}, given...) {
			if all[i].Name != name {
				t.Fatalf("%v is sorted, where %q is due at %d", all, name, i)
			}
		}
	})
}
