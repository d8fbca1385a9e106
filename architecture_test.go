package lahja_test

import (
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var (
	drawnImport   = regexp.MustCompile(`^( +[ │]*)[├└]─ internal/(\w+)`)
	listedImports = regexp.MustCompile(`^\| (\w+) \| ([\w, ]+) \|`)
)

// importsSaid returns the imports that the text of docs/architecture.md says there are, as "from
// to": those of its drawing, and those of the table below it.
func importsSaid(text string) map[string]bool {
	type room struct {
		column int
		name   string
	}
	edges := map[string]bool{}
	above := []room{{-1, "lahja"}}
	for line := range strings.Lines(text) {
		if m := drawnImport.FindStringSubmatch(line); m != nil {
			column := utf8.RuneCountInString(m[1])
			for above[len(above)-1].column >= column {
				above = above[:len(above)-1]
			}
			edges[above[len(above)-1].name+" "+m[2]] = true
			above = append(above, room{column, m[2]})
		}
		if m := listedImports.FindStringSubmatch(line); m != nil {
			for to := range strings.SplitSeq(m[2], ", ") {
				edges[m[1]+" "+to] = true
			}
		}
	}
	return edges
}

// importsFound returns the imports there are, of the root, of what is within and of what is around.
// That what is around imports the root and its other parts is said of all and not counted.
func importsFound(t *testing.T) map[string]bool {
	const module = "github.com/lahja-go/lahja"
	edges := map[string]bool{}
	list := command(t, ".", "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`,
		".", "./internal/...", "./transports/...", "./lahjatest")
	for line := range strings.Lines(list) {
		paths := strings.Fields(line)
		for _, to := range paths[1:] {
			if strings.HasPrefix(to, module+"/internal/") {
				edges[path.Base(paths[0])+" "+path.Base(to)] = true
			}
		}
	}
	return edges
}

// The page on architecture says which package imports which: all of it, and nothing else.
func TestArchitectureHasEveryImport(t *testing.T) {
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	said, found := importsSaid(string(text)), importsFound(t)
	for _, edge := range slices.Sorted(maps.Keys(found)) {
		if !said[edge] {
			t.Errorf("docs/architecture.md does not say that this imports that: %s", edge)
		}
	}
	for _, edge := range slices.Sorted(maps.Keys(said)) {
		if !found[edge] {
			t.Errorf("docs/architecture.md says that this imports that, and it does not: %s", edge)
		}
	}
}

func TestArchitectureChecker(t *testing.T) {
	got := importsSaid(`
    root        lahja
                  ├─ internal/a        words
                  └─ internal/b
                       │               more words
                       ├─ internal/c
                       │     └─ internal/d
                       └─ internal/e

| | imports as well | for |
| --- | --- | --- |
| c | a, e | this and that |
`)
	want := []string{"b c", "b e", "c a", "c d", "c e", "lahja a", "lahja b"}
	if edges := slices.Sorted(maps.Keys(got)); !slices.Equal(edges, want) {
		t.Errorf("it reads %q; want %q", edges, want)
	}
}
