package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConfigMap names the ConfigMap whose entries overwrite settings while the worker runs (changeConfigMap).
type ConfigMap struct{ Namespace, Name string }

// settings are the options of now: those of the file with the entries of the ConfigMap over them.
type settings struct {
	mu   sync.Mutex
	now  *Options          // replaced, never modified: functions refer to those with which they were made
	data map[string]string // entries that were applied last
	read bool              // the ConfigMap was read once, or there is none
	told map[string]bool   // what was complained about

	workerImage string // of the worker's own pod, once it is known
}

func (s *settings) get() *Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// set replaces the options; the caller has the lock.
func (s *settings) set(o Options) {
	o.WorkerImage = cmp.Or(o.WorkerImage, s.workerImage)
	s.now = &o
}

func (s *settings) setWorkerImage(image string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workerImage = image
	s.set(*s.now)
}

// options of now.
func (f *Factory) options() Options { return *f.settings.get() }

// firstSettings reads the ConfigMap before the first function starts: with the settings of the file, pods would be replaced
// now and again later. What cannot be read because it is not there or not allowed counts as empty, as in the Java worker.
func (f *Factory) firstSettings(ctx context.Context) error {
	f.settings.mu.Lock()
	read := f.settings.read
	f.settings.mu.Unlock()
	if read {
		return nil
	}
	_, err := f.readSettings(ctx)
	if err != nil && (apierrors.IsNotFound(err) || isForbidden(err)) {
		f.settings.mu.Lock()
		f.settings.read = true
		f.settings.mu.Unlock()
		return nil
	}
	return err
}

// readSettings applies the ConfigMap; true when something is different now.
func (f *Factory) readSettings(ctx context.Context) (bool, error) {
	m := f.options().ConfigMap
	if m.Name == "" {
		return false, nil
	}
	found, err := request(ctx, f.o.RequestTimeout, action{"get", "", "configmaps", m.Namespace, m.Name}, func(ctx context.Context) (*corev1.ConfigMap, error) {
		return f.clients.Objects.ConfigMaps(m.Namespace).Get(ctx, m.Name, metav1.GetOptions{})
	})
	f.settings.mu.Lock()
	defer f.settings.mu.Unlock()
	if err != nil {
		if f.settings.complain(err.Error()) {
			f.o.Log.Warn("the ConfigMap with changed settings (changeConfigMap) cannot be read; what was known of it stays", zap.Error(err))
		}
		return false, err
	}
	f.settings.read = true
	if maps.Equal(found.Data, f.settings.data) {
		return false, nil
	}
	changed, problems := f.o.with(found.Data)
	for _, p := range problems {
		if f.settings.complain(p) {
			f.o.Log.Warn("an entry of the ConfigMap with changed settings (changeConfigMap) is passed over", zap.String("problem", p))
		}
	}
	f.settings.set(changed)
	f.settings.data = maps.Clone(found.Data)
	f.o.Log.Info("settings were changed by the ConfigMap", zap.Strings("entries", slices.Sorted(maps.Keys(found.Data))))
	return true, nil
}

// complain says whether it is said for the first time.
func (s *settings) complain(text string) bool {
	if s.told == nil || len(s.told) > 100 {
		s.told = map[string]bool{}
	}
	before := s.told[text]
	s.told[text] = true
	return !before
}

// with gives the options with the entries of a ConfigMap in them, and what is wrong with the entries that it leaves out.
// The keys are the names of fields in the Java worker (Kubernetes contract, section 1.6); names of the worker's file are
// taken too where they differ, and so are the settings that are no texts, at which the Java worker fails.
func (o Options) with(entries map[string]string) (Options, []string) {
	var problems []string
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		set, known := entrySetters[key]
		if !known {
			problems = append(problems, fmt.Sprintf("%s is no setting that can be changed", key))
			continue
		}
		next := o
		err := set(&next, entries[key])
		if err == nil {
			next, err = next.withDefaults()
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", key, err))
			continue
		}
		o = next
	}
	return o, problems
}

type entrySetter func(*Options, string) error

