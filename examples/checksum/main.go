// Checksum prints what sha256sum prints of the regular files in and below a directory, sorted by
// path. Worker processes share the work.
//
//	go run ./examples/checksum [-workers N] [-transport pipe|unix|tcp|memory] [-v] DIR
//
// Each worker sums one file at a time and has the next one waiting. When a worker dies, the files
// that it had are given to the others, so the output is the same. No new ones are started: a file
// that kills whoever reads it would kill those too. When all have died, the program says so and
// ends with status 1, as it does when a file cannot be read.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/examples/internal/role"
)

var (
	workers = flag.Int("workers", runtime.NumCPU(), "how many worker processes to start")
	verbose = flag.Bool("v", false, "say on stderr which worker does what")
)

// inFlight is how many files a worker has: the one that it sums, and the next.
const inFlight = 2

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: checksum [flags] DIR")
		flag.PrintDefaults()
	}
	role.MainWithArguments(parent, worker)
}

// parent is the process that you start. It has the bus, and hands out the files.
func parent(ctx context.Context) error {
	if flag.NArg() != 1 || *workers < 1 {
		return role.Misuse(
			"usage: checksum [-workers N] [-transport T] [-v] DIR, with N at least 1")
	}
	if info, err := os.Stat(flag.Arg(0)); err != nil {
		return role.Misuse(err.Error() + "; name a directory")
	} else if !info.IsDir() {
		return role.Misuse(flag.Arg(0) + " is not a directory; use sha256sum for a single file")
	}
	files, failed := list(flag.Arg(0))
	bus := lahja.NewBus()
	defer bus.Close()
	ep, err := bus.Endpoint("parent")
	if err != nil {
		return err
	}
	p := &pool{
		bus: bus, ep: ep, files: files,
		todo: make(chan int, len(files)), results: make(chan result),
	}
	return p.run(ctx, newPrinter(files, failed))
}

// pool is the workers and what they have to do. A file is known by its place in files.
type pool struct {
	bus     *lahja.Bus
	ep      *lahja.Endpoint
	files   []string
	todo    chan int    // has room for all files, so that to put one back never waits
	results chan result // closed when no worker is left
}

// result is a file's digest, or the end of a worker.
type result struct {
	file int
	Digest
	gone error
}

// run has the workers sum all files, and prints the digests.
func (p *pool) run(ctx context.Context, out *printer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for i := range p.files {
		p.todo <- i
	}
	go p.employAll(ctx)
	left := len(p.files)
	if left == 0 {
		close(p.todo)
	}
	var broken error
	for r := range p.results {
		if r.gone != nil {
			out.complain(r.gone)
			continue
		}
		if left--; left == 0 {
			close(p.todo) // nobody has one to put back
		}
		if err := out.add(r.file, r.Digest); err != nil {
			broken = err
			stop()
		}
	}
	out.clear()
	switch {
	case broken != nil:
		return broken
	case left > 0 && ctx.Err() != nil:
		return fmt.Errorf("interrupted: %d of %d files are not done", left, len(p.files))
	case left > 0:
		return fmt.Errorf("all workers have died: %d of %d files are not done; start it again, "+
			"with -v to see which file each had", left, len(p.files))
	case out.failed > 0:
		return fmt.Errorf("what could not be read: %d", out.failed)
	}
	return nil
}

// employAll runs the workers, and closes results when none is left.
func (p *pool) employAll(ctx context.Context) {
	defer close(p.results)
	var all errgroup.Group
	for i := range min(*workers, len(p.files)) {
		all.Go(func() error {
			err := p.employ(ctx, fmt.Sprintf("worker-%d", i+1))
			if err != nil && ctx.Err() == nil {
				p.results <- result{gone: fmt.Errorf("a worker is lost, others do its files: %w",
					err)}
			}
			return nil
		})
	}
	all.Wait()
}

// employ runs the worker of that name until all is done, and then ends it. It fails when the
// worker ends by itself.
func (p *pool) employ(ctx context.Context, name string) error {
	ctx, dismiss := context.WithCancel(ctx)
	var process errgroup.Group
	process.Go(func() error {
		defer dismiss() // nobody waits for a worker that has ended
		return role.Run(ctx, p.bus, name, worker)
	})
	err := p.ep.WaitUntil(ctx, lahja.SubscribedBy[Sum](name))
	if err == nil {
		var feeding errgroup.Group
		for range inFlight {
			feeding.Go(func() error { return p.feed(ctx, name) })
		}
		err = feeding.Wait()
	}
	dismiss()
	if died := process.Wait(); died != nil {
		return died // says more than that a request has failed
	}
	return err
}

// feed has the worker of that name sum one file after the other.
func (p *pool) feed(ctx context.Context, name string) error {
	for i := range p.todo {
		sum := Sum{Path: []byte(p.files[i])}
		digest, err := lahja.Request[Sum, Digest](ctx, p.ep, sum, lahja.To(name))
		if err != nil {
			p.todo <- i // for another worker
			return fmt.Errorf("%s: %w", name, err)
		}
		p.results <- result{file: i, Digest: digest}
	}
	return nil
}
