package unix

// MaxPath is how many bytes a path may have.
const MaxPath = maxPath

// RunBy makes t believe that this process is run by another user, so that what the kernel says of
// this very process is what it would say of a stranger.
func RunBy(uid int, t *Transport) *Transport {
	t.self = uid
	return t
}
