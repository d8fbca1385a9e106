//go:build !race

package lahja_test

const raceDetector = false
