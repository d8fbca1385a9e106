package wire_test

import (
	"testing"

	"github.com/lahja-go/lahja/internal/leak"
)

// TestMain fails if the tests leave a goroutine behind: the package promises to start none.
func TestMain(m *testing.M) { leak.Main(m) }
