// Package archive reads function and connector packages in place: JAR and NAR files with the class files inside
// them, connector definitions, and the kind of a Python, Go or WebAssembly payload.
//
// It stands between the packages a user submits and internal/component, which validates configurations against
// the classes of a package: a Package answers which classes there are, what they implement, and which types they
// bind, as the Java worker finds out with a class loader (contract component-configs 8). There is no JVM here, so
// class files and their generic signatures are read by this package, and the types of the JDK and of the Pulsar
// API, which no user package contains, come from a built-in table (platform.go).
//
// Nothing is unpacked to disk and no package is held in memory. The central directory is indexed once, classes are
// inflated one by one when asked for, and JARs nested in a NAR are read through their compressed form. Everything
// in a package is hostile until proven otherwise: sizes, counts, ratios, depths and the total work are bounded
// (limits.go), and every violation is an error that names the entry.
//
// Life cycle: Open, any number of questions from any number of goroutines, Close.
package archive
