// Package function is the SDK for Pulsar Functions in Go: main calls Start or Run with a handler, the program is built,
// and a functions worker (of this project or the Java one) runs it as a process:
//
//	func main() {
//		function.Start(func(ctx context.Context, input []byte) ([]byte, error) {
//			return append(input, '!'), nil
//		})
//	}
//
//	go build -o exclamation . && pulsar-admin functions create --go $PWD/exclamation --name exclamation --inputs in --output out
//
// The worker starts the program with -instance-conf. The program then serves its control port and its metrics, opens the
// function's topics, and calls the handler with one message at a time. A nil result means that there is nothing to
// send; an error (or a panic) is counted, logged, and has the message delivered again later. On SIGTERM it finishes
// what is in flight and exits with 0.
//
// What a handler can do beyond its input (configuration, secrets, other topics, log, metrics) is found with FromContext.
package function
