package window

import (
	"context"
	"fmt"
	"testing"
)

// crowd is a pool with so many publishers that have one event outstanding, of which every other is
// elsewhere, and one that waits for more room than there is.
func crowd(b *testing.B, n int) *Pool {
	p := NewPool(int64(n)*10, 0)
	for i := range n {
		if i%2 == 0 {
			p.Open().TryAcquire(10)
		} else {
			p.OpenRemote(func() {}).Arrived(10)
		}
	}
	a := p.Open()
	a.TryAcquire(10)
	ctx, cancel := context.WithCancel(context.Background())
	waited := make(chan error)
	go func() { waited <- a.Acquire(ctx, 1<<40) }()
	b.Cleanup(func() {
		cancel()
		<-waited
	})
	for p.waiting.Load() == 0 {
	}
	return p
}

// A publisher that comes, sends one event and goes costs the same however many are there.
func BenchmarkComeAndGo(b *testing.B) {
	for _, elsewhere := range []bool{false, true} {
		for _, n := range []int{10, 1000, 10_000} {
			b.Run(fmt.Sprintf("elsewhere %v among %d", elsewhere, n), func(b *testing.B) {
				p := crowd(b, n)
				for b.Loop() {
					var a *Account
					if elsewhere {
						a = p.OpenRemote(func() {})
						a.Arrived(10)
					} else {
						a = p.Open()
						a.TryAcquire(10)
					}
					a.Close(errClosed)
					a.Release(10)
				}
			})
		}
	}
}

// So does an event of one that was there.
func BenchmarkEventInACrowd(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := crowd(b, n)
			a := p.OpenRemote(func() {})
			for b.Loop() {
				a.Arrived(10)
				a.Release(10)
			}
		})
	}
}
