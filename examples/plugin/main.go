// Plugin is a host of programs that others have written. Each plugin is a process on two pipes, may
// do on the bus only what the host allows, and is restarted when it dies.
//
//	go run ./examples/plugin
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
)

// Line is what plugins are given to change; Changed is the answer.
type (
	Line    struct{ Text string }
	Changed struct{ Text string }
)

// Password is what parts of the host tell each other. It is not for plugins.
type Password struct{ Text string }

var plugin = flag.String("plugin", "", "run as this plugin (default: run the host)")

func main() {
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "plugin: %q: it takes no arguments\n", flag.Args())
		os.Exit(2)
	}
	slog.SetLogLoggerLevel(slog.LevelError) // that a plugin has died, the host itself says
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := host
	if *plugin != "" {
		run = bePlugin
	}
	err := run(ctx)
	if err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) { // not by Ctrl-C
		fmt.Fprintln(os.Stderr, "plugin:", err)
		os.Exit(1)
	}
}

// permit is what the host allows: to answer Line, to those whom it has started itself. What a
// plugin may do beside that, with files for instance, is for the operating system to say.
func permit(_ context.Context, name string, id lahja.Identity) (lahja.Permissions, error) {
	if id.Name != name { // which pipe.As has given it
		return lahja.Permissions{}, fmt.Errorf("%q is no plugin of ours", name)
	}
	return lahja.Permissions{Handle: []string{lahja.EventName[Line]()}}, nil
}

// host has each plugin change some lines.
func host(ctx context.Context) error {
	bus := lahja.NewBus(lahja.Authorize(permit))
	defer bus.Close()
	ep, err := bus.Endpoint("host")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	running, ctx := errgroup.WithContext(ctx)
	names := []string{"upper", "clumsy", "nosy"}
	for _, name := range names {
		running.Go(func() error { return keep(ctx, bus, name) })
	}
	running.Go(func() error {
		defer cancel() // which the plugins are stopped with
		for _, name := range names {
			if err := changeLines(ctx, ep, name, "hello", "banana skin", "good bye"); err != nil {
				return err
			}
		}
		return nil
	})
	return running.Wait()
}

// changeLines has a plugin change lines, and prints them. A plugin that dies of a line is given the
// next one when it is back, and not the same again.
func changeLines(ctx context.Context, ep *lahja.Endpoint, name string, lines ...string) error {
	for _, line := range lines {
		if err := ep.WaitUntil(ctx, lahja.SubscribedBy[Line](name)); err != nil {
			return err
		}
		changed, err := lahja.Request[Line, Changed](ctx, ep, Line{line}, lahja.To(name))
		switch {
		case errors.Is(err, lahja.ErrResponderGone):
			fmt.Printf("%s died of %q\n", name, line)
		case err != nil:
			return err
		default:
			fmt.Printf("%s made of %q: %s\n", name, line, changed.Text)
		}
	}
	return nil
}

// A plugin that dies is started again after a pause, so many times.
const (
	restarts = 3
	pause    = 50 * time.Millisecond
)

// keep runs a plugin until ctx ends, which is no error.
func keep(ctx context.Context, bus *lahja.Bus, name string) error {
	for deaths := 0; ; {
		cmd := exec.Command(os.Args[0], "-plugin", name)
		cmd.Stderr = os.Stderr
		child, err := pipe.Spawn(ctx, bus, cmd, pipe.As(name))
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-child.Done():
		case <-ctx.Done():
			return child.Stop(context.Background())
		}
		if deaths++; deaths > restarts {
			return fmt.Errorf("died %d times and is not started again: %w", deaths, child.Err())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// bePlugin is the process of a plugin. It lives for as long as its endpoint.
func bePlugin(ctx context.Context) error {
	change, known := plugins[*plugin]
	if !known {
		return fmt.Errorf("there is no plugin %q", *plugin)
	}
	signal.Ignore(os.Interrupt) // a terminal sends it to all processes; the host stops its plugins
	ep, err := lahja.Connect(ctx, *plugin, pipe.Parent())
	if err != nil {
		return err
	}
	defer ep.Close()
	return serve(context.Background(), ep, change)
}

// serve answers lines with what change makes of them, until the endpoint or ctx ends.
func serve(ctx context.Context, ep *lahja.Endpoint, change changer) error {
	handler := func(ctx context.Context, ev lahja.Event[Line]) (Changed, error) {
		text, err := change(ctx, ep, ev.Value.Text)
		return Changed{text}, err
	}
	if _, err := lahja.Handle(ctx, ep, handler); err != nil {
		return err
	}
	select {
	case <-ep.Done():
	case <-ctx.Done():
	}
	return nil
}

// changer is what a plugin does with a line.
type changer func(ctx context.Context, ep *lahja.Endpoint, text string) (string, error)

// plugins are in this program, so that it is one file. They could be written by anybody.
var plugins = map[string]changer{"upper": upper, "clumsy": clumsy, "nosy": nosy}

func upper(_ context.Context, _ *lahja.Endpoint, text string) (string, error) {
	return strings.ToUpper(text), nil
}

// clumsy has a fault.
func clumsy(_ context.Context, _ *lahja.Endpoint, text string) (string, error) {
	if strings.Contains(text, "banana") {
		os.Exit(2)
	}
	return text + ", oops", nil
}

// nosy tries what it may not do.
func nosy(ctx context.Context, ep *lahja.Endpoint, text string) (string, error) {
	password, err := lahja.WaitFor[Password](ctx, ep)
	if errors.Is(err, lahja.ErrDenied) {
		return "nothing, for it may not hear passwords", nil
	}
	return password.Value.Text, err
}
