package lahjatest

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/core"
)

// Exchange is a line in the script of [Respond]: the request that is due, and its answer.
type Exchange[Req, Resp any] struct {
	Request  Req           // that is due
	Response Resp          // its answer
	Err      error         // the answer, instead of Response; it arrives as a lahja.RemoteError
	After    time.Duration // how long to wait before the answer; less if the requester gives up
}

// Respond answers the requests of type Req by a script: the first request as its first line says,
// and so on. An unexpected request is answered with an error and fails the test, which goes on, and
// the line that was due still is. The test also fails if it ends before all requests have come. An
// event that is no request is due as one is, and has no answer. Values are compared as by [Expect].
//
// When Respond returns, it is ready to answer. If it cannot subscribe, it ends the test.
func Respond[Req, Resp any](
	tb testing.TB, ep *lahja.Endpoint, script []Exchange[Req, Resp], opts ...lahja.SubscribeOption,
) {
	tb.Helper()
	r := &responder[Req, Resp]{tb: tb, endpoint: ep.Name(), script: script}
	ctx, end := context.WithCancel(core.Finishing(tb.Context()))
	sub, err := lahja.Handle(ctx, ep, r.answer, opts...)
	if err != nil {
		end()
		tb.Fatalf("lahjatest: responding to %v at %q: %v", reflect.TypeFor[Req](), r.endpoint,
			err)
	}
	tb.Cleanup(func() {
		tb.Helper()
		end()
		<-sub.Done()
		r.checkRest()
	})
}

type responder[Req, Resp any] struct {
	tb       testing.TB
	endpoint string
	script   []Exchange[Req, Resp]

	mu   sync.Mutex // guards next
	next int        // the line that is due
}

func (r *responder[Req, Resp]) answer(ctx context.Context, ev lahja.Event[Req]) (Resp, error) {
	var none Resp
	line, err := r.due(ev)
	if err != nil {
		r.tb.Error(err)
		return none, err
	}
	if line.After > 0 {
		select {
		case <-time.After(line.After):
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
	if line.Err != nil {
		return none, line.Err
	}
	return line.Response, nil
}

// due returns the line that the request is in, which is then done.
func (r *responder[Req, Resp]) due(ev lahja.Event[Req]) (Exchange[Req, Resp], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == len(r.script) {
		return Exchange[Req, Resp]{}, fmt.Errorf("%s: all %d were answered, and then came "+
			"another:\n  + %d  %s from %q", r.title(), r.next, r.next, format(ev.Value), ev.Origin)
	}
	line := r.script[r.next]
	if !equal(line.Request, ev.Value) {
		return line, fmt.Errorf("%s: unexpected request (- due, + received):\n%s",
			r.title(), strings.TrimRight(
				compareFrom(r.next, []Req{line.Request}, []lahja.Event[Req]{ev}), "\n"))
	}
	r.next++
	return line, nil
}

// checkRest fails the test if lines are left.
func (r *responder[Req, Resp]) checkRest() {
	r.tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var left []Req
	for _, line := range r.script[r.next:] {
		left = append(left, line.Request)
	}
	if len(left) > 0 {
		r.tb.Errorf("%s: these requests never came (- due):\n%s", r.title(),
			strings.TrimRight(compareFrom(r.next, left, nil), "\n"))
	}
}

func (r *responder[Req, Resp]) title() string {
	return fmt.Sprintf("requests of %s at %q", lahja.EventName[Req](), r.endpoint)
}
