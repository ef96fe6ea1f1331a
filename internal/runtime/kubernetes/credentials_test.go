package kubernetes

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

func withToken(meta *pb.FunctionMetaData, id string) *pb.FunctionMetaData {
	meta.FunctionAuthSpec = &pb.FunctionAuthenticationSpec{Data: []byte(id)}
	return meta
}

func TestCredentialsInPods(t *testing.T) {
	tls := launch.Auth{Plugin: "worker's", Params: "worker's", UseTLS: true, TrustCertsFile: "/worker/ca.pem"}
	const token = "--auth-plugin org.apache.pulsar.client.impl.auth.AuthenticationToken --auth-params file:///etc/auth/token"
	mount := []corev1.VolumeMount{{MountPath: "/etc/auth", ReadOnly: true}}
	named := func(name string) []corev1.VolumeMount {
		m := []corev1.VolumeMount{mount[0]}
		m[0].Name = name
		return m
	}
	trust := Trust{Name: "authorities", Key: "bundle.pem"}
	trusted := []corev1.VolumeMount{{Name: "function-trust", MountPath: "/etc/pulsar-trust", ReadOnly: true}}
	tests := map[string]struct {
		credentials *Credentials
		id          string
		want        []string // in the command
		wantNot     []string
		wantMounts  []corev1.VolumeMount
		wantError   string
	}{
		"authentication off": {wantNot: []string{"--auth-plugin", "--client_auth_plugin", "--use_tls", "--tls-trust-cert-path"}},
		"a token": {credentials: &Credentials{Provider: SecretToken, TLS: tls}, id: "ab1cd",
			want:       []string{token + " --tls-trust-cert-path /worker/ca.pem functions download", "--client_auth_params file:///etc/auth/token --use_tls true"},
			wantMounts: named("function-auth")},
		"a token and certificates": {credentials: &Credentials{Provider: SecretToken, TLS: tls, CA: []byte("x")}, id: "ab1cd",
			want: []string{"--tls-trust-cert-path /etc/auth/ca.pem", "--tls_trust_cert_path /etc/auth/ca.pem"}, wantMounts: named("function-auth")},
		"no token": {credentials: &Credentials{Provider: SecretToken, TLS: tls, CA: []byte("x")},
			want: []string{"--use_tls true", "--tls_trust_cert_path /worker/ca.pem"}, wantNot: []string{"worker's", "--auth-plugin", "--client_auth_plugin"}},
		"credentials of another provider": {credentials: &Credentials{Provider: SecretToken}, id: "eyJhbGciOiJIUzI1NiJ9.e30.x", wantError: "--update-auth-data"},
		"a service account": {credentials: &Credentials{Provider: ServiceAccountToken, TLS: tls, TrustSecret: "trust"},
			want: []string{token, "--tls_trust_cert_path /etc/auth/ca.crt"}, wantNot: []string{"worker's"}, wantMounts: named("service-account-token")},
		"certificates without authentication": {credentials: &Credentials{TLS: tls, Trust: trust}, wantNot: []string{"--auth-plugin", "--client_auth_plugin", "/worker"},
			want:       []string{"--tls-trust-cert-path /etc/pulsar-trust/ca.crt functions download", "--use_tls true", "--tls_trust_cert_path /etc/pulsar-trust/ca.crt"},
			wantMounts: trusted},
		"certificates with a token": {credentials: &Credentials{Provider: SecretToken, TLS: tls, CA: []byte("x"), Trust: trust}, id: "ab1cd", wantNot: []string{"ca.pem"},
			want: []string{token + " --tls-trust-cert-path /etc/pulsar-trust/ca.crt"}, wantMounts: append(named("function-auth"), trusted...)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := recordedOptions(t)
			o.Credentials = tt.credentials
			meta := metaOf("f", "p")
			if tt.id != "" {
				withToken(meta, tt.id)
			}
			got, err := o.build(meta)
			if tt.wantError != "" {
				require.ErrorContains(t, err, tt.wantError)
				return
			}
			require.NoError(t, err)
			container := got.set.Spec.Template.Spec.Containers[0]
			for _, text := range tt.want {
				require.Contains(t, container.Command[2], text)
			}
			for _, text := range tt.wantNot {
				require.NotContains(t, container.Command[2], text)
			}
			require.Equal(t, tt.wantMounts, container.VolumeMounts)
			require.Len(t, got.set.Spec.Template.Spec.Volumes, len(tt.wantMounts))
		})
	}
}

