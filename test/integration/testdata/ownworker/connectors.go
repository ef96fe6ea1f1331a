package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/functions-worker/functions-worker/pkg/function"
)

// linesConfig configures the source.
type linesConfig struct {
	File string `json:"file" help:"The file to read line by line." required:"true"`
	Skip int    `json:"skip" help:"How many lines to leave out." default:"0"`
}

func (c linesConfig) Validate() error {
	if c.File == "" {
		return errors.New("file is missing")
	}
	return nil
}

// lines is a source that reads a file, and then waits.
type lines struct {
	scanner *bufio.Scanner
	file    *os.File
	number  int64
}

func newLines() function.Source[string, linesConfig] { return &lines{} }

func (l *lines) Open(_ context.Context, c linesConfig) (err error) {
	if l.file, err = os.Open(c.File); err != nil {
		return fmt.Errorf("opening the file: %w", err)
	}
	l.scanner = bufio.NewScanner(l.file)
	for l.number < int64(c.Skip) && l.scanner.Scan() {
		l.number++
	}
	return nil
}

func (l *lines) Read(ctx context.Context) (*function.SourceRecord[string], error) {
	if !l.scanner.Scan() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	l.number++
	c, _ := function.FromContext(ctx)
	c.RecordMetric("length", float64(len(l.scanner.Text())))
	return &function.SourceRecord[string]{
		Value: l.scanner.Text(), Key: fmt.Sprint(l.number), Properties: map[string]string{"from": "lines"}, Partition: "file", Sequence: l.number,
	}, nil
}

func (l *lines) Close(context.Context) error { return l.file.Close() }

// appenderConfig configures the sink.
type appenderConfig struct {
	File string `json:"file" required:"true"`
	// Batch keeps so many messages before they are written at once.
	Batch int `json:"batch"`
	Delay int `json:"delayMs"` // before each write
}

// appender is a sink that appends to a file. A line that begins with "bad" fails.
type appender struct {
	config appenderConfig
	file   *os.File
	kept   []string
	done   []func(error)
}

func newAppender() function.Sink[string, appenderConfig] { return &appender{} }

func (a *appender) Open(_ context.Context, c appenderConfig) (err error) {
	a.config = c
	a.file, err = os.OpenFile(c.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return err
}

func (a *appender) Write(_ context.Context, r function.SinkRecord[string]) error {
	time.Sleep(time.Duration(a.config.Delay) * time.Millisecond)
	if strings.HasPrefix(r.Value, "bad") {
		return errors.New("this line is bad")
	}
	line := r.Key() + ":" + r.Value + "\n"
	if a.config.Batch < 2 {
		_, err := a.file.WriteString(line)
		return err
	}
	a.kept, a.done = append(a.kept, line), append(a.done, r.Later())
	if len(a.kept) == a.config.Batch {
		a.flush()
	}
	return nil
}

func (a *appender) flush() {
	_, err := a.file.WriteString(strings.Join(a.kept, ""))
	for _, done := range a.done {
		done(err)
	}
	a.kept, a.done = nil, nil
}

func (a *appender) Close(context.Context) error {
	a.flush()
	return a.file.Close()
}
