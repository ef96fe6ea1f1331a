package kubernetes

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

// Provider is where the instances of functions get their credentials from (Kubernetes contract, section 8).
type Provider int

const (
	// NoProvider gives instances none.
	NoProvider Provider = iota
	// SecretToken is KubernetesSecretsTokenAuthProvider: the submitter's token lies in a Secret, which the metadata names.
	SecretToken
	// ServiceAccountToken is KubernetesServiceAccountTokenAuthProvider: Kubernetes issues a token for the pod.
	ServiceAccountToken
)

// Credentials say what instances present to the broker. Nothing here is changed for one function: each gets a copy.
type Credentials struct {
	Provider Provider
	// TLS holds the settings that all instances share; its Plugin and Params are not used.
	TLS launch.Auth
	// Trust is mounted into every pod, whatever the provider, and read instead of all other certificates.
	Trust Trust
	// CA is put beside the token of SecretToken; empty = none.
	CA []byte
	// ServiceAccountToken only. Expiration in seconds (default 3600), Audience "" = that of the API server. TrustSecret
	// names a Secret with the entry ca.crt in the function's namespace; "" = none.
	Expiration            int64
	Audience, TrustSecret string
}

// Trust is an entry of a Secret in each namespace of functions: the certificate authorities (PEM) that pods accept; Name "" = none.
type Trust struct{ Name, Key string }

const (
	tokenPlugin     = "org.apache.pulsar.client.impl.auth.AuthenticationToken" //nolint:gosec // a class name
	authDirectory   = "/etc/auth"
	tokenParams     = "file://" + authDirectory + "/token"
	secretPrefix    = "pf-secret-"
	authVolume      = "function-auth"
	trustVolume     = "function-trust"
	trustDirectory  = "/etc/pulsar-trust"
	defaultValidity = 3600
)

var secretID = regexp.MustCompile(`^[a-z0-9]{5}$`)

// granted is what one function's pods get.
type granted struct {
	auth    *launch.Auth // nil = neither credentials nor TLS settings
	volumes []corev1.Volume
	mounts  []corev1.VolumeMount
}

// grant is pure.
func (o Options) grant(meta *pb.FunctionMetaData) (granted, error) {
	if o.Credentials == nil {
		return granted{}, nil
	}
	g, err := o.Credentials.grant(meta)
	if trust := o.Credentials.Trust; err == nil && trust.Name != "" {
		const file = "ca.crt"
		g.auth.TrustCertsFile = trustDirectory + "/" + file
		g.volumes = append(g.volumes, corev1.Volume{Name: trustVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: trust.Name, Items: []corev1.KeyToPath{{Key: trust.Key, Path: file}}, DefaultMode: fileMode()}}})
		g.mounts = append(g.mounts, corev1.VolumeMount{Name: trustVolume, MountPath: trustDirectory, ReadOnly: true})
	}
	return g, err
}

// grant gives a function without a token of its own no credentials, and the broker decides what that may do.
func (c Credentials) grant(meta *pb.FunctionMetaData) (granted, error) {
	auth := c.TLS
	auth.Plugin, auth.Params = "", ""
	switch c.Provider {
	case SecretToken:
		id := string(meta.GetFunctionAuthSpec().GetData())
		if id == "" {
			return granted{auth: &auth}, nil
		}
		if !secretID.MatchString(id) {
			return granted{}, errors.New("the credentials in its metadata were not made for Kubernetes: update the function with --update-auth-data")
		}
		auth.Plugin, auth.Params = tokenPlugin, tokenParams
		if len(c.CA) > 0 {
			auth.TrustCertsFile = authDirectory + "/ca.pem"
		}
		source := corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secretPrefix + id, DefaultMode: fileMode()}}
		return mounted(&auth, authVolume, source), nil
	case ServiceAccountToken:
		auth.Plugin, auth.Params = tokenPlugin, tokenParams
		validity := c.Expiration
		if validity == 0 {
			validity = defaultValidity
		}
		sources := []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: c.Audience, ExpirationSeconds: &validity, Path: "token"}}}
		if c.TrustSecret != "" {
			// In one volume with the token: two at the same path, as the Java worker has them, are refused by the API server.
			auth.TrustCertsFile = authDirectory + "/ca.crt"
			sources = append(sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: c.TrustSecret}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}})
		}
		source := corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources, DefaultMode: fileMode()}}
		return mounted(&auth, "service-account-token", source), nil
	}
	return granted{auth: &auth}, nil
}

