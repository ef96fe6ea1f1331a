// Package kubernetes runs functions as StatefulSets, one per function, with the objects of the Java worker's Kubernetes
// runtime: same names, labels, commands and resources, so that each takes over what the other created.
//
// Its place: the supervisor asks the Factory for one Runtime per function (instance -1). Starting it makes the cluster
// hold exactly the wanted Service and StatefulSet: they are created, updated in place, or adopted when they already say
// the same. Nothing of it runs in the worker; pods go on when the worker ends, and the next owner adopts them.
//
// The objects carry no mark of this worker, so that they equal those of a Java worker. What a pod runs is told from the
// function version in its command: a Java worker draws it at random, this one derives it from the function.
package kubernetes
