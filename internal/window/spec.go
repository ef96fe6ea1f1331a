package window

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Key is the member of the stored user config that holds the window.
const Key = "__WINDOWCONFIGS__"

// Executor is the class that registration puts before a function with windows.
const Executor = "org.apache.pulsar.functions.windowing.WindowFunctionExecutor"

// TimeSource says which time of a message counts.
type TimeSource int

const (
	// Arrival is when the message came to the instance.
	Arrival TimeSource = iota
	// EventTime is the event time of the message, or its publish time where the sender gave none.
	EventTime
	// PublishTime is when the broker took the message.
	PublishTime
)

// Names of the time sources, where Java functions name the class of an extractor.
const (
	eventTimeName   = "eventTime"
	publishTimeName = "publishTime"
)

// Spec is the windows of a function. One of Count and Length is set, and one of SlideCount and Slide.
type Spec struct {
	// Count is the length of a window in messages, Length in time.
	Count  int
	Length time.Duration
	// SlideCount is how many messages are between the ends of two windows, Slide how much time.
	SlideCount int
	Slide      time.Duration
	Time       TimeSource
	// MaxLag is how far, by their times, messages may be behind the latest one and still not be late.
	MaxLag time.Duration
	// WatermarkInterval is how often the watermark moves.
	WatermarkInterval time.Duration
	// LateTopic takes late messages; empty: they are dropped.
	LateTopic string
	// AtMostOnce acknowledges messages when they arrive, not when a window with them is done.
	AtMostOnce bool
}

// stored is the window as workers write it. Durations are milliseconds.
type stored struct {
	LengthCount       int64  `json:"windowLengthCount"`
	LengthMs          int64  `json:"windowLengthDurationMs"`
	SlideCount        int64  `json:"slidingIntervalCount"`
	SlideMs           int64  `json:"slidingIntervalDurationMs"`
	LateTopic         string `json:"lateDataTopic"`
	MaxLagMs          int64  `json:"maxLagMs"`
	WatermarkMs       int64  `json:"watermarkEmitIntervalMs"`
	Extractor         string `json:"timestampExtractorClassName"`
	Guarantee         string `json:"processingGuarantees"`
	ActualWindowClass string `json:"actualWindowFunctionClassName"`
}

const (
	maxCount         = 1_000_000
	maxDuration      = 10 * 365 * 24 * time.Hour
	defaultWatermark = time.Second
)

// Parse reads the window out of a function's user config.
func Parse(userConfig string) (Spec, error) {
	var config map[string]json.RawMessage
	if err := json.Unmarshal([]byte(userConfig), &config); err != nil {
		return Spec{}, fmt.Errorf("windowConfig: the user config that holds it cannot be read: %w", err)
	}
	text, there := config[Key]
	if !there {
		return Spec{}, errors.New("windowConfig: the function's details name windows but hold none")
	}
	var s stored
	if err := json.Unmarshal(text, &s); err != nil {
		return Spec{}, fmt.Errorf("windowConfig: %w", err)
	}
	spec, err := s.spec()
	if err != nil {
		return Spec{}, fmt.Errorf("windowConfig: %w", err)
	}
	return spec, nil
}

func (s stored) spec() (Spec, error) {
	spec := Spec{LateTopic: strings.TrimSpace(s.LateTopic), AtMostOnce: s.Guarantee == "ATMOST_ONCE"}
	if (s.LengthCount == 0) == (s.LengthMs == 0) {
		return spec, errors.New("exactly one of windowLengthCount and windowLengthDurationMs must be set")
	}
	if s.SlideCount == 0 && s.SlideMs == 0 {
		s.SlideCount, s.SlideMs = s.LengthCount, s.LengthMs
	}
	if s.SlideCount != 0 {
		s.SlideMs = 0 // the count goes first, as in the Java executor
	}
	var errs []error
	spec.Count = count("windowLengthCount", s.LengthCount, &errs)
	spec.SlideCount = count("slidingIntervalCount", s.SlideCount, &errs)
	spec.Length = duration("windowLengthDurationMs", s.LengthMs, &errs)
	spec.Slide = duration("slidingIntervalDurationMs", s.SlideMs, &errs)
	spec.MaxLag = duration("maxLagMs", s.MaxLagMs, &errs)
	spec.WatermarkInterval = duration("watermarkEmitIntervalMs", s.WatermarkMs, &errs)
	if spec.WatermarkInterval == 0 {
		spec.WatermarkInterval = defaultWatermark
	}
	switch s.Extractor {
	case "":
		if spec.LateTopic != "" {
			errs = append(errs, errors.New("lateDataTopic: without timestampExtractorClassName no message is late"))
		}
	case eventTimeName:
		spec.Time = EventTime
	case publishTimeName:
		spec.Time = PublishTime
	default:
		errs = append(errs, fmt.Errorf("timestampExtractorClassName: %q cannot be loaded, as there is no JVM here; %q and %q take that time of the message",
			s.Extractor, eventTimeName, publishTimeName))
	}
	switch s.Guarantee {
	case "", "ATLEAST_ONCE", "ATMOST_ONCE":
	default:
		errs = append(errs, fmt.Errorf("processingGuarantees: %q is neither ATLEAST_ONCE nor ATMOST_ONCE", s.Guarantee))
	}
	return spec, errors.Join(errs...)
}

func count(name string, n int64, errs *[]error) int {
	if n < 0 || n > maxCount {
		*errs = append(*errs, fmt.Errorf("%s: %d is not between 1 and %d", name, n, maxCount))
		return 0
	}
	return int(n)
}

func duration(name string, ms int64, errs *[]error) time.Duration {
	if ms < 0 || ms > maxDuration.Milliseconds() {
		*errs = append(*errs, fmt.Errorf("%s: %d is not between 1 and %d milliseconds", name, ms, maxDuration.Milliseconds()))
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

// Tick is how often Windows.Tick has to be called; 0: never.
func (s Spec) Tick() time.Duration {
	switch {
	case s.Time != Arrival:
		return s.WatermarkInterval
	case s.SlideCount == 0:
		return s.Slide
	default:
		return 0
	}
}