func mounted(auth *launch.Auth, name string, source corev1.VolumeSource) granted {
	return granted{auth: auth, volumes: []corev1.Volume{{Name: name, VolumeSource: source}},
		mounts: []corev1.VolumeMount{{Name: name, MountPath: authDirectory, ReadOnly: true}}}
}

func fileMode() *int32 {
	mode := corev1.SecretVolumeSourceDefaultMode
	return &mode
}

// ErrTaken: there is a Secret with this id already.
var ErrTaken = errors.New("the id is taken")

// NewTokenID draws the id of a Secret that is to be made, as the Java worker does.
func NewTokenID() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails
	for i, b := range random {
		random[i] = letters[int(b)%len(letters)] // a little uneven, which matters to nobody: the id is no secret
	}
	return string(random[:])
}

// IsTokenID says whether the data of a FunctionAuthenticationSpec names a Secret.
func IsTokenID(data []byte) bool { return secretID.Match(data) }

// PutToken writes the token of a function's submitter into the Secret with this id. With replace an existing one gets the
// token, otherwise the error is ErrTaken. The pods that run get it too: Kubernetes renews the file, and clients read it anew.
func (f *Factory) PutToken(ctx context.Context, d *pb.FunctionDetails, id, token string, replace bool) error {
	o := f.options()
	custom, err := o.customization(d)
	if err != nil {
		return err
	}
	namespace, name := o.namespaceOf(custom), secretPrefix+id
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"token": []byte(token)}}
	if o.Credentials != nil && len(o.Credentials.CA) > 0 {
		secret.Data["ca.pem"] = o.Credentials.CA
	}
	api, a := f.clients.Objects.Secrets(namespace), action{"create", "", "secrets", namespace, name}
	_, err = request(ctx, o.RequestTimeout, a, func(ctx context.Context) (*corev1.Secret, error) {
		return api.Create(ctx, secret, metav1.CreateOptions{FieldManager: f.manager})
	})
	switch {
	case apierrors.IsAlreadyExists(err) && !replace:
		return ErrTaken
	case apierrors.IsAlreadyExists(err):
		_, err = request(ctx, o.RequestTimeout, a.to("update"), func(ctx context.Context) (*corev1.Secret, error) {
			return api.Update(ctx, secret, metav1.UpdateOptions{FieldManager: f.manager})
		})
	}
	return err
}

// RemoveToken deletes the Secret of a function with these customRuntimeOptions; nil when there is none.
func (f *Factory) RemoveToken(ctx context.Context, customRuntimeOptions, id string) error {
	if !secretID.MatchString(id) { // an empty id would name a Secret that was never ours
		return fmt.Errorf("%q is not the id of a token's Secret", id)
	}
	o := f.options()
	custom, err := o.customization(&pb.FunctionDetails{CustomRuntimeOptions: customRuntimeOptions})
	if err != nil {
		return err
	}
	return f.deleteSecret(ctx, o.namespaceOf(custom), secretPrefix+id)
}

func (f *Factory) deleteSecret(ctx context.Context, namespace, name string) error {
	_, err := request(ctx, f.options().RequestTimeout, action{"delete", "", "secrets", namespace, name}, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, ignoreMissing(f.clients.Objects.Secrets(namespace).Delete(ctx, name, metav1.DeleteOptions{}))
	})
	return err
}
