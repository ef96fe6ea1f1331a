// Package pb holds the messages of the wire, generated from proto/, and the names derived from them.
package pb

import "strconv"

// FullyQualifiedName is tenant/namespace/name, the key of a function in the metadata topic.
func FullyQualifiedName(d *FunctionDetails) string {
	return d.GetTenant() + "/" + d.GetNamespace() + "/" + d.GetName()
}

// InstanceKey is tenant/namespace/name:id, the key of an instance in the assignments topic;
// the id is -1 when an external system manages all instances of the function.
func InstanceKey(i *Instance) string {
	return FullyQualifiedName(i.GetFunctionMetaData().GetFunctionDetails()) + ":" + strconv.Itoa(int(i.GetInstanceId()))
}

// ComponentTypeOf gives the component type, inferred for metadata written before the field existed
// (coordination contract, section 1.2).
func ComponentTypeOf(d *FunctionDetails) FunctionDetails_ComponentType {
	if t := d.GetComponentType(); t != FunctionDetails_UNKNOWN {
		return t
	}
	switch {
	case len(d.GetSource().GetInputSpecs()) == 0:
		return FunctionDetails_SOURCE
	case d.GetSink().GetBuiltin() != "":
		return FunctionDetails_SINK
	case d.GetSink().GetClassName() == "" || d.GetSink().GetClassName() == PulsarSinkClass:
		return FunctionDetails_FUNCTION
	default:
		return FunctionDetails_SINK
	}
}

// BuiltinName is the built-in that a component is made of, "" for none; that of a sink is not its transform function.
func BuiltinName(d *FunctionDetails) string {
	switch ComponentTypeOf(d) {
	case FunctionDetails_SINK:
		return d.GetSink().GetBuiltin()
	case FunctionDetails_SOURCE:
		return d.GetSource().GetBuiltin()
	default:
		return d.GetBuiltin()
	}
}

// PulsarSinkClass is the sink class that only writes results to a topic, as a function does.
const PulsarSinkClass = "org.apache.pulsar.functions.sink.PulsarSink"

// MaxParallelism bounds what one registration makes workers, the broker and a Kubernetes cluster hold: a submission with more is refused, and
// of a function that another worker has registered with more, no more instances are dealt with.
const MaxParallelism = 100_000

// InstanceCount is how many instances a function has: its parallelism, between 0 and MaxParallelism.
func InstanceCount(d *FunctionDetails) int32 {
	return min(max(d.GetParallelism(), 0), MaxParallelism)
}

// WantsToRun says whether the desired state of this instance is running: it is, unless the metadata
// stopped it; instance -1 runs when any instance does.
func WantsToRun(i *Instance) bool {
	states := i.GetFunctionMetaData().GetInstanceStates()
	if len(states) == 0 {
		return true
	}
	if i.GetInstanceId() < 0 {
		for _, s := range states {
			if s == FunctionState_RUNNING {
				return true
			}
		}
		return false
	}
	return states[i.GetInstanceId()] != FunctionState_STOPPED // an id that is not listed runs
}

// HealthIntervalVariable tells a Go instance how often, in seconds, its worker asks for its health. The key
// expectedHealthCheckInterval of -instance-conf is always 0, as the Java worker writes it.
const HealthIntervalVariable = "FUNCTIONS_WORKER_HEALTH_CHECK_INTERVAL"
