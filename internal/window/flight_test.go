package window

import "testing"

// A Flight settles when its last holder lets go of it, and not before.
func TestFlight(t *testing.T) {
	p := NewPool(10, 0)
	a := p.Open()
	a.add(7)
	f := NewFlight(a, Item{Size: 7, Slot: 3, Prompt: a.Prompt()})
	f.Hold()
	f.Drop()
	if a.Used() != 7 || f.Slot != 3 {
		t.Fatalf("used is %d, the slot %d", a.Used(), f.Slot)
	}
	f.Drop()
	(*Flight)(nil).Drop()
	if !a.Idle() {
		t.Fatalf("used is %d", a.Used())
	}
}
