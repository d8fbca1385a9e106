package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/lahja-go/lahja/examples/internal/role"
)

// printer prints each file's line once those of the files before it are printed.
type printer struct {
	files    []string
	digests  []*Digest // nil: not there yet
	next     int       // the file whose line is printed next
	done     int       // how many digests are there
	failed   int       // files and directories that could not be read
	out      *bufio.Writer
	progress bool // is shown
}

func newPrinter(files []string, failed int) *printer {
	return &printer{
		files: files, digests: make([]*Digest, len(files)), failed: failed,
		out: bufio.NewWriter(os.Stdout), progress: isTerminal(os.Stderr),
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// add takes a file's digest. It fails when nothing can be printed any more.
func (p *printer) add(file int, digest Digest) error {
	p.digests[file] = &digest
	p.done++
	if p.next == file {
		p.clear() // stdout may be the same terminal
	}
	for ; p.next < len(p.files) && p.digests[p.next] != nil; p.next++ {
		p.print(p.files[p.next], p.digests[p.next])
	}
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("printing the digests: %w", err)
	}
	if p.progress && p.done < len(p.files) {
		fmt.Fprintf(os.Stderr, "\r%d of %d files", p.done, len(p.files))
	}
	return nil
}

func (p *printer) print(path string, digest *Digest) {
	if digest.Failure != "" {
		p.failed++
		p.complain(fmt.Errorf("%s: %s", printable(path), digest.Failure))
		return
	}
	p.out.WriteString(line(digest.SHA256, path)) // Flush says if this has failed
}

func (p *printer) complain(err error) {
	p.clear()
	role.Say(err)
}

// clear takes the progress away, before something else is written.
func (p *printer) clear() {
	if p.progress {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
