package function_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/functions-worker/functions-worker/pkg/function"
)

// The simplest function: bytes in, bytes out. In a program this is the body of main; a functions worker starts it.
func ExampleStart() {
	handler := func(ctx context.Context, input []byte) ([]byte, error) {
		return append(input, '!'), nil
	}
	run := func() { function.Start(handler) } // never returns
	_ = run

	out, err := handler(context.Background(), []byte("hello")) // a handler is an ordinary function to test
	fmt.Println(string(out), err)
	// Output: hello! <nil>
}

type reading struct {
	Sensor  string  `json:"sensor"`
	Celsius float64 `json:"celsius"`
}

type alarm struct {
	Text string `json:"text"`
}

// Types are read from and written as JSON; a nil result is not sent.
func ExampleRun() {
	tooHot := func(ctx context.Context, in reading) (*alarm, error) {
		if in.Celsius < 80 {
			return nil, nil
		}
		return &alarm{Text: in.Sensor + " is hot"}, nil
	}
	run := func() { function.Run(tooHot) } // never returns
	_ = run

	out, _ := tooHot(context.Background(), reading{Sensor: "boiler", Celsius: 90})
	fmt.Println(out.Text)
	// Output: boiler is hot
}

// FromContext gives the handler its configuration, its log, and other topics.
func ExampleFromContext() {
	handler := func(ctx context.Context, line string) (string, error) {
		fc, ok := function.FromContext(ctx)
		if !ok {
			return strings.ToUpper(line), nil // called by a test
		}
		fc.Logger().Info("got a line", "length", len(line))
		fc.RecordMetric("length", float64(len(line)))
		if _, err := fc.Publish(ctx, &function.Message{Topic: "audit", Payload: []byte(line)}); err != nil {
			return "", err // the line will come again
		}
		return strings.ToUpper(line) + fc.UserConfigString("suffix", ""), nil
	}
	out, _ := handler(context.Background(), "hello")
	fmt.Println(out)
	// Output: HELLO
}
