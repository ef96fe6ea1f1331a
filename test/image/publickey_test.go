package image

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/functions-worker/functions-worker/test/certificates"
)

// officialChartPublicKey: the official chart's default for tokens, a key pair of which the worker gets the public half, and its
// scripts that put several certificate authorities into one file (tls.function_worker.cacerts). The broker itself asks for nothing.
func officialChartPublicKey(t *testing.T, b broker) {
	pair := func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) }
	token := func(key *rsa.PrivateKey) string {
		return must(jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"sub": "admin"}).SignedString(key))
	}
	key := pair()
	s := &secured{authority: certificates.New(t)}
	s.ca, b.token = s.authority.File, token(key)
	c := newCluster(t, b)
	c.createSecrets(map[string]map[string][]byte{
		"pulsar-token-asymmetric-key": {"PUBLICKEY": must(x509.MarshalPKIXPublicKey(&key.PublicKey))},
		"pulsar-token-broker-admin":   {"TOKEN": []byte(token(key))},
		"pulsar-ca-tls":               {"ca.crt": read(t, certificates.New(t).File)},
		"pulsar-ci-common-cacert":     {"ca.crt": read(t, s.ca)},
		"pulsar-tls-function-worker":  s.certificate(t),
	})
	c.applyText(withPublicKey(t, string(read(t, filepath.Join("testdata", "chart-jwt-tls.yaml")))))
	worker := c.awaitReady(workerPod, 60*time.Second)

	status, body := c.get(worker, "/admin/v3/functions/public/default")
	require.Equal(t, http.StatusOK, status, body)
	require.Equal(t, http.StatusUnauthorized, c.anonymous(worker, "/admin/v3/functions/public/default"))
	c.broker.token = token(pair())
	status, body = c.get(worker, "/admin/v3/functions/public/default")
	require.Equal(t, http.StatusUnauthorized, status, "a token of another key: %s", body)

	volume := must(filepath.Glob(filepath.Join(c.dir, "pods", "*", "volumes", "function-worker-cacerts")))
	require.Len(t, volume, 1)
	combined := string(read(t, filepath.Join(volume[0], "ca-combined.pem")))
	require.Equal(t, 2, strings.Count(combined, "BEGIN CERTIFICATE"))
	require.Contains(t, combined, "# /pulsar/certs/common-cacert/ca.crt")
	require.Empty(t, string(read(t, filepath.Join(volume[0], "certs-combine-pem-infinity.log"))), "the script that goes on says nothing")
}

// withPublicKey is the chart's rendering with usingSecretKey: false and cacerts (its templates _function_worker.tpl and
// function-worker-statefulset.yaml), and without TLS to the broker.
func withPublicKey(t *testing.T, rendering string) string {
	t.Helper()
	rendering = strings.NewReplacer("PF_properties_tokenSecretKey: file:///pulsar/keys/token/secret.key", "PF_properties_tokenPublicKey: file:///pulsar/keys/token/public.key",
		"pulsar-token-symmetric-key", "pulsar-token-asymmetric-key", "SECRETKEY", "PUBLICKEY", "token/secret.key", "token/public.key",
		"/pulsar/certs/ca/ca.crt", "/pulsar/certs/cacerts/ca-combined.pem", "PF_useTls: 'true'", "PF_useTls: 'false'",
		"pulsar+ssl://pulsar-broker:6651/", "pulsar://pulsar-broker:6650/", "https://pulsar-broker:8443/", "http://pulsar-broker:8080/").Replace(rendering)
	var out strings.Builder
	for _, u := range list(t, rendering) {
		if u.GetKind() == "StatefulSet" {
			set := typed[appsv1.StatefulSet](t, u)
			combineAuthorities(&set.Spec.Template.Spec)
			u = &unstructured.Unstructured{Object: must(runtime.DefaultUnstructuredConverter.ToUnstructured(&set))}
		}
		out.Write(must(json.Marshal(u)))
		out.WriteString("\n---\n")
	}
	scripts := corev1.ConfigMap{Data: map[string]string{"certs-combine-pem.sh": combineScript, "certs-combine-pem-infinity.sh": combineForeverScript}}
	scripts.APIVersion, scripts.Kind, scripts.Name = "v1", "ConfigMap", "pulsar-certs-scripts"
	out.Write(must(json.Marshal(scripts)))
	return out.String()
}

func combineAuthorities(pod *corev1.PodSpec) {
	const files = "/pulsar/certs/cacerts/ca-combined.pem /pulsar/certs/ca/ca.crt /pulsar/certs/common-cacert/ca.crt"
	worker := &pod.Containers[0]
	worker.VolumeMounts = append(worker.VolumeMounts, corev1.VolumeMount{Name: "function-worker-cacerts", MountPath: "/pulsar/certs/cacerts"},
		corev1.VolumeMount{Name: "common-cacert", MountPath: "/pulsar/certs/common-cacert", ReadOnly: true},
		corev1.VolumeMount{Name: "certs-scripts", MountPath: "/pulsar/bin/certs-combine-pem.sh", SubPath: "certs-combine-pem.sh"},
		corev1.VolumeMount{Name: "certs-scripts", MountPath: "/pulsar/bin/certs-combine-pem-infinity.sh", SubPath: "certs-combine-pem-infinity.sh"})
	worker.Args[0] = "cd /pulsar/certs/cacerts;\nnohup /pulsar/bin/certs-combine-pem-infinity.sh " + files + " > /pulsar/certs/cacerts/certs-combine-pem-infinity.log 2>&1 &\ncd /pulsar;\n" + worker.Args[0]
	pod.InitContainers = append([]corev1.Container{{Name: "cacerts", Image: worker.Image, Command: []string{"sh", "-c"}, Args: []string{"bin/certs-combine-pem.sh " + files + "\n"}, VolumeMounts: worker.VolumeMounts}}, pod.InitContainers...)
	mode := int32(0o755)
	scripts := corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "pulsar-certs-scripts"}, DefaultMode: &mode}
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "function-worker-cacerts", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		corev1.Volume{Name: "common-cacert", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "pulsar-ci-common-cacert"}}},
		corev1.Volume{Name: "certs-scripts", VolumeSource: corev1.VolumeSource{ConfigMap: &scripts}})
}

// The chart's scripts use these commands and options in these ways.
const combineScript = `#!/bin/bash
set -eu -o pipefail
out="$1"
shift
rm -f "$out.tmp"
for one in "$@"; do
  if [ -f "$one" ]; then
    echo "# $one" >> "$out.tmp"
    cat "$one" >> "$out.tmp"
  fi
done
if [ ! -f "$out" ]; then
  touch "$out"
fi
if diff -q "$out" "$out.tmp" > /dev/null; then
  rm -f "$out.tmp"
else
  mv "$out.tmp" "$out"
fi
`

const combineForeverScript = `#!/bin/bash
set -eu -o pipefail
while true; do
  /pulsar/bin/certs-combine-pem.sh "$@"
  sleep 60
done
`