func TestServiceAccountTokenVolume(t *testing.T) {
	o := recordedOptions(t)
	o.Credentials = &Credentials{Provider: ServiceAccountToken, TrustSecret: "trust", Audience: "pulsar", Expiration: 900}
	got, err := o.build(metaOf("f", "p"))
	require.NoError(t, err)
	sources := got.set.Spec.Template.Spec.Volumes[0].Projected.Sources
	require.Len(t, sources, 2, "both in one volume: two cannot be mounted at one path")
	require.Equal(t, "pulsar", sources[0].ServiceAccountToken.Audience)
	require.EqualValues(t, 900, *sources[0].ServiceAccountToken.ExpirationSeconds)
	require.Equal(t, "trust", sources[1].Secret.Name)
	o.Credentials = &Credentials{Provider: ServiceAccountToken}
	got, err = o.build(metaOf("f", "p"))
	require.NoError(t, err)
	require.EqualValues(t, 3600, *got.set.Spec.Template.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken.ExpirationSeconds)
}

// TestRealCredentials: both providers before the real API server; what is written reads back as the same, the token is
// replaced in place, and the Secret goes.
func TestRealCredentials(t *testing.T) {
	c := realCluster(t)
	for name, credentials := range map[string]*Credentials{
		"secret":          {Provider: SecretToken, CA: []byte("certificates")},
		"service-account": {Provider: ServiceAccountToken, TrustSecret: "trust", Audience: "pulsar"},
		"trust":           {Trust: Trust{Name: "authorities", Key: "bundle.pem"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.factory(t, c.config, func(o *Options) { o.Credentials = credentials })
			meta := withToken(metaOf(name, "p"), "ab1cd")
			if credentials.Provider == SecretToken {
				require.NoError(t, f.PutToken(t.Context(), meta.FunctionDetails, "ab1cd", "first", false))
				require.ErrorIs(t, f.PutToken(t.Context(), meta.FunctionDetails, "ab1cd", "other", false), ErrTaken)
			}
			for range 2 { // the second worker finds nothing to change
				run, err := f.New(instanceOf(meta))
				require.NoError(t, err)
				require.NoError(t, run.Start(t.Context()))
				set, err := c.api.AppsV1().StatefulSets(c.namespace).Get(t.Context(), "pf-public-default-"+name, metav1.GetOptions{})
				require.NoError(t, err)
				require.EqualValues(t, 1, set.Generation)
				run.(interface{ Detach() }).Detach()
				f.settled.forget(objectKey{c.namespace, set.Name})
			}
			if credentials.Provider != SecretToken {
				return
			}
			require.NoError(t, f.PutToken(t.Context(), meta.FunctionDetails, "ab1cd", "second", true))
			secret, err := c.api.CoreV1().Secrets(c.namespace).Get(t.Context(), "pf-secret-ab1cd", metav1.GetOptions{})
			require.NoError(t, err)
			require.Equal(t, map[string][]byte{"token": []byte("second"), "ca.pem": []byte("certificates")}, secret.Data)
			require.Error(t, f.RemoveToken(t.Context(), "", ""))
			require.NoError(t, f.RemoveToken(t.Context(), "", "ab1cd"))
			require.NoError(t, f.RemoveToken(t.Context(), "", "ab1cd"), "it is gone already")
			_, err = c.api.CoreV1().Secrets(c.namespace).Get(t.Context(), "pf-secret-ab1cd", metav1.GetOptions{})
			require.True(t, apierrors.IsNotFound(err))
		})
	}
}
