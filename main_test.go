package lahja_test

import (
	"testing"

	"github.com/lahja-go/lahja/transports/transporttest"
)

// TestMain fails if the tests leave a goroutine behind.
func TestMain(m *testing.M) { transporttest.Main(m) }
