package pb

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	d := &FunctionDetails{Tenant: "t", Namespace: "n", Name: "f"}
	require.Equal(t, "t/n/f", FullyQualifiedName(d))
	instance := &Instance{FunctionMetaData: &FunctionMetaData{FunctionDetails: d}, InstanceId: -1}
	require.Equal(t, "t/n/f:-1", InstanceKey(instance))
	require.Equal(t, "//:0", InstanceKey(nil), "a message without content has a key too")
}

func TestComponentTypeOf(t *testing.T) {
	inputs := map[string]*ConsumerSpec{"in": {}}
	tests := map[string]struct {
		details *FunctionDetails
		want    FunctionDetails_ComponentType
	}{
		"stated":                    {&FunctionDetails{ComponentType: FunctionDetails_SINK}, FunctionDetails_SINK},
		"no inputs":                 {&FunctionDetails{}, FunctionDetails_SOURCE},
		"built-in sink":             {&FunctionDetails{Source: &SourceSpec{InputSpecs: inputs}, Sink: &SinkSpec{Builtin: "x"}}, FunctionDetails_SINK},
		"no sink class":             {&FunctionDetails{Source: &SourceSpec{InputSpecs: inputs}}, FunctionDetails_FUNCTION},
		"the sink of functions":     {&FunctionDetails{Source: &SourceSpec{InputSpecs: inputs}, Sink: &SinkSpec{ClassName: PulsarSinkClass}}, FunctionDetails_FUNCTION},
		"a sink class of connector": {&FunctionDetails{Source: &SourceSpec{InputSpecs: inputs}, Sink: &SinkSpec{ClassName: "a.Sink"}}, FunctionDetails_SINK},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, ComponentTypeOf(tc.details)) })
	}
}

func TestWantsToRun(t *testing.T) {
	stopped := map[int32]FunctionState{0: FunctionState_STOPPED, 1: FunctionState_RUNNING}
	allStopped := map[int32]FunctionState{0: FunctionState_STOPPED}
	tests := map[string]struct {
		states map[int32]FunctionState
		id     int32
		want   bool
	}{
		"no states":              {nil, 0, true},
		"stopped":                {stopped, 0, false},
		"running":                {stopped, 1, true},
		"not listed":             {stopped, 2, true},
		"the whole, one running": {stopped, -1, true},
		"the whole, all stopped": {allStopped, -1, false},
		"the whole, no states":   {nil, -1, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, WantsToRun(&Instance{InstanceId: tc.id, FunctionMetaData: &FunctionMetaData{InstanceStates: tc.states}}))
		})
	}
}
