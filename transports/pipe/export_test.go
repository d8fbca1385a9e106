package pipe

import "github.com/lahja-go/lahja"

// IdentityOf is what the bus knows of a child.
func IdentityOf(c *Child) lahja.Identity { return c.conn.Identity() }

// TokenOf is what the child has to say first.
func TokenOf(c *Child) []byte { return c.token() }
