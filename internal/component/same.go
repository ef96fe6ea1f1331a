package component

import "encoding/json"

// sameConfig compares two configs as a GET would show them, free-form numbers by their value.
func sameConfig(a, b any) bool {
	x, errX := asJSON(a)
	y, errY := asJSON(b)
	return errX == nil && errY == nil && equalJSON(x, y)
}

func asJSON(config any) (any, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	return parseJSON(data)
}
