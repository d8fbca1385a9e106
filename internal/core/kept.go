package core

import (
	"context"
	"sync"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// kept is what was retained of a topic: on the bus of every endpoint, elsewhere what the endpoint
// retained itself. Its lock is held while a retained event is stored and handed over, and while a
// subscription that wants what is kept is added: so the subscription gets each event exactly once,
// either from here or as it is broadcast. It comes before all other locks.
type kept struct {
	mu      sync.Mutex // guards what follows
	origins map[string]*keptBy
}

type keptBy struct {
	id    uint64
	bytes int64
	keys  map[string]*keptEvent
	order []string // the keys, in the order of their first events
}

type keptEvent struct {
	body Body
	size int64
}

// reserveLocked fails when an event of that size cannot be kept. It counts at once what that takes,
// for events of other types may be about to be kept as well.
func (k *kept) reserveLocked(d *Delivery, size int64) (reserved int64, err error) {
	by := k.origins[d.Origin]
	keys, bytes, more := 1, size, size
	if by != nil && by.id == d.originID {
		keys, bytes = len(by.keys)+1, by.bytes+size
		if old := by.keys[d.Key]; old != nil {
			keys--
			bytes -= old.size
			more -= old.size
		}
	}
	cfg := d.Topic.node.config()
	if keys > cfg.RetainedKeys || bytes > cfg.RetainedType {
		return 0, fault.Errorf(fault.TooLarge,
			"endpoint %q would have %d keys and %d bytes of %s retained, where %d and %d are "+
				"allowed; Forget what is out of date", d.Origin, keys, bytes, d.Topic.Name,
			cfg.RetainedKeys, cfg.RetainedType)
	}
	if all, ok := d.Topic.node.kept.reserve(d.originID, more, cfg.Retained); !ok {
		return 0, fault.Errorf(fault.TooLarge,
			"endpoint %q would have %d bytes of all events retained, where %d are allowed; "+
				"Forget what is out of date", d.Origin, all, cfg.Retained)
	}
	return max(0, more), nil
}

// keptSizes is how many bytes of all events are kept for each endpoint, by its number.
type keptSizes struct {
	mu    sync.Mutex // guards what follows
	bytes map[uint64]int64
}

// reserve adds bytes, unless all would be more than limit then. What becomes less does so only when
// it is kept: the bus is told of that before it is of what takes its place.
func (k *keptSizes) reserve(id uint64, bytes, limit int64) (all int64, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if all = k.bytes[id] + bytes; all > limit {
		return all, false
	}
	k.addLocked(id, max(0, bytes))
	return all, true
}

func (k *keptSizes) add(id uint64, bytes int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.addLocked(id, bytes)
}

func (k *keptSizes) addLocked(id uint64, bytes int64) {
	if k.bytes == nil {
		k.bytes = map[uint64]int64{}
	}
	if k.bytes[id] += bytes; k.bytes[id] == 0 {
		delete(k.bytes, id)
	}
}

// putLocked keeps an event as the latest of its origin and key, for which so much was reserved.
// What a predecessor of that name has left ends before: its own end may still be under way.
func (k *kept) putLocked(d *Delivery, body Body, size, reserved int64) {
	if by := k.origins[d.Origin]; by != nil && by.id != d.originID {
		d.Topic.endAllLocked(d.Origin, by)
	}
	if k.origins == nil {
		k.origins = map[string]*keptBy{}
	}
	by := k.origins[d.Origin]
	if by == nil {
		by = &keptBy{id: d.originID, keys: map[string]*keptEvent{}}
		k.origins[d.Origin] = by
	}
	more := size
	if old := by.keys[d.Key]; old != nil {
		more -= old.size
	} else {
		by.order = append(by.order, d.Key)
	}
	by.bytes += more
	d.Topic.node.kept.add(d.originID, more-reserved)
	by.keys[d.Key] = &keptEvent{body, size}
}

// removeLocked forgets what is kept under a key; false: nothing is.
func (k *kept) removeLocked(n *Node, origin, key string) bool {
	by := k.origins[origin]
	if by == nil || by.keys[key] == nil {
		return false
	}
	by.bytes -= by.keys[key].size
	n.kept.add(by.id, -by.keys[key].size)
	delete(by.keys, key)
	for i := range by.order {
		if by.order[i] == key {
			by.order = append(by.order[:i], by.order[i+1:]...)
			break
		}
	}
	if len(by.keys) == 0 {
		delete(k.origins, origin)
	}
	return true
}

// replayLocked offers what is kept to one subscription, by push; not is an origin to leave out.
func (k *kept) replayLocked(t *Topic, not string, push func(*Delivery, Body, int64)) {
	for origin, by := range k.origins {
		if origin == not {
			continue
		}
		for _, key := range by.order {
			e := by.keys[key]
			d := Delivery{Topic: t, Origin: origin, originID: by.id, Key: key}
			push(&d, e.body, e.size)
		}
	}
}

// noOwner settles what nobody waits for.
type noOwner struct{}

// Settle implements [window.Settler].
func (noOwner) Settle(*window.Flight) {}

// uncounted is the size of what was kept on its way to a subscription that has just begun. All of
// it comes at once, and bounded by what may be kept: it does not mean that the subscription lags.
const uncounted = 1

// pushOwn hands an event that no publisher is held up by to one subscription of this process.
func pushOwn(s *Sub, d *Delivery, body Body, size int64) {
	d.Flight = window.NewFlight(noOwner{}, window.Item{Size: size})
	if d.For(s) {
		body.Push(s, d)
	}
	d.Flight.Drop()
}

// end tells those who want what is kept that the value under origin and key has ended.
func (t *Topic) end(origin string, id uint64, key string) {
	d := Delivery{Topic: t, Origin: origin, originID: id, Key: key}
	r := t.Route()
	for _, g := range r.Groups {
		for _, s := range g.Subs {
			if s.Spec.Retained {
				pushOwn(s, &d, gone{}, window.Overhead)
			}
		}
	}
	d.Flight = nil
	for _, p := range r.retained {
		if p.peer.party.Name != origin { // that endpoint's node has told its own
			p.offer(&d, gone{}, window.Overhead, wire.FlagGone)
		}
	}
}

// forget ends what an endpoint retained under a key.
func (t *Topic) forget(origin string, id uint64, key string) {
	t.kept.mu.Lock()
	defer t.kept.mu.Unlock()
	if t.kept.removeLocked(t.node, origin, key) {
		t.end(origin, id, key)
	}
}

// forgetAll ends all that an endpoint retained; false: there was nothing. One that has its name by
// now keeps its own.
func (t *Topic) forgetAll(origin string, id uint64) bool {
	t.kept.mu.Lock()
	defer t.kept.mu.Unlock()
	by := t.kept.origins[origin]
	if by == nil || by.id != id {
		return false
	}
	t.endAllLocked(origin, by)
	return true
}

func (t *Topic) endAllLocked(origin string, by *keptBy) {
	delete(t.kept.origins, origin)
	t.node.kept.add(by.id, -by.bytes)
	for _, key := range by.order {
		t.end(origin, by.id, key)
	}
}

// Forget ends what the endpoint retained under a key. It is sent in the order of events, and again
// if the session is lost meanwhile: the value may have been restored in the next one.
func (o *Outlet) Forget(ctx context.Context, key string) error {
	ep := o.Endpoint
	for sent := false; ; sent = true {
		if err := ep.Usable(); err != nil {
			return err
		}
		up, err := ep.session(ctx)
		if err != nil {
			return err
		}
		if up != nil {
			if err := up.permit(broadcasting, o.Topic.Name); err != nil {
				return err
			}
		}
		if !o.forget(up, key) && !sent || up == nil || !up.lost.Load() {
			return nil
		}
	}
}

// forget reports whether there was something to be forgotten.
func (o *Outlet) forget(up *peer, key string) bool {
	ep := o.Endpoint
	o.Topic.kept.mu.Lock()
	defer o.Topic.kept.mu.Unlock()
	if up != nil && checkKey(key) == nil { // under another one nothing can be retained
		m := wire.Forget{Event: o.Topic.Name, Key: key}
		up.link.Send(func(dst []byte) []byte { // before what may take its place
			return wire.AppendControl(dst, wire.TypeForget, m)
		})
	}
	known := o.Topic.kept.removeLocked(ep.node, ep.name, key)
	if known {
		o.Topic.end(ep.name, ep.party.ID, key)
	}
	return known
}

// keptValue is what an endpoint retains under a key.
type keptValue struct {
	key  string
	body Body
}

// of returns what an endpoint retains, in the order of its keys.
func (k *kept) of(origin string) (values []keptValue) {
	k.mu.Lock()
	defer k.mu.Unlock()
	by := k.origins[origin]
	if by == nil {
		return nil
	}
	for _, key := range by.order {
		values = append(values, keptValue{key, by.keys[key].body})
	}
	return values
}
