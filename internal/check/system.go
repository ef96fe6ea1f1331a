package check

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/runtime/process"
)

// System are probes that look at this machine and at the network.
func System(w *config.Worker) Probes {
	return Probes{
		AsFunction: asFunction(w.Go.FunctionUser),
		Run: func(ctx context.Context, name string, args ...string) (string, error) {
			return runProgram(exec.CommandContext(ctx, name, args...))
		},
		FindFile: exec.LookPath, Get: getter(w), Dial: dial, Listen: listen, Now: time.Now,
		Resolve: func(ctx context.Context, host string) error {
			_, err := net.DefaultResolver.LookupHost(ctx, host)
			return err
		},
	}
}

// boundedBuffer keeps the first bytes of what a program writes. The buffer is no embedded field: its ReadFrom would
// go around the limit.
type boundedBuffer struct {
	kept  bytes.Buffer
	limit int
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	b.kept.Write(p[:max(0, min(len(p), b.limit-b.kept.Len()))])
	return len(p), nil
}

// asFunction is nil when functions run as the worker's own user.
func asFunction(user string) func(ctx context.Context, name string, args ...string) (string, error) {
	if user == "" {
		return nil
	}
	return func(ctx context.Context, name string, args ...string) (string, error) {
		uid, gid, err := process.FunctionUser(user)
		if err != nil {
			return "", err
		}
		command := exec.CommandContext(ctx, name, args...)
		command.Dir = "/"
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		return runProgram(command)
	}
}

func runProgram(command *exec.Cmd) (string, error) {
	out := &boundedBuffer{limit: 16 << 10}
	command.Stdout, command.Stderr = out, out
	// A grandchild that keeps the pipe open must not hold the check up.
	command.WaitDelay = time.Second
	err := command.Run()
	return out.kept.String(), err
}

// getter makes plain GET requests, without credentials: it tells whether somebody is there.
func getter(w *config.Worker) func(ctx context.Context, url string) (Answer, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: brokerTrust(w), DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}
	return func(ctx context.Context, url string) (Answer, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return Answer{}, err
		}
		response, err := client.Do(request)
		if err != nil {
			return Answer{}, err
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
		answer := Answer{Status: response.StatusCode}
		if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			answer.Date = date
		}
		return answer, nil
	}
}

// brokerTrust is what the worker's clients trust; an unreadable file is reported by the TLS check.
func brokerTrust(w *config.Worker) *tls.Config {
	trust := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: w.TLSAllowInsecureConnection}
	if file := w.Computed.Files.BrokerTrustCerts; file != "" {
		if pem, err := os.ReadFile(file); err == nil {
			trust.RootCAs = x509.NewCertPool()
			trust.RootCAs.AppendCertsFromPEM(pem)
		}
	}
	// Without host name verification the chain is still verified, as the Java worker does.
	if !w.TLSEnableHostnameVerification && !trust.InsecureSkipVerify {
		roots := trust.RootCAs
		trust.InsecureSkipVerify = true
		trust.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, roots) }
	}
	return trust
}

func verifyChain(state tls.ConnectionState, roots *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("the server shows no certificate")
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, certificate := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(certificate)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err
}

func dial(ctx context.Context, address string) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return connection.Close()
}

func listen(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return listener.Close()
}
