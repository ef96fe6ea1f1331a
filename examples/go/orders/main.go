// Command orders is a Pulsar function with Go types: it reads orders as JSON, writes their totals, and sends those above
// the user config "limit" (default 1000) to the topic of the user config "review-topic" as well.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/functions-worker/functions-worker/pkg/function"
)

type order struct {
	ID       string  `json:"id"`
	Quantity int     `json:"quantity"`
	Price    float64 `json:"price"`
}

type total struct {
	OrderID string  `json:"orderId"`
	Amount  float64 `json:"amount"`
}

func price(ctx context.Context, in order) (*total, error) {
	fc, ok := function.FromContext(ctx)
	if !ok {
		return nil, errors.New("not called as a Pulsar function")
	}
	if in.Quantity < 0 {
		return nil, fmt.Errorf("order %s has the quantity %d", in.ID, in.Quantity)
	}
	if in.Quantity == 0 {
		return nil, nil // nothing to charge: no result
	}
	out := &total{OrderID: in.ID, Amount: float64(in.Quantity) * in.Price}
	return out, review(ctx, fc, out)
}

// review hands large totals to people, before the input counts as done.
func review(ctx context.Context, fc *function.Context, t *total) error {
	limit := 1000.0
	if value, ok := fc.UserConfigValue("limit"); ok {
		if number, ok := value.(float64); ok {
			limit = number
		}
	}
	topic := fc.UserConfigString("review-topic", "")
	if topic == "" || t.Amount <= limit {
		return nil
	}
	payload, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if _, err := fc.Publish(ctx, &function.Message{Topic: topic, Payload: payload, Key: t.OrderID}); err != nil {
		return fmt.Errorf("asking for a review of order %s: %w", t.OrderID, err)
	}
	return nil
}

func main() {
	function.Run(price)
}
