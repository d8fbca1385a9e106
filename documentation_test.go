package lahja_test

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
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

// calls returns the functions and methods that files export, by the names that their examples have,
// and those among all that they export which have no documentation.
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
				if name := exampleOf(d); name != "" {
					names = append(names, name)
					note(name, d.Doc)
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

// exampleOf returns what follows Example in the name of an example of d; nothing: it is not
// exported.
func exampleOf(d *ast.FuncDecl) string {
	if !d.Name.IsExported() {
		return ""
	}
	if d.Recv == nil {
		return d.Name.Name
	}
	on := d.Recv.List[0].Type
	if star, ok := on.(*ast.StarExpr); ok {
		on = star.X
	}
	if generic, ok := on.(*ast.IndexExpr); ok {
		on = generic.X
	}
	if name := on.(*ast.Ident); name.IsExported() {
		return name.Name + "_" + d.Name.Name
	}
	return ""
}

// shown are the calls that have an example whose output is checked: their documentation shows it.
func shown(files []*ast.File) map[string]bool {
	names := map[string]bool{}
	for _, e := range doc.Examples(files...) {
		if e.Output != "" || e.EmptyOutput {
			names[e.Name] = true
		}
	}
	return names
}

// unshown are calls that need no example of their own: the methods of a transport, which package
// lahja calls, what packages fmt and errors call, what is called in a child or by TestMain, and
// what is in the example of a call that makes no sense without it.
var unshown = map[string]bool{
	"Transport_Dial": true, "Transport_Listen": true, "Transport_Redials": true,
	"Transport_String": true, "Direction_String": true, "Ending_String": true, "Fault_String": true,
	"Parent": true, "Main": true, "Child_Name": true, "Child_PID": true, "Child_Done": true,
	"Transport_Resume": true, "Transport_Stats": true,
}

// Every exported name is documented, and each call and option has an example that runs.
func TestDocumentation(t *testing.T) {
	for _, dir := range published {
		names, undocumented := calls(parsed(t, dir, false))
		if len(undocumented) > 0 {
			t.Errorf("%s: these have no documentation: %v", dir, undocumented)
		}
		examples := shown(parsed(t, dir, true))
		for _, name := range names {
			if !examples[name] && !unshown[name] {
				t.Errorf("%s: no Example%s with checked output", dir, name)
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

func (i) E() {}

// H is documented as well.
func (*G[T]) H() {}

var F, g = 1, 2
`))
	bare := []string{"A", "B_C", "F"}
	if !slices.Equal(names, []string{"B_C", "D", "G_H"}) || !slices.Equal(undocumented, bare) {
		t.Errorf("calls %v, undocumented %v", names, undocumented)
	}
	used := shown(parse(`package p

func ExampleB_C() {
	p.C()
	// Output: c
}

func ExampleD() { D() }
`))
	if !used["B_C"] || used["D"] || used["C"] {
		t.Errorf("shown are %v", used)
	}
}
