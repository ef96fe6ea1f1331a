package config

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

const envPrefix = "PF_"

// Keys that the images' entry script writes as integers and as lists, by the last part of the variable's name
// (contract section 6.1); everything else it writes as quoted text.
var (
	envIntKeys = []string{"workerPort", "numFunctionPackageReplicas", "failureCheckFreqMs", "rescheduleTimeoutMs",
		"initialBrokerReconnectMaxRetries", "assignmentWriteMaxRetries", "instanceLivenessCheckFreqMs"}
	envListKeys = []string{"brokerInterceptors", "messagingProtocols", "tlsProtocols", "tlsCiphers",
		"authenticationProviders", "superUserRoles", "proxyRoles", "schemaRegistryCompatibilityCheckers",
		"brokerClientTlsCiphers", "brokerClientTlsProtocols", "metricsRoles", "webServiceTlsCiphers",
		"webServiceTlsProtocols"}
	containerFactories = map[string]string{"k8s": "kubernetesContainerFactory", "process": "processContainerFactory",
		"thread": "threadContainerFactory"}
)

// applyEnv writes the PF_ variables into the tree as the images' entry script writes them into the file, so that it
// makes no difference whether the script ran before.
func applyEnv(root *node, env []string, r *Report) {
	values := map[string]string{}
	var names []string
	for _, entry := range env {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if _, twice := values[name]; !twice {
			names = append(names, name)
		}
		values[name] = value
	}
	sort.Strings(names)
	for _, name := range names {
		setEnv(root, name, values[name], r)
	}
	factory, set := values[envPrefix+"containerFactory"]
	delete(root.fields, "containerFactory")
	keep, known := containerFactories[factory]
	if known {
		for _, key := range containerFactories {
			if key != keep {
				delete(root.fields, key)
			}
		}
	} else if set && factory != "" {
		r.warn("containerFactory", "PF_containerFactory is %q and has no effect; known are k8s, process and thread", factory)
	}
}

func setEnv(root *node, name, value string, r *Report) {
	path := strings.Split(strings.TrimPrefix(name, envPrefix), "_")
	if slices.Contains(path, "") {
		r.warn(name, "the environment variable has no effect: a part of its name, between two '_' or at an end, is empty")
		return
	}
	if len(path) > maxDepth {
		r.problem(Problem{Key: name, What: fmt.Sprintf("its name has more than %d parts", maxDepth),
			Remedy: "every '_' in the name starts a level; shorten it"})
		return
	}
	last := path[len(path)-1]
	at := root
	for i, part := range path[:len(path)-1] {
		next := at.fields[part]
		switch {
		case next == nil || next.kind == nullNode:
			next = newMap(name)
			at.fields[part] = next
		case next.kind != mapNode:
			r.problem(Problem{Key: strings.Join(path[:i+1], "."),
				What:   fmt.Sprintf("the environment variable %s needs a map there, but the file has a single value (%s)", name, next.origin),
				Remedy: "unset the variable, or make the key a map in the file"})
			return
		}
		at = next
	}
	n := &node{kind: scalarNode, text: value, origin: name}
	switch {
	case slices.Contains(envIntKeys, last):
		number, err := pythonInt(value)
		if err != nil {
			r.problem(Problem{Key: strings.Join(path, "."), Value: printable(value), What: "the environment variable " + name + " is not a whole number",
				Accepted: "digits", Remedy: "correct or unset " + name})
			return
		}
		n.text, n.plain = number, true
	case slices.Contains(envListKeys, last):
		n = &node{kind: listNode, origin: name}
		for _, item := range strings.Split(value, ",") {
			n.list = append(n.list, &node{kind: scalarNode, text: item, origin: name})
		}
	}
	at.fields[last] = n
}

// pythonInt reads an integer by the rules of the script's language: decimal whatever leads, single '_' between digits.
func pythonInt(text string) (string, error) {
	text = strings.TrimSpace(text)
	digits := strings.TrimLeft(text, "+-")
	if len(text)-len(digits) > 1 || strings.HasPrefix(digits, "_") || strings.HasSuffix(digits, "_") || strings.Contains(digits, "__") {
		return "", fmt.Errorf("no whole number")
	}
	v, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
	if err != nil {
		return "", fmt.Errorf("no whole number")
	}
	return strconv.FormatInt(v, 10), nil
}

// applyOverrides writes key=value settings of the command line; keys are dotted paths of declared keys.
func applyOverrides(root *node, overrides map[string]string, r *Report) {
	keys := make([]string, 0, len(overrides))
	for k := range overrides {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, key := range keys {
		at, rest, origin := root, key, "the command line ("+key+")"
		for {
			head, tail, nested := strings.Cut(rest, ".")
			// A map of free keys takes the rest as one key: property names contain dots.
			if !nested || (at != root && !declared(key)) {
				at.fields[rest] = &node{kind: scalarNode, text: overrides[key], plain: true, origin: origin}
				if overrides[key] == "" {
					at.fields[rest] = &node{kind: nullNode, origin: origin}
				}
				break
			}
			next := at.fields[head]
			if next == nil || next.kind == nullNode {
				next = newMap(origin)
				at.fields[head] = next
			}
			if next.kind != mapNode {
				r.problem(Problem{Key: key, What: fmt.Sprintf("%s is a single value, not a map (%s)", head, next.origin), Remedy: "give the key itself, without a dot"})
				break
			}
			at, rest = next, tail
		}
	}
}

func declared(path string) bool {
	var find func(keys []Key) bool
	find = func(keys []Key) bool {
		for _, k := range keys {
			if k.Path == path || (strings.HasPrefix(path, k.Path+".") && find(k.Nested)) {
				return true
			}
		}
		return false
	}
	return find(Keys())
}
