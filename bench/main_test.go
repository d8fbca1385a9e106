package main

import (
	"testing"

	"github.com/lahja-go/lahja/internal/leak"
)

// TestMain fails if the tests leave a goroutine behind.
func TestMain(m *testing.M) { leak.Main(m) }
