//go:build race

package node

// raceDetector is true in builds with the race detector.
const raceDetector = true
