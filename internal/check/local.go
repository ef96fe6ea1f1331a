package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/functions-worker/functions-worker/internal/config"
)

func checkIdentity(ctx context.Context, w *config.Worker, p Probes) []Finding {
	identity := fmt.Sprintf("this worker is %s at %s:%d", w.WorkerID, w.WorkerHostname, w.Computed.Port)
	if p.Resolve != nil {
		if err := p.Resolve(ctx, w.WorkerHostname); err != nil {
			return []Finding{warn("workerHostname", "set workerHostname to a name or address that other workers and clients can resolve", "%s, but that name cannot be resolved here: %v", identity, err)}
		}
	}
	if w.WorkerHostname == "localhost" {
		return []Finding{warn("workerHostname", "for more than one host, set workerHostname to this host's name in the network", "%s: only clients and workers on this host can reach it", identity)}
	}
	return []Finding{ok("workerId", "%s", identity)}
}

func checkPorts(_ context.Context, w *config.Worker, p Probes) []Finding {
	if p.Listen == nil {
		return nil
	}
	ports := []struct {
		key  string
		port *int
	}{{"workerPort", w.WorkerPort}}
	if w.Computed.TLS {
		ports = append(ports, struct {
			key  string
			port *int
		}{"workerPortTls", w.WorkerPortTLS})
	}
	var findings []Finding
	for _, f := range ports {
		if f.port == nil || *f.port == 0 {
			continue
		}
		if err := p.Listen(net.JoinHostPort(w.Go.ListenAddress, strconv.Itoa(*f.port))); err != nil {
			findings = append(findings, fail(f.key, "choose another port, or stop what uses it (a running worker, perhaps this one)", "port %d cannot be opened: %v", *f.port, err))
		} else {
			findings = append(findings, ok(f.key, "port %d is free", *f.port))
		}
	}
	return findings
}

func checkTLS(_ context.Context, w *config.Worker, p Probes) []Finding {
	var findings []Finding
	files := w.Computed.Files
	if w.Computed.TLS && !w.TLSEnabledWithKeyStore {
		findings = append(findings, checkCertificate(w, p.Now))
	}
	if w.Computed.TLS && w.TLSEnabledWithKeyStore {
		findings = append(findings, checkReadable("tlsKeyStore", files.TLSKeyStore))
		if files.TLSTrustStore != "" {
			findings = append(findings, checkReadable("tlsTrustStore", files.TLSTrustStore))
		}
	}
	for _, f := range []struct{ key, path string }{{"tlsTrustCertsFilePath", files.TLSTrustCerts}, {"brokerClientTrustCertsFilePath", files.BrokerTrustCerts}} {
		if f.path == "" || (f.key == "brokerClientTrustCertsFilePath" && f.path == files.TLSTrustCerts) {
			continue
		}
		data, err := os.ReadFile(f.path)
		switch {
		case err != nil:
			findings = append(findings, fail(f.key, "correct the path or its permissions", "cannot be read: %v", err))
		case !x509.NewCertPool().AppendCertsFromPEM(data):
			findings = append(findings, fail(f.key, "name a file with certificates in PEM form", "%s holds no certificate", f.path))
		default:
			findings = append(findings, ok(f.key, "%s holds certificates", f.path))
		}
	}
	return findings
}

func checkCertificate(w *config.Worker, now func() time.Time) Finding {
	const key = "tlsCertificateFilePath"
	pair, err := tls.LoadX509KeyPair(w.Computed.Files.TLSCertificate, w.Computed.Files.TLSKey)
	if err != nil {
		return fail(key, "name a certificate chain (tlsCertificateFilePath) and its unencrypted key (tlsKeyFilePath), both PEM", "the certificate cannot be used: %v", err)
	}
	leaf := pair.Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return fail(key, "replace the certificate", "the certificate cannot be parsed: %v", err)
		}
	}
	left := leaf.NotAfter.Sub(now())
	switch {
	case left <= 0:
		return fail(key, "renew the certificate", "the certificate ended on %s", leaf.NotAfter.Format(time.DateOnly))
	case now().Before(leaf.NotBefore):
		return fail(key, "correct the clock, or wait", "the certificate begins on %s", leaf.NotBefore.Format(time.DateTime))
	case leaf.VerifyHostname(w.WorkerHostname) != nil:
		return warn(key, "issue it for "+w.WorkerHostname+", or set workerHostname to a name in it", "the certificate is not for %s (but %s)", w.WorkerHostname, strings.Join(leaf.DNSNames, ", "))
	case left < 14*24*time.Hour:
		return warn(key, "renew the certificate", "the certificate ends on %s", leaf.NotAfter.Format(time.DateOnly))
	}
	return ok(key, "the certificate for %s is valid until %s", w.WorkerHostname, leaf.NotAfter.Format(time.DateOnly))
}

