//go:build !unix

package lahja_test

// mostDescriptors is how many a process may have: there is no limit to be asked for.
func mostDescriptors() int { return 1 << 20 }
