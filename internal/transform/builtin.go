package transform

import (
	"context"
	"errors"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Builtin is the function builtin://transform.
func Builtin() instance.Builtin {
	return instance.Builtin{
		Name:        "transform",
		Description: "Filters, maps and routes JSON messages by CEL expressions in the user config",
		Load: func(_ context.Context, p instance.Package) (instance.Program, error) {
			t, err := Parse(p.Details.GetUserConfig())
			if err != nil {
				return nil, err
			}
			return instance.Handler(t.handle), nil
		},
		Validate: func(d *pb.FunctionDetails) error {
			_, err := Parse(d.GetUserConfig())
			return err
		},
	}
}

func (t *Transform) handle(ctx context.Context, payload []byte) (*instance.Result, error) {
	c, ok := instance.FromContext(ctx)
	if !ok || c.Message() == nil {
		return nil, errors.New("a transform is called without a message of the engine")
	}
	m := c.Message()
	return t.Apply(ctx, Input{
		Payload: payload, Topic: m.Topic(), Key: m.Key(), Properties: m.Properties(), PublishTime: m.PublishTime(), EventTime: m.EventTime(),
	})
}
