package kubernetes

import (
	"crypto/sha1" //nolint:gosec // part of the names of existing objects, not a protection
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// objectName is the name of the function's StatefulSet and Service (Kubernetes contract, section 2.1). jobName "" = the
// name follows from the function's. It is not shortened: what is too long is refused at admission.
func objectName(d *pb.FunctionDetails, jobName string) string {
	base := d.GetTenant() + "-" + d.GetNamespace() + "-" + d.GetName()
	if jobName != "" {
		return validName(jobName) + "-" + shortHash(jobName+"-"+base)
	}
	name := "pf-" + base
	if valid := validName(name); valid != name {
		return valid + "-" + shortHash(base)
	}
	return name
}

// validName is lower case with a dash for every other character that a DNS subdomain cannot have.
func validName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(s))
}

func shortHash(s string) string {
	sum := sha1.Sum([]byte(s)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])[:8]
}

const maxLabel = 63

// labelValue translates a text to a label value (section 2.2). The Java worker may leave a bad end behind when it cuts
// a long text, which the API server refuses; here the end is mended again.
func labelValue(s string) string {
	if s == "" {
		return s
	}
	b := []byte(strings.Map(func(r rune) rune {
		if alphanumeric(r) || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(s)))
	mend := func() {
		if !alphanumeric(rune(b[0])) {
			b[0] = '0'
		}
		if last := len(b) - 1; !alphanumeric(rune(b[last])) {
			b[last] = '0'
		}
	}
	mend()
	if len(b) > maxLabel {
		b = b[:maxLabel]
		mend()
	}
	return string(b)
}

func alphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// componentOf is the value of the label component.
func componentOf(d *pb.FunctionDetails) string {
	switch pb.ComponentTypeOf(d) {
	case pb.FunctionDetails_SOURCE:
		return "source"
	case pb.FunctionDetails_SINK:
		return "sink"
	}
	return "function"
}

// labelsOf is on every object of a function and selects its pods. custom may override the four that are built in.
func labelsOf(d *pb.FunctionDetails, custom map[string]string) map[string]string {
	labels := map[string]string{
		"component": componentOf(d), "tenant": labelValue(d.GetTenant()), "namespace": labelValue(d.GetNamespace()), "name": labelValue(d.GetName()),
	}
	for k, v := range custom {
		labels[k] = labelValue(v)
	}
	return labels
}

var (
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	// serviceName is what a Service may be called on every supported Kubernetes: no dot, a letter first.
	serviceName = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
)
