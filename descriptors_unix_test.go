//go:build unix

package lahja_test

import "syscall"

// mostDescriptors is how many a process may have. The runtime sees to it that it may have as many
// as can be asked for.
func mostDescriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Max, 1<<20))
}