func checkReadable(key, path string) Finding {
	f, err := os.Open(path)
	if err != nil {
		return fail(key, "correct the path or its permissions", "cannot be read: %v", err)
	}
	_ = f.Close()
	return ok(key, "%s can be read", path)
}

// checkSecretFiles opens the files that authentication parameters and properties name; their content is not shown.
func checkSecretFiles(_ context.Context, w *config.Worker, _ Probes) []Finding {
	var findings []Finding
	look := func(key, value string) {
		value = strings.TrimPrefix(value, "token:")
		if !strings.HasPrefix(value, "file:") {
			return
		}
		path := strings.TrimPrefix(value, "file:")
		if u, err := url.Parse(value); err == nil && u.Path != "" {
			path = u.Path
		}
		path = w.Path(path)
		data, err := os.ReadFile(path)
		switch {
		case err != nil:
			findings = append(findings, fail(key, "correct the path or its permissions", "the file it names cannot be read: %v", err))
		case len(data) == 0:
			findings = append(findings, fail(key, "put the key or token into the file", "the file %s is empty", path))
		default:
			findings = append(findings, ok(key, "%s can be read", path))
		}
	}
	look("brokerClientAuthenticationParameters", w.Computed.BrokerAuth.Params)
	names := make([]string, 0, len(w.Properties))
	for name := range w.Properties {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		look("properties."+name, w.Properties[name])
		block, _ := pem.Decode([]byte(w.Properties[name]))
		if name == "tokenPublicKey" && block != nil && strings.Contains(block.Type, "PRIVATE") {
			findings = append(findings, fail("properties.tokenPublicKey", "give the public key", "it holds a private key"))
		}
	}
	return findings
}

func checkDirectories(_ context.Context, w *config.Worker, _ Probes) []Finding {
	files := w.Computed.Files
	var findings []Finding
	seen := map[string]bool{}
	writable := func(key, path string) {
		if path == "" || seen[path] {
			return
		}
		seen[path] = true
		findings = append(findings, checkWritable(key, path))
	}
	if w.Computed.Runtime != config.RuntimeKubernetes {
		writable("downloadDirectory", files.DownloadDirectory)
		writable("functionRuntimeFactoryConfigs.logDirectory", filepath.Join(w.Computed.Process.LogDirectory, "functions"))
		writable("narExtractionDirectory", files.NarExtractionDirectory)
	}
	writable("goWorker.tempDirectory", files.TempDirectory)
	if w.Computed.PackageStore == "filesystem" {
		writable("goWorker.packageDirectory", files.PackageDirectory)
	}
	for _, f := range []struct{ key, path string }{{"connectorsDirectory", files.ConnectorsDirectory}, {"functionsDirectory", files.FunctionsDirectory}} {
		if f.path == "" {
			continue
		}
		entries, err := os.ReadDir(f.path)
		switch {
		case os.IsNotExist(err):
			findings = append(findings, ok(f.key, "%s does not exist: there are no built-ins", f.path))
		case err != nil:
			findings = append(findings, warn(f.key, "correct the path or its permissions", "cannot be read: %v", err))
		default:
			findings = append(findings, ok(f.key, "%s holds %d file(s)", f.path, len(entries)))
		}
	}
	return findings
}

// checkWritable tries a file in the directory, or in the nearest parent that exists; it creates no directory.
func checkWritable(key, path string) Finding {
	remedy := "create it, or change its owner or permissions, or name another directory"
	dir := path
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return fail(key, remedy, "%s is not a directory", dir)
		}
		if err == nil {
			break
		}
		if !os.IsNotExist(err) || filepath.Dir(dir) == dir {
			return fail(key, remedy, "%s cannot be used: %v", path, err)
		}
		dir = filepath.Dir(dir)
	}
	f, err := os.CreateTemp(dir, ".functions-worker-check-*")
	if err != nil {
		return fail(key, remedy, "%s cannot be written: %v", path, err)
	}
	_ = f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return warn(key, remedy, "the file %s of this check cannot be removed: %v", f.Name(), err)
	}
	if dir != path {
		return ok(key, "%s can be created", path)
	}
	return ok(key, "%s can be written", path)
}
