package kubernetes

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MayKeepTokens says which rights are missing for the Secrets with the tokens of functions, by requests that change nothing. The
// answer is nil when all are there, or when functions get no such tokens.
func (f *Factory) MayKeepTokens(ctx context.Context) error {
	o := f.options()
	if o.Credentials == nil || o.Credentials.Provider != SecretToken {
		return nil
	}
	namespace := o.JobNamespace
	api := f.clients.Objects.Secrets(namespace)
	dry := []string{metav1.DryRunAll}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretPrefix + "dry-run", Namespace: namespace}, Type: corev1.SecretTypeOpaque}
	tries := []struct {
		verb string
		do   func(context.Context) error
	}{
		{"create", func(ctx context.Context) error {
			_, err := api.Create(ctx, secret, metav1.CreateOptions{FieldManager: f.manager, DryRun: dry})
			return err
		}},
		{"update", func(ctx context.Context) error {
			_, err := api.Update(ctx, secret, metav1.UpdateOptions{FieldManager: f.manager, DryRun: dry})
			return err
		}},
		{"delete", func(ctx context.Context) error {
			return api.Delete(ctx, secret.Name, metav1.DeleteOptions{DryRun: dry})
		}},
	}
	var missing []error
	for _, try := range tries {
		_, err := request(ctx, o.RequestTimeout, action{try.verb, "", "secrets", namespace, secret.Name}, func(ctx context.Context) (struct{}, error) {
			err := try.do(ctx)
			if apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) { // the right is there, and was all that was asked
				err = nil
			}
			return struct{}{}, err
		})
		missing = append(missing, err)
	}
	return errors.Join(missing...)
}
