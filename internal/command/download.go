package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/broker"
)

// download is one package on its way into a pod.
type download struct {
	from                    broker.Config
	tenant, namespace, name string
	transform, executable   bool
	file                    string
	attempts                int
	pause                   time.Duration // before the second attempt; it doubles
}

// downloadCommand fetches the package of a function, as `pulsar-admin functions download` does and with its options, but
// needs no Java: pods of this project's image use it.
func downloadCommand() *cobra.Command {
	d := download{attempts: 6, pause: time.Second}
	return d.command()
}

func (d *download) command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "download", Short: "Fetch the package of a function, sink or source from a worker (what pods do)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context(), cmd.ErrOrStderr()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&d.from.WebServiceURL, "admin-url", "", "URL of a worker")
	flags.StringVar(&d.from.AuthPlugin, "auth-plugin", "", "Java class name of the client authentication")
	flags.StringVar(&d.from.AuthParams, "auth-params", "", "its parameters, such as file:///etc/auth/token")
	flags.BoolVar(&d.from.AllowInsecure, "tls-allow-insecure", false, "accept any certificate")
	flags.BoolVar(&d.from.HostnameVerification, "tls-enable-hostname-verification", false, "check the name in the certificate")
	flags.StringVar(&d.from.TrustCertsFile, "tls-trust-cert-path", "", "certificates to trust (default: those of the system)")
	flags.StringVar(&d.tenant, "tenant", "", "tenant of the function")
	flags.StringVar(&d.namespace, "namespace", "", "its namespace")
	flags.StringVar(&d.name, "name", "", "its name")
	flags.BoolVar(&d.transform, "transform-function", false, "the transform function of a sink instead")
	flags.BoolVar(&d.executable, "executable", false, "make the file executable")
	flags.StringVar(&d.file, "destination-file", "", "file to write; directories are made")
	for _, required := range []string{"admin-url", "tenant", "namespace", "name", "destination-file"} {
		_ = cmd.MarkFlagRequired(required) // fails for an unknown flag only
	}
	return cmd
}

// run tries again while there is no answer or a server's error: the worker may just be restarting.
func (d download) run(ctx context.Context, out io.Writer) error {
	admin, err := broker.NewAdmin(d.from, zap.NewNop())
	if err != nil {
		return fmt.Errorf("--admin-url or the credentials cannot be used: %w", err)
	}
	defer admin.Close()
	for attempt, pause := 1, d.pause; ; attempt, pause = attempt+1, 2*pause {
		err := d.once(ctx, admin)
		var answer *broker.Error
		if errors.As(err, &answer) {
			err = fmt.Errorf("%s answered %d: %s", d.from.WebServiceURL, answer.Code, answer.Reason)
		}
		if err == nil {
			return nil
		}
		err = fmt.Errorf("downloading the package of %s/%s/%s: %w", d.tenant, d.namespace, d.name, err)
		var local *os.PathError
		if errors.As(err, &local) || answer != nil && answer.Code < 500 || attempt == d.attempts || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(out, "%v; trying again in %s\n", err, pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// once writes the file as a whole or not at all.
func (d download) once(ctx context.Context, admin *broker.Admin) (err error) {
	if err := os.MkdirAll(filepath.Dir(d.file), 0o755); err != nil {
		return err
	}
	body, err := admin.FunctionPackage(ctx, d.tenant, d.namespace, d.name, d.transform)
	if err != nil {
		return err
	}
	defer body.Close()
	temp, err := os.CreateTemp(filepath.Dir(d.file), ".download-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	mode := os.FileMode(0o644)
	if d.executable {
		mode = 0o755
	}
	_, err = io.Copy(temp, body)
	if err = errors.Join(err, temp.Chmod(mode), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), d.file)
}
