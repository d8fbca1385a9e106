package lahja_test

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// published are the packages that users and their tests import.
var published = []string{".", "lahjatest", "transports/faulty", "transports/memory",
	"transports/pipe", "transports/tcp", "transports/transporttest", "transports/unix"}

// parsed returns the files of a directory, those of tests or the others.
func parsed(t *testing.T, dir string, tests bool) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") != tests {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// calls returns the functions that files export, with the name of the package before theirs, and
// the methods, and those among all that they export which have no documentation.
func calls(files []*ast.File) (names, undocumented []string) {
	note := func(name string, text *ast.CommentGroup) {
		if text == nil {
			undocumented = append(undocumented, name)
		}
	}
	for _, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || exportedType(d.Recv.List[0].Type)) {
					name := d.Name.Name
					if d.Recv == nil {
						name = f.Name.Name + "." + name
					}
					names = append(names, name)
					note(d.Name.Name, d.Doc)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() {
							note(s.Name.Name, either(s.Doc, d.Doc))
						}
					case *ast.ValueSpec:
						if s.Names[0].IsExported() {
							note(s.Names[0].Name, either(s.Doc, either(s.Comment, d.Doc)))
						}
					}
				}
			}
		}
	}
	return names, undocumented
}

func either(a, b *ast.CommentGroup) *ast.CommentGroup {
	if a != nil {
		return a
	}
	return b
}

func exportedType(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.StarExpr:
		return exportedType(e.X)
	case *ast.IndexExpr:
		return exportedType(e.X)
	case *ast.Ident:
		return e.IsExported()
	}
	return false
}

// shown are the names that are used by examples whose output is checked, and, as p.F, what is taken
// from a package.
func shown(files []*ast.File) map[string]bool {
	used := map[string]bool{}
	for _, e := range doc.Examples(files...) {
		if e.Output == "" && !e.EmptyOutput {
			continue
		}
		ast.Inspect(e.Code, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				used[n.Name] = true
			case *ast.SelectorExpr:
				if from, ok := n.X.(*ast.Ident); ok {
					used[from.Name+"."+n.Sel.Name] = true
				}
			}
			return true
		})
	}
	return used
}

// unshown are calls that need no example of their own: the methods of a transport, which others
// call, what packages fmt and errors call, and what is called in a child or by TestMain.
var unshown = []string{"Dial", "Accept", "Addr", "Identity", "Read", "Write", "Redials", "String",
	"Error", "Is", "Unwrap", "lahjatest.Main", "transporttest.Main", "pipe.Parent"}

// Every exported name is documented, and each call and option is shown by an example that runs.
func TestDocumentation(t *testing.T) {
	examples := shown(parsed(t, ".", true))
	for _, dir := range published {
		names, undocumented := calls(parsed(t, dir, false))
		if len(undocumented) > 0 {
			t.Errorf("%s: these have no documentation: %v", dir, undocumented)
		}
		local := maps.Clone(examples)
		if dir != "." {
			maps.Copy(local, shown(parsed(t, dir, true)))
		}
		for _, name := range names {
			if !local[name] && !slices.Contains(unshown, name) {
				t.Errorf("%s: no example with checked output shows %s", dir, name)
			}
		}
	}
}

// What the appendix of the guide for migrating numbers has a test that says so, or is named among
// what has no counterpart; and each number has its line.
func TestMigratingNumbers(t *testing.T) {
	text, err := os.ReadFile("docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(text)
	_, rest, found := strings.Cut(guide, "## What has no counterpart")
	without, appendix, both := strings.Cut(rest, "## Appendix")
	if !found || !both {
		t.Fatal("it has no section about what has no counterpart, or no appendix")
	}
	tests := ""
	for _, pattern := range []string{"*_test.go", "examples/*/*_test.go",
		"transports/*/*_test.go"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tests += string(src)
		}
	}
	has := func(where, number string) bool {
		return regexp.MustCompile(`\b` + number + `\b`).MatchString(where)
	}
	for kind, last := range map[string]int{"P": 65, "L": 14} {
		for n := 1; n <= last; n++ {
			number := fmt.Sprintf("%s%d", kind, n)
			if !strings.Contains(appendix, fmt.Sprintf("\n| %s | ", number)) {
				t.Errorf("%s has no line in the appendix", number)
			}
			ranged := kind == "P" && n > 58 && n < 60 // written as a range
			if !has(tests, number) && !has(without, number) && !ranged {
				t.Errorf("%s has no test, and is not said to have no counterpart", number)
			}
		}
	}
}

// What has no documentation, or is not in an example with output, is noticed.
func TestDocumentationChecker(t *testing.T) {
	parse := func(src string) []*ast.File {
		f, err := parser.ParseFile(token.NewFileSet(), "x_test.go", src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		return []*ast.File{f}
	}
	names, undocumented := calls(parse(`package p

type A struct{}

// B is documented.
type B struct{}

func (B) C() {}

// D is, too.
func D() {}

func e() {}

var F, g = 1, 2
`))
	bare := []string{"A", "C", "F"}
	if !slices.Equal(names, []string{"C", "p.D"}) || !slices.Equal(undocumented, bare) {
		t.Errorf("calls %v, undocumented %v", names, undocumented)
	}
	used := shown(parse(`package p

func ExampleC() {
	p.C()
	// Output: c
}

func ExampleD() { D() }
`))
	if !used["C"] || !used["p.C"] || used["D"] {
		t.Errorf("shown are %v", used)
	}
}
