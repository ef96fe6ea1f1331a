//lint:file-ignore ST1005 the texts are those of the Java worker, which clients know

package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

// Limits are the rules for the resources of one instance; a nil field is not checked.
type Limits struct {
	MinCPU, MaxCPU, CPUGranularity *float64
	MinRAM, MaxRAM, RAMGranularity *int64
	// LockStep: cpu and ram must be the same multiple of their granularities.
	LockStep bool
}

// maxObjectName is what a Java worker admits. For one of 53 characters most StatefulSets cannot make pods: these get the label NAME-HASH, whose
// hash has up to 10 digits, of 63 characters at most. What is there already may be among the others; a submission is refused.
const (
	maxObjectName = 53
	maxNewName    = 52
)

var errNameTooLong = errors.New("Kubernetes job name size should be less than 53")

// admitName refuses names that the objects of a function cannot have (Kubernetes contract, section 7).
func admitName(name string) error {
	switch {
	case !subdomain.MatchString(name):
		return fmt.Errorf("Kubernetes only admits lower case and numbers. (jobName=%s)", name)
	case len(name) > maxObjectName:
		return errNameTooLong
	case !serviceName.MatchString(name):
		// The Java worker lets it pass and then fails to create the Service, which nobody is told.
		return fmt.Errorf("Kubernetes Service names are a letter followed by lower case letters, numbers and dashes, without dots. (jobName=%s)", name)
	}
	return nil
}

// admitResources checks minimum, maximum, granularity and lock step, in that order.
func (l Limits) admitResources(r *pb.Resources) error {
	cpu, ram := r.GetCpu(), r.GetRam()
	number := launch.JavaDouble
	switch {
	case l.MinCPU != nil && cpu < *l.MinCPU:
		return fmt.Errorf("Per instance CPU requested, %s, for function is less than the minimum required, %s", number(cpu), number(*l.MinCPU))
	case l.MinRAM != nil && ram < *l.MinRAM:
		return fmt.Errorf("Per instance RAM requested, %d, for function is less than the minimum required, %d", ram, *l.MinRAM)
	case l.MaxCPU != nil && cpu > *l.MaxCPU:
		return fmt.Errorf("Per instance CPU requested, %s, for function is greater than the maximum required, %s", number(cpu), number(*l.MaxCPU))
	case l.MaxRAM != nil && ram > *l.MaxRAM:
		return fmt.Errorf("Per instance RAM requested, %d, for function is greater than the maximum required, %d", ram, *l.MaxRAM)
	}
	var cpuTimes, ramTimes int64
	if g := l.CPUGranularity; g != nil && milli(*g) > 0 {
		if cpuTimes = milli(cpu) / milli(*g); cpu == 0 || milli(cpu)%milli(*g) != 0 {
			return fmt.Errorf("Per instance cpu requested, %s, for function should be positive and a multiple of the granularity, %s", number(cpu), number(*g))
		}
	}
	if g := l.RAMGranularity; g != nil && *g > 0 {
		if ramTimes = ram / *g; ram == 0 || ram%*g != 0 {
			return fmt.Errorf("Per instance ram requested, %d, for function should be positive and a multiple of the granularity, %d", ram, *g)
		}
	}
	if l.LockStep && l.CPUGranularity != nil && l.RAMGranularity != nil && cpuTimes != ramTimes {
		return fmt.Errorf("Per instance cpu requested, %s, ram requested, %d, for function should be positive and the same multiple of the granularity, cpu, %s, ram, %d",
			number(cpu), ram, number(*l.CPUGranularity), *l.RAMGranularity)
	}
	return nil
}

func milli(cores float64) int64 { return int64(math.Round(cores * 1000)) }

// secretRef is where the value of one of a function's secrets lies.
type secretRef struct{ name, secret, key string }

// parseSecrets reads the secrets of a function in document order: name → {"path": secret, "key": field}.
func parseSecrets(secretsMap string) ([]secretRef, error) {
	if secretsMap == "" {
		return nil, nil
	}
	names, values, err := orderedObject([]byte(secretsMap))
	if err != nil {
		return nil, fmt.Errorf("reading the secrets: %w", err)
	}
	var refs []secretRef
	for i, name := range names {
		var entry map[string]any
		if err := json.Unmarshal(values[i], &entry); err != nil || entry == nil {
			return nil, errors.New("Kubernetes Secret should be a Map containing id/key pairs")
		}
		if len(entry) < 2 {
			return nil, errors.New("Kubernetes Secret should contain id and key")
		}
		path, ok := entry["path"].(string)
		if !ok {
			return nil, errors.New("Kubernetes Secret should contain id information")
		}
		key, ok := entry["key"].(string)
		if !ok {
			return nil, errors.New("Kubernetes Secret should contain key information")
		}
		refs = append(refs, secretRef{name, path, key})
	}
	return refs, nil
}

// orderedObject splits a JSON object into its keys and values, in the order of the text; a repeated key counts once.
func orderedObject(data []byte) (keys []string, values []json.RawMessage, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil {
		return nil, nil, err
	} else if t != json.Delim('{') {
		return nil, nil, errors.New("it is not a JSON object")
	}
	at := map[string]int{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		key, _ := t.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, nil, err
		}
		if i, repeated := at[key]; repeated {
			values[i] = value
			continue
		}
		at[key] = len(keys)
		keys, values = append(keys, key), append(values, value)
	}
	_, err = dec.Token()
	return keys, values, err
}
