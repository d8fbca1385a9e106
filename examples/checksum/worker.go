package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/examples/internal/role"
)

// Sum asks a worker for the digest of a file. The path is bytes, because the name of a file need
// not be UTF-8, and a string has to be.
type Sum struct{ Path []byte }

// Digest is the answer. That a file cannot be read is an answer as well: an error would not tell
// it from a worker that is gone.
type Digest struct {
	SHA256  []byte
	Failure string // why there is none
}

// worker is what a worker process does, until the bus closes; t leads to the bus.
func worker(ctx context.Context, name string, t lahja.Transport) error {
	ep, err := lahja.Connect(ctx, name, t, lahja.Limits{Resume: -1}) // it ends with its bus
	if err != nil {
		return err
	}
	defer ep.Close()
	if *verbose {
		role.Say(fmt.Sprintf("%s is process %d", name, os.Getpid()))
	}
	handler := func(ctx context.Context, ev lahja.Event[Sum]) (Digest, error) {
		if *verbose {
			role.Say(name + " sums " + printable(string(ev.Value.Path)))
		}
		return digest(ctx, string(ev.Value.Path))
	}
	if _, err := lahja.Handle(ctx, ep, handler); err != nil {
		return err
	}
	select {
	case <-ep.Done():
		return ep.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// digest sums a file. It fails only when ctx ends.
func digest(ctx context.Context, path string) (Digest, error) {
	hash := sha256.New()
	err := addFile(ctx, hash, path)
	switch {
	case ctx.Err() != nil:
		return Digest{}, ctx.Err()
	case err != nil:
		return Digest{Failure: reason(err)}, nil
	}
	return Digest{SHA256: hash.Sum(nil)}, nil
}

func addFile(ctx context.Context, hash io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(hash, untilDone{ctx, f})
	return err
}

// untilDone reads until ctx ends, so that nobody sums a large file for a parent that is gone.
type untilDone struct {
	ctx context.Context
	io.Reader
}

func (r untilDone) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
