package codec

import (
	"runtime/debug"
	"testing"
)

func TestPathOfMain(t *testing.T) {
	const files = "command-line-arguments"
	own := &debug.Module{Path: "example.com/app", Version: "(devel)"}
	other := &debug.Module{Path: "example.com/other", Version: "(devel)"}
	released := &debug.Module{Path: "example.com/released", Version: "v1.0.0"}
	replaced := &debug.Module{Path: "example.com/replaced", Version: "(devel)", Replace: other}
	for _, c := range []struct {
		what string
		info debug.BuildInfo
		want string
	}{
		{"a package",
			debug.BuildInfo{Path: "example.com/app/cmd", Main: *own}, "example.com/app/cmd"},
		{"files", debug.BuildInfo{Path: files, Main: *own}, "example.com/app"},
		{"files that import a package of their module",
			debug.BuildInfo{Path: files, Deps: []*debug.Module{released, own, replaced}},
			"example.com/app"},
		{"files that import none",
			debug.BuildInfo{Path: files, Deps: []*debug.Module{released}}, "main"},
		{"files in a workspace",
			debug.BuildInfo{Path: files, Deps: []*debug.Module{own, other}}, "main"},
		{"another build tool", debug.BuildInfo{}, "main"},
	} {
		if got := pathOfMain(&c.info); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

func TestArgPaths(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"T", "T"},
		{"T[int]", "T[int]"},
		{"T[main.A]", "T[m/app.A]"},
		{"T[main.A,main.B]", "T[m/app.A,m/app.B]"},
		{"T[map[main.A]*main.B]", "T[map[m/app.A]*m/app.B]"},
		{"T[[]main.A]", "T[[]m/app.A]"},
		{"T[x.com/main.A]", "T[x.com/main.A]"},
		{"T[x/domain.A]", "T[x/domain.A]"},
		{"T[x/lib%2ev2.A]", "T[x/lib.v2.A]"},
		{"T[50%]", "T[50%]"},
		{`T[struct { A main.A "x:\" main.A%2e\"" }]`, `T[struct { A m/app.A "x:\" main.A%2e\"" }]`},
		{`T["]`, `T["]`},
	} {
		if got := argPaths(c.name, "m/app"); got != c.want {
			t.Errorf("%s becomes %s, want %s", c.name, got, c.want)
		}
	}
}
