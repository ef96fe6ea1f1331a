package window

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		window  string
		want    Spec
		wantErr string
	}{
		"count": {window: `{"windowLengthCount":3,"slidingIntervalCount":2,"processingGuarantees":"ATMOST_ONCE","actualWindowFunctionClassName":"sum"}`,
			want: Spec{Count: 3, SlideCount: 2, WatermarkInterval: time.Second, AtMostOnce: true}},
		"the slide follows": {window: `{"windowLengthDurationMs":5000}`,
			want: Spec{Length: 5 * time.Second, Slide: 5 * time.Second, WatermarkInterval: time.Second}},
		"the count goes first": {window: `{"windowLengthDurationMs":5000,"slidingIntervalDurationMs":5000,"slidingIntervalCount":2}`,
			want: Spec{Length: 5 * time.Second, SlideCount: 2, WatermarkInterval: time.Second}},
		"event time": {window: `{"windowLengthDurationMs":5000,"timestampExtractorClassName":"eventTime","maxLagMs":7,"watermarkEmitIntervalMs":20,"lateDataTopic":" late "}`,
			want: Spec{Length: 5 * time.Second, Slide: 5 * time.Second, Time: EventTime, MaxLag: 7 * time.Millisecond, WatermarkInterval: 20 * time.Millisecond, LateTopic: "late"}},
		"publish time": {window: `{"windowLengthCount":3,"timestampExtractorClassName":"publishTime"}`,
			want: Spec{Count: 3, SlideCount: 3, Time: PublishTime, WatermarkInterval: time.Second}},

		"no length":       {window: `{}`, wantErr: "exactly one of windowLengthCount and windowLengthDurationMs must be set"},
		"both lengths":    {window: `{"windowLengthCount":1,"windowLengthDurationMs":1}`, wantErr: "exactly one of"},
		"too many":        {window: `{"windowLengthCount":1000001}`, wantErr: "windowLengthCount: 1000001 is not between 1 and 1000000"},
		"negative":        {window: `{"windowLengthCount":-1}`, wantErr: "windowLengthCount: -1"},
		"too long":        {window: `{"windowLengthDurationMs":9223372036854775807}`, wantErr: "windowLengthDurationMs: 9223372036854775807 is not between"},
		"late, but never": {window: `{"windowLengthCount":1,"lateDataTopic":"late"}`, wantErr: "lateDataTopic: without timestampExtractorClassName no message is late"},
		"a Java class":    {window: `{"windowLengthCount":1,"timestampExtractorClassName":"com.acme.Times"}`, wantErr: `"com.acme.Times" cannot be loaded, as there is no JVM here; "eventTime" and "publishTime"`},
		"a guarantee":     {window: `{"windowLengthCount":1,"processingGuarantees":"MANUAL"}`, wantErr: `processingGuarantees: "MANUAL"`},
		"no object":       {window: `[]`, wantErr: "windowConfig: json"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(`{"other":1,"__WINDOWCONFIGS__":` + tc.window + `}`)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				require.ErrorContains(t, err, "windowConfig: ")
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
	_, err := Parse(`{}`)
	require.ErrorContains(t, err, "hold none")
	_, err = Parse(`nothing`)
	require.ErrorContains(t, err, "cannot be read")
}

func TestTick(t *testing.T) {
	require.Zero(t, Spec{Count: 1, SlideCount: 1, WatermarkInterval: time.Second}.Tick())
	require.Equal(t, time.Minute, Spec{Length: time.Hour, Slide: time.Minute, WatermarkInterval: time.Second}.Tick())
	require.Equal(t, time.Second, Spec{Count: 1, SlideCount: 1, Time: EventTime, WatermarkInterval: time.Second}.Tick())
}

// FuzzParse: any text gives a Spec that Windows can work with, or an error.
func FuzzParse(f *testing.F) {
	f.Add(`{"__WINDOWCONFIGS__":{"windowLengthCount":3,"slidingIntervalDurationMs":5,"timestampExtractorClassName":"eventTime"}}`)
	f.Add(`{"__WINDOWCONFIGS__":{"windowLengthDurationMs":3}}`)
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := Parse(text)
		if err != nil {
			return
		}
		if (spec.Count > 0) == (spec.Length > 0) || (spec.SlideCount > 0) == (spec.Slide > 0) || spec.WatermarkInterval <= 0 {
			t.Fatalf("%+v", spec)
		}
		w := New(spec, 1, Hooks[int]{Fire: func([]int) bool { return false }, Leave: func(int) {}})
		for i := range 3 {
			w.Add(Message[int]{Value: i, At: int64(i)})
			w.Tick(int64(i))
		}
	})
}
