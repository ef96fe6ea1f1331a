// Package window decides which messages make a window, and when it is complete. It is pure: times are given to it, what it
// decides goes to two callbacks, and it starts nothing; internal/instance asks it and does the rest (calls, results,
// acknowledgements).
//
// A Spec is read from the function's details, as Java workers write it; Windows holds the messages of one instance and
// is used by one goroutine. The rules are those of the Java executor of windows (process contract, section 9.7), with two
// exceptions that docs/differences.md names: messages out of order are counted into their windows, and a window's
// messages are in the order of their times.
package window