var entrySetters = map[string]entrySetter{
	"jobNamespace":                    text(func(o *Options) *string { return &o.JobNamespace }),
	"jobName":                         text(func(o *Options) *string { return &o.JobName }),
	"pulsarDockerImageName":           text(func(o *Options) *string { return &o.Image }),
	"imagePullPolicy":                 text(func(o *Options) *string { return &o.ImagePullPolicy }),
	"pulsarRootDir":                   text(func(o *Options) *string { return &o.PulsarRootDir }),
	"configAdminCLI":                  text(func(o *Options) *string { return &o.ConfigAdminCLI }),
	"pulsarAdminUrl":                  text(func(o *Options) *string { return &o.PulsarAdminURL }),
	"pulsarServiceUrl":                text(func(o *Options) *string { return &o.PulsarServiceURL }),
	"pythonDependencyRepository":      text(func(o *Options) *string { return &o.PythonDependencyRepository }),
	"pythonExtraDependencyRepository": text(func(o *Options) *string { return &o.PythonExtraDependencyRepository }),
	"extraDependenciesDir":            text(func(o *Options) *string { return &o.ExtraDependenciesDir }),
	"extraFunctionDependenciesDir":    text(func(o *Options) *string { return &o.ExtraDependenciesDir }),
	"changeConfigMap":                 text(func(o *Options) *string { return &o.ConfigMap.Name }),
	"changeConfigMapNamespace":        text(func(o *Options) *string { return &o.ConfigMap.Namespace }),
	"stateStorageServiceUri":          text(func(o *Options) *string { return &o.StateStorageServiceURL }),
	"javaInstanceJarFile":             text(func(o *Options) *string { return &o.JavaInstanceJar }),
	"pythonInstanceFile":              text(func(o *Options) *string { return &o.PythonInstanceFile }),
	"narExtractionDirectory":          text(func(o *Options) *string { return &o.NarExtractionDirectory }),
	"functionInstanceClassPath":       text(func(o *Options) *string { return &o.InstanceClassPath }),
	"downloadDirectory":               text(func(o *Options) *string { return &o.DownloadDirectory }),

	"percentMemoryPadding":  number(func(o *Options) *int { return &o.PercentMemoryPadding }, 0, 10_000),
	"grpcPort":              number(func(o *Options) *int { return &o.GRPCPort }, 1, 65535),
	"metricsPort":           number(func(o *Options) *int { return &o.MetricsPort }, 0, 65535),
	"gracePeriodSeconds":    number(func(o *Options) *int { return &o.GracePeriodSeconds }, 0, 86_400),
	"cpuOverCommitRatio":    ratio(func(o *Options) *float64 { return &o.CPUOverCommitRatio }),
	"memoryOverCommitRatio": ratio(func(o *Options) *float64 { return &o.MemoryOverCommitRatio }),
	"customLabels":          textMap(func(o *Options) *map[string]string { return &o.CustomLabels }),
	"functionDockerImages":  textMap(func(o *Options) *map[string]string { return &o.Images }),
	"installUserCodeDependencies": func(o *Options, v string) (err error) {
		o.InstallUserCodeDependencies, err = strconv.ParseBool(strings.ToLower(strings.TrimSpace(v)))
		return err
	},
}

func text(field func(*Options) *string) entrySetter {
	return func(o *Options, v string) error {
		*field(o) = v
		return nil
	}
}

func number(field func(*Options) *int, least, most int) entrySetter {
	return func(o *Options, v string) error {
		n, err := strconv.Atoi(strings.TrimSpace(v))
		if err != nil || n < least || n > most {
			return fmt.Errorf("%q is no number between %d and %d", v, least, most)
		}
		*field(o) = n
		return nil
	}
}

func ratio(field func(*Options) *float64) entrySetter {
	return func(o *Options, v string) error {
		n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil || !(n > 0) || n > 1000 {
			return fmt.Errorf("%q is no number above 0 and up to 1000", v)
		}
		*field(o) = n
		return nil
	}
}

func textMap(field func(*Options) *map[string]string) entrySetter {
	return func(o *Options, v string) error {
		m, err := textsOf(v)
		if err == nil {
			*field(o) = m
		}
		return err
	}
}

// textsOf reads a map of texts from JSON or YAML. It looks at the nodes itself: the library would compare each key with every
// other.
func textsOf(text string) (map[string]string, error) {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		return nil, fmt.Errorf("it is no map of texts in JSON or YAML: %w", err)
	}
	if len(root.Content) == 0 || root.Content[0].Kind == yaml.ScalarNode && root.Content[0].Tag == "!!null" {
		return nil, nil
	}
	list := root.Content[0]
	if list.Kind != yaml.MappingNode {
		return nil, errors.New("it is no map of texts in JSON or YAML")
	}
	m := make(map[string]string, len(list.Content)/2)
	for i := 0; i+1 < len(list.Content); i += 2 {
		key, value := list.Content[i], list.Content[i+1]
		if key.Kind != yaml.ScalarNode || value.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: it is no map of texts in JSON or YAML", key.Line)
		}
		if _, twice := m[key.Value]; twice {
			return nil, fmt.Errorf("line %d: the key %.100q is there twice", key.Line, key.Value)
		}
		if m[key.Value] = value.Value; value.Tag == "!!null" {
			m[key.Value] = ""
		}
	}
	return m, nil
}
