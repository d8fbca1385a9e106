package lahja

import "github.com/lahja-go/lahja/internal/core"

// Broken is an option of a bus whose router is falsified, for tests of tests.
type Broken func(groups []core.Group)

func (f Broken) applyToBus(c *busConfig) {
	c.Break = func(r *core.Route) { f(r.Groups) }
}
