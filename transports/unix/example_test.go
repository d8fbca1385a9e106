//go:build unix

package unix_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/unix"
)

func ExampleNew() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bus") // short: the path of a socket has few bytes
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	place := unix.New(filepath.Join(dir, "socket"))

	bus := lahja.NewBus()
	defer bus.Close()
	l, err := place.Listen(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	go bus.ServeListener(ctx, l)

	ep, err := lahja.Connect(ctx, "ui", place) // in another process
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ep.Close()
	fmt.Println(ep.Name())
	// Output: ui
}

// A bus that also a user with the number 4242 may attach to.
func ExampleAllowUsers() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	place := unix.New(filepath.Join(dir, "socket"), unix.AllowUsers(4242))

	bus := lahja.NewBus()
	defer bus.Close()
	l, err := place.Listen(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	go bus.ServeListener(ctx, l)

	ep, err := lahja.Connect(ctx, "ui", place) // one's own user may as well
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ep.Close()
	fmt.Println(ep.Name())
	// Output: ui
}
