package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/functions-worker/functions-worker/pkg/function"
)

// scenario does what its input says, as testdata/semantics/Scenario.java does.
func scenario(ctx context.Context, in string) (string, error) {
	c, _ := function.FromContext(ctx)
	m := c.Message()
	verb, rest, _ := strings.Cut(in, " ")
	switch verb {
	case "fail":
		return "", errors.New("no good")
	case "flaky":
		if m.RedeliveryCount() == 0 {
			return "", errors.New("not now")
		}
		return "flaky done", nil
	case "none":
		return "", function.ErrNoResult
	case "log":
		c.Logger().Info(rest)
		return "", function.ErrNoResult
	case "publish":
		c.PublishAsync(ctx, &function.Message{Topic: c.UserConfigString("side", ""), Key: "k", Properties: map[string]string{"p": "v"}, Payload: []byte(rest)}, nil)
		return "", function.ErrNoResult
	case "facts":
		return facts(c, m), nil
	case "block":
		marker := c.UserConfigString("marker", "")
		if _, err := os.Stat(marker); err != nil {
			if err := os.WriteFile(marker, nil, 0o600); err != nil {
				return "", err
			}
			<-ctx.Done()
			return "", ctx.Err()
		}
		return "block done", nil
	}
	return in + "!", nil
}

func facts(c *function.Context, m function.Record) string {
	key, event := m.Key(), int64(0)
	if key == "" {
		key = "none"
	}
	if !m.EventTime().IsZero() {
		event = max(0, m.EventTime().UnixMilli())
	}
	return fmt.Sprintf("key %s, property %s, event time %d, config %s", key, m.Properties()["a"], event, c.UserConfigString("word", "none"))
}

// point is JSON on the wire.
type point struct {
	X    int32  `json:"x"`
	Name string `json:"name"`
}

func move(p point) (point, error) {
	p.X++
	return p, nil
}

// comma joins a window as the distribution's CommaWindowFunction does.
func comma(_ context.Context, window []function.WindowMessage[string]) (string, error) {
	values := make([]string, len(window))
	for i, m := range window {
		values[i] = m.Value
	}
	return strings.Join(values, ","), nil
}
