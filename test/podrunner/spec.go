package podrunner

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const accountMount = "/var/run/secrets/kubernetes.io/serviceaccount"

type environment map[string]string

func (e environment) list() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(e)) {
		list = append(list, name+"="+e[name])
	}
	return list
}

var reference = regexp.MustCompile(`\$\$|\$\([A-Za-z_.\-][A-Za-z0-9_.\-]*\)`)

// expand replaces $(NAME) as the kubelet does: unknown names stay, $$ is a dollar.
func expand(text string, env environment) string {
	return reference.ReplaceAllStringFunc(text, func(r string) string {
		if r == "$$" {
			return "$"
		}
		if value, ok := env[r[2:len(r)-1]]; ok {
			return value
		}
		return r
	})
}

func expandAll(words []string, env environment) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = expand(w, env)
	}
	return out
}

// environment is what the container finds: the image's, the cluster's, then the spec's.
func (p *pod) environment(ctx context.Context, spec *corev1.Container, image Image) (environment, error) {
	env := environment{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": p.spec.Name}
	for _, pair := range image.Env {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	if host, port, ok := strings.Cut(p.runner.opts.APIServer, ":"); ok && host != "" {
		env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"] = "127.0.0.1", port
	}
	core := p.runner.opts.Client.CoreV1()
	for _, from := range spec.EnvFrom {
		if ref := from.ConfigMapRef; ref != nil {
			m, err := core.ConfigMaps(p.spec.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
			if err != nil {
				return nil, fmt.Errorf("environment: %w", err)
			}
			for name, value := range m.Data {
				env[from.Prefix+name] = value
			}
		}
		if ref := from.SecretRef; ref != nil {
			s, err := core.Secrets(p.spec.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
			if err != nil {
				return nil, fmt.Errorf("environment: %w", err)
			}
			for name, value := range s.Data {
				env[from.Prefix+name] = string(value)
			}
		}
	}
	for _, e := range spec.Env {
		value, err := p.value(ctx, e)
		if err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", e.Name, err)
		}
		env[e.Name] = expand(value, env)
	}
	return env, nil
}

func (p *pod) value(ctx context.Context, e corev1.EnvVar) (string, error) {
	core := p.runner.opts.Client.CoreV1()
	switch from := e.ValueFrom; {
	case from == nil:
		return e.Value, nil
	case from.SecretKeyRef != nil:
		s, err := core.Secrets(p.spec.Namespace).Get(ctx, from.SecretKeyRef.Name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		value, ok := s.Data[from.SecretKeyRef.Key]
		if !ok {
			return "", fmt.Errorf("secret %s has no key %s", from.SecretKeyRef.Name, from.SecretKeyRef.Key)
		}
		return string(value), nil
	case from.ConfigMapKeyRef != nil:
		m, err := core.ConfigMaps(p.spec.Namespace).Get(ctx, from.ConfigMapKeyRef.Name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		return m.Data[from.ConfigMapKeyRef.Key], nil
	case from.FieldRef != nil:
		fields := map[string]string{"metadata.name": p.spec.Name, "metadata.namespace": p.spec.Namespace, "metadata.uid": string(p.spec.UID),
			"status.podIP": p.net.ip, "spec.serviceAccountName": p.spec.Spec.ServiceAccountName}
		value, ok := fields[from.FieldRef.FieldPath]
		if !ok {
			return "", fmt.Errorf("field %s is not known to the pod runner", from.FieldRef.FieldPath)
		}
		return value, nil
	}
	return "", fmt.Errorf("the pod runner does not know this source")
}

func (p *pod) volumeDir(name string) string { return filepath.Join(p.dir, "volumes", name) }

// prepareVolumes makes the volumes and writes what they hold.
func (p *pod) prepareVolumes(ctx context.Context) error {
	for _, v := range p.spec.Spec.Volumes {
		dir := p.volumeDir(v.Name)
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777); err != nil { // an empty directory belongs to everybody
			return err
		}
	}
	if p.runner.opts.APIServer != "" && (p.spec.Spec.AutomountServiceAccountToken == nil || *p.spec.Spec.AutomountServiceAccountToken) {
		token, err := p.token(ctx, nil, 3600)
		if err != nil {
			return fmt.Errorf("service account token: %w", err)
		}
		files := map[string][]byte{"token": []byte(token), "ca.crt": p.runner.opts.CA, "namespace": []byte(p.spec.Namespace)}
		if err := writeFiles(p.volumeDir("service-account"), files, 0o644); err != nil {
			return err
		}
	}
	return p.refreshVolumes(ctx)
}

// refreshVolumes brings what the volumes hold up to date.
func (p *pod) refreshVolumes(ctx context.Context) error {
	for _, v := range p.spec.Spec.Volumes {
		files, err := p.contents(ctx, v)
		if err == nil && files != nil {
			err = publish(p.volumeDir(v.Name), files, fileMode(v))
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// fileMode is that of a volume's files. Those of Secrets stay readable for all: the volume belongs to root here, and not to the group of fsGroup.
func fileMode(v corev1.Volume) os.FileMode {
	if v.ConfigMap != nil && v.ConfigMap.DefaultMode != nil {
		return os.FileMode(*v.ConfigMap.DefaultMode)
	}
	return 0o644
}

// contents are the files of a volume by path; nil for a directory that belongs to the pod.
func (p *pod) contents(ctx context.Context, v corev1.Volume) (map[string][]byte, error) {
	switch {
	case v.Secret != nil:
		return p.secretFiles(ctx, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.ConfigMap != nil:
		return p.configFiles(ctx, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.EmptyDir != nil:
		return nil, nil
	case v.Projected != nil:
		all := map[string][]byte{}
		for _, source := range v.Projected.Sources {
			files, err := p.projected(ctx, v.Name, source)
			if err != nil {
				return nil, err
			}
			maps.Copy(all, files)
		}
		return all, nil
	}
	return nil, fmt.Errorf("the pod runner does not know this kind")
}

func (p *pod) projected(ctx context.Context, volume string, s corev1.VolumeProjection) (map[string][]byte, error) {
	switch {
	case s.ServiceAccountToken != nil:
		if token := p.issued[volume]; token != "" { // lives longer than a test
			return map[string][]byte{s.ServiceAccountToken.Path: []byte(token)}, nil
		}
		seconds := int64(3600)
		if s.ServiceAccountToken.ExpirationSeconds != nil {
			seconds = *s.ServiceAccountToken.ExpirationSeconds
		}
		var audiences []string
		if s.ServiceAccountToken.Audience != "" {
			audiences = []string{s.ServiceAccountToken.Audience}
		}
		token, err := p.token(ctx, audiences, seconds)
		if err != nil {
			return nil, err
		}
		p.issued[volume] = token
		return map[string][]byte{s.ServiceAccountToken.Path: []byte(token)}, nil
	case s.Secret != nil:
		return p.secretFiles(ctx, s.Secret.Name, s.Secret.Items, s.Secret.Optional)
	case s.ConfigMap != nil:
		return p.configFiles(ctx, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
	}
	return nil, fmt.Errorf("the pod runner does not know this projection")
}

// token asks the API server for a token of the pod's service account.
func (p *pod) token(ctx context.Context, audiences []string, seconds int64) (string, error) {
	request := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds}}
	account := p.spec.Spec.ServiceAccountName
	if account == "" { // no admission plugin has filled it in, and then a token cannot be bound to the pod
		account = "default"
	} else {
		request.Spec.BoundObjectRef = &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.spec.Name, UID: p.spec.UID}
	}
	answer, err := p.runner.opts.Client.CoreV1().ServiceAccounts(p.spec.Namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return answer.Status.Token, nil
}

func (p *pod) secretFiles(ctx context.Context, name string, items []corev1.KeyToPath, optional *bool) (map[string][]byte, error) {
	s, err := p.runner.opts.Client.CoreV1().Secrets(p.spec.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		if optional != nil && *optional {
			return map[string][]byte{}, nil
		}
		return nil, err
	}
	return chosen(s.Data, items), nil
}

func (p *pod) configFiles(ctx context.Context, name string, items []corev1.KeyToPath, optional *bool) (map[string][]byte, error) {
	m, err := p.runner.opts.Client.CoreV1().ConfigMaps(p.spec.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		if optional != nil && *optional {
			return map[string][]byte{}, nil
		}
		return nil, err
	}
	data := maps.Clone(m.BinaryData)
	if data == nil {
		data = map[string][]byte{}
	}
	for key, text := range m.Data {
		data[key] = []byte(text)
	}
	return chosen(data, items), nil
}

func chosen(data map[string][]byte, items []corev1.KeyToPath) map[string][]byte {
	if len(items) == 0 {
		return data
	}
	out := map[string][]byte{}
	for _, item := range items {
		out[item.Path] = data[item.Key]
	}
	return out
}

func writeFiles(dir string, files map[string][]byte, mode os.FileMode) error {
	for name, data := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, data, mode); err != nil {
			return err
		}
		if err := os.Chmod(file, mode); err != nil { // whatever the umask
			return err
		}
	}
	return nil
}

// mountTable lists what is laid over the image's files: kind, place on this machine, place in the container.
func (p *pod) mountTable(spec *corev1.Container, image Image) (string, error) {
	var b strings.Builder
	for _, place := range slices.Sorted(maps.Keys(image.Mounts)) {
		fmt.Fprintf(&b, "layer %s %s\n", image.Mounts[place], place)
	}
	for _, place := range image.ReadOnly {
		fmt.Fprintf(&b, "readonly %s %s\n", place, place)
	}
	for _, m := range spec.VolumeMounts {
		from, kind := p.volumeDir(m.Name), "bind"
		if m.SubPath != "" {
			from = path.Join(from, m.SubPath)
			if !exists(from) { // a directory of the volume, as a kubelet makes it
				if err := os.MkdirAll(from, 0o777); err != nil {
					return "", err
				}
				if err := os.Chmod(from, 0o777); err != nil {
					return "", err
				}
			}
			if info, err := os.Stat(from); err == nil && !info.IsDir() {
				kind = "file"
			}
		}
		if m.ReadOnly && kind == "bind" {
			kind = "readonly"
		}
		fmt.Fprintf(&b, "%s %s %s\n", kind, from, m.MountPath)
	}
	if dir := p.volumeDir("service-account"); exists(dir) {
		fmt.Fprintf(&b, "readonly %s %s\n", dir, accountMount)
	}
	for _, name := range []string{"hosts", "resolv.conf"} {
		fmt.Fprintf(&b, "file %s /etc/%s\n", filepath.Join(p.dir, name), name)
	}
	return b.String(), nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
