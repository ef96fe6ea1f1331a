package kubernetes

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func TestAdmitRefusesWhatTheAPIServerWould(t *testing.T) {
	tests := map[string]string{
		`{"jobNamespace": "No Such"}`:                                                      `jobNamespace: "No Such" cannot be used in Kubernetes: a lowercase RFC 1123 label`,
		`{"jobNamespace": "a.b"}`:                                                          `jobNamespace: "a.b"`,
		`{"extraLabels": {"bad key!": "x"}}`:                                               `extraLabels: "bad key!" cannot be used`,
		`{"extraLabels": {"k": "a b"}}`:                                                    `extraLabels.k: "a b" cannot be used`,
		`{"extraAnnotations": {"a/b/c": "x"}}`:                                             `extraAnnotations: "a/b/c"`,
		`{"extraAnnotations": {"Big/Key": "any text"}}`:                                    "",
		`{"nodeSelectorLabels": {"": "x"}}`:                                                `nodeSelectorLabels: ""`,
		`{"tolerations": [{"operator": "Equal"}]}`:                                         "one without a key needs the operator Exists",
		`{"tolerations": [{"key": "k", "operator": "Exists", "effect": "Sometimes"}]}`:     `"Sometimes" is no effect`,
		`{"tolerations": [{"key": "a b"}]}`:                                                `tolerations: "a b"`,
		`{"tolerations": [{"operator": "Exists"}]}`:                                        "",
		`{"resourceRequirements": {"limits": {"cpu": "-1"}}}`:                              "the cpu of the container pulsarfunction is too large or below 0",
		`{"resourceRequirements": {"limits": {"memory": "1Mi"}}}`:                          "the memory that the container pulsarfunction requests, 1073741824, is more than its limit, 1Mi",
		`{"resourceRequirements": {"limits": {"cpu": "2"}, "requests": {"cpu": "1500m"}}}`: "",
	}
	o, err := Options{PulsarServiceURL: "pulsar://b:1", PulsarAdminURL: "http://w:1", Customize: &Customization{}}.withDefaults()
	require.NoError(t, err)
	f, err := New(o, Clients{})
	require.NoError(t, err)
	for options, want := range tests {
		d := named("public", "default", "f")
		d.CustomRuntimeOptions = options
		if err := f.Admit(d); want == "" {
			require.NoError(t, err, options)
		} else {
			require.ErrorContains(t, err, want, options)
		}
	}
	d := named("public", "default", "f")
	d.Resources = &pb.Resources{Cpu: 1e300, Ram: 1}
	require.ErrorContains(t, f.Admit(d), "the cpu of the container pulsarfunction is too large")

	o.Customize = &Customization{ExtraLabels: map[string]string{"k": "a b"}}
	_, err = New(o, Clients{})
	require.ErrorContains(t, err, `runtimeCustomizerConfig: extraLabels.k: "a b"`)
}

// TestLongestName: pods of a StatefulSet with a longer name would get a label that is too long, mostly.
func TestLongestName(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.Admit(named("public", "default", strings.Repeat("x", 52-len("pf-public-default-")))))
	long := named("public", "default", strings.Repeat("x", 53-len("pf-public-default-")))
	require.EqualError(t, r.Admit(long), "Kubernetes job name size should be less than 53")
	_, err := r.New(instanceOf(&pb.FunctionMetaData{FunctionDetails: long}))
	require.NoError(t, err, "one that is there already goes on")
}
