// Package process runs function instances as child processes of the worker: Java through java-instance.jar, Python
// through python_instance_main.py, Go as the executable that was uploaded.
//
// The supervisor asks the Factory for a Runtime per run. Start picks two ports, builds the command line (pure, equal to
// that of the Java worker), launches the child in a process group of its own and returns; from then on one goroutine
// waits for the end, one drains the output, and one sends the health checks that keep the child alive. Stop ends the
// whole group. Children never outlive the worker: the kernel kills them when the worker dies (parent-death signal),
// and what they had spawned is found by a marker in its environment and killed when the worker starts again.
package process
