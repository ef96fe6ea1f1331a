package component

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// infer sets the members of a window that follow from others (section 6).
func (w *WindowConfig) infer() {
	if w.WindowLengthDurationMs != nil && w.SlidingIntervalDurationMs == nil {
		w.SlidingIntervalDurationMs = w.WindowLengthDurationMs
	}
	if w.WindowLengthCount != nil && w.SlidingIntervalCount == nil {
		w.SlidingIntervalCount = w.WindowLengthCount
	}
	if w.TimestampExtractorClassName != nil {
		if w.MaxLagMs == nil {
			w.MaxLagMs = ptr[int64](0)
		}
		if w.WatermarkEmitIntervalMs == nil {
			w.WatermarkEmitIntervalMs = ptr[int64](1000)
		}
	}
}

func (w *WindowConfig) check() error {
	switch {
	case w.WindowLengthDurationMs == nil && w.WindowLengthCount == nil:
		return javaError("Window length is not specified")
	case w.WindowLengthDurationMs != nil && w.WindowLengthCount != nil:
		return javaError("Window length for time and count are set! Please set one or the other.")
	case w.WindowLengthCount != nil && *w.WindowLengthCount <= 0:
		return javaError("Window length must be positive [%d]", *w.WindowLengthCount)
	case w.WindowLengthDurationMs != nil && *w.WindowLengthDurationMs <= 0:
		return javaError("Window length must be positive [%d]", *w.WindowLengthDurationMs)
	case w.SlidingIntervalCount != nil && *w.SlidingIntervalCount <= 0:
		return javaError("Sliding interval must be positive [%d]", *w.SlidingIntervalCount)
	case w.SlidingIntervalDurationMs != nil && *w.SlidingIntervalDurationMs <= 0:
		return javaError("Sliding interval must be positive [%d]", *w.SlidingIntervalDurationMs)
	case w.TimestampExtractorClassName == nil:
		return nil
	case w.MaxLagMs != nil && *w.MaxLagMs < 0:
		return javaError("Lag duration must be positive [%d]", *w.MaxLagMs)
	case w.WatermarkEmitIntervalMs != nil && *w.WatermarkEmitIntervalMs <= 0:
		return javaError("Watermark interval must be positive [%d]", *w.WatermarkEmitIntervalMs)
	default:
		return nil
	}
}

// object is the window as it stands in the stored user config: its members in order, nulls left out.
func (w *WindowConfig) object() Object {
	o := Object{}
	v := reflect.ValueOf(*w)
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("json")
		f := v.Field(i)
		if f.Kind() == reflect.Pointer {
			if f.IsNil() {
				continue
			}
			f = f.Elem()
		}
		switch f.Kind() {
		case reflect.String:
			if f.String() != "" || v.Field(i).Kind() == reflect.Pointer {
				o = append(o, Member{name, f.String()})
			}
		default:
			o = append(o, Member{name, json.Number(fmt.Sprint(f.Int()))})
		}
	}
	return o
}

// windowConfigOf reads the window out of a stored user config.
func windowConfigOf(v any) (*WindowConfig, error) {
	w := &WindowConfig{}
	if err := decodeValue(v, reflect.ValueOf(w).Elem()); err != nil {
		return nil, fmt.Errorf("the stored window config cannot be read: %w", under(windowConfigKey, err))
	}
	return w, nil
}
