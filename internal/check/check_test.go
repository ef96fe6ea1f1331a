package check

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/config"
)

// loadConfig makes a configuration whose home is a directory of this test, with the instance files in it.
func loadConfig(t *testing.T, more map[string]string) (*config.Worker, config.Report) {
	t.Helper()
	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, "instances", "python-instance"), 0o755))
	jar, err := os.Create(filepath.Join(home, "instances", "java-instance.jar"))
	require.NoError(t, err)
	require.NoError(t, zip.NewWriter(jar).Close())
	require.NoError(t, jar.Close())
	require.NoError(t, os.WriteFile(filepath.Join(home, "instances", "python-instance", "python_instance_main.py"), nil, 0o644))
	settings := map[string]string{
		"workerId": "w", "workerHostname": "worker.example.org", "workerPort": "6750", "pulsarServiceUrl": "pulsar://broker:6650",
		"pulsarWebServiceUrl": "http://broker:8080", "pulsarFunctionsNamespace": "public/functions", "pulsarFunctionsCluster": "standalone",
		"functionRuntimeFactoryClassName": "org.apache.pulsar.functions.runtime.process.ProcessRuntimeFactory",
		"downloadDirectory":               "download",
	}
	for k, v := range more {
		settings[k] = v
	}
	w, report, err := config.Load(config.Sources{Content: []byte("{}"), Env: []string{"PULSAR_HOME=" + home}, Overrides: settings})
	require.NoError(t, err)
	return w, report
}

type fakeAdmin struct {
	clusters, namespaces, topics []string
	tenant                       bool
	err                          error
	superuser                    error
}

func (f fakeAdmin) ActAsSuperuser(context.Context) error { return f.superuser }

func (f fakeAdmin) Clusters(context.Context) ([]string, error)           { return f.clusters, f.err }
func (f fakeAdmin) TenantExists(context.Context, string) (bool, error)   { return f.tenant, nil }
func (f fakeAdmin) Namespaces(context.Context, string) ([]string, error) { return f.namespaces, nil }
func (f fakeAdmin) Topics(context.Context, string) ([]string, error)     { return f.topics, nil }

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// healthy are probes of a host and a broker on which everything is as it should be.
func healthy() Probes {
	return Probes{
		Admin:   fakeAdmin{clusters: []string{"standalone"}, tenant: true, namespaces: []string{"public/functions"}},
		Connect: func(context.Context) error { return nil },
		Run: func(_ context.Context, name string, args ...string) (string, error) {
			switch {
			case strings.HasSuffix(name, "java"):
				return `openjdk version "17.0.15" 2025-04-15`, nil
			case args[0] == "--version":
				return "Python 3.11.2", nil
			}
			return "", nil
		},
		FindFile: func(name string) (string, error) { return "/usr/bin/" + name, nil },
		Get:      func(context.Context, string) (Answer, error) { return Answer{Status: 200, Date: now}, nil },
		Dial:     func(context.Context, string) error { return nil },
		Listen:   func(string) error { return nil },
		Resolve:  func(context.Context, string) error { return nil },
		Now:      func() time.Time { return now },
	}
}

func TestRun(t *testing.T) {
	cases := map[string]struct {
		settings   map[string]string
		change     func(p *Probes)
		wantStatus int
		want       string // part of the only finding that is not ok; "" = none
		wantRemedy string
	}{
		"all is well": {},
		"broker does not answer": {
			change: func(p *Probes) {
				p.Get = func(context.Context, string) (Answer, error) { return Answer{}, errors.New("refused") }
			},
			wantStatus: 1, want: "the broker does not answer: broker:8080: refused", wantRemedy: "start the broker",
		},
		"not a broker": {
			change: func(p *Probes) {
				p.Get = func(context.Context, string) (Answer, error) { return Answer{Status: 404}, nil }
			},
			wantStatus: 1, want: "it is no broker",
		},
		"broker wants credentials": {change: func(p *Probes) {
			p.Get = func(context.Context, string) (Answer, error) { return Answer{Status: 401}, nil }
		}},
		"clock": {
			change: func(p *Probes) {
				p.Get = func(context.Context, string) (Answer, error) {
					return Answer{Status: 200, Date: now.Add(time.Minute)}, nil
				}
			},
			want: "differ by 1m0s",
		},
		"wrong cluster": {
			settings: map[string]string{"pulsarFunctionsCluster": "west"}, wantStatus: 1, want: "the broker knows no cluster west; it knows standalone",
		},
		"credentials refused": {change: func(p *Probes) { p.Admin = fakeAdmin{err: errors.New("401")} }, wantStatus: 1, want: "cannot be listed: 401"},
		"nobody at the admin port": {change: func(p *Probes) {
			p.Admin = fakeAdmin{err: &url.Error{Op: "Get", URL: "http://broker:8080/admin/v2/clusters", Err: errors.New("refused")}}
		}, want: "could not be looked at"},
		"no token from its issuer": {change: func(p *Probes) {
			p.Admin = fakeAdmin{err: &url.Error{Op: "Post", URL: "http://issuer/token", Err: errors.New("refused")}}
		}, wantStatus: 1, want: "cannot be listed"},
		"tenant missing": {
			change:     func(p *Probes) { p.Admin = fakeAdmin{clusters: []string{"standalone"}} },
			wantStatus: 1, want: "the tenant public does not exist", wantRemedy: "pulsar-admin tenants create public",
		},
		"partitioned topic": {
			change: func(p *Probes) {
				p.Admin = fakeAdmin{clusters: []string{"standalone"}, tenant: true, namespaces: []string{"public/functions"}, topics: []string{"persistent://public/functions/metadata-partition-0"}}
			},
			wantStatus: 1, want: "has partitions",
		},
		"binary port closed": {change: func(p *Probes) { p.Dial = func(context.Context, string) error { return errors.New("refused") } }, wantStatus: 1, want: "no connection: refused"},
		"client refused":     {change: func(p *Probes) { p.Connect = func(context.Context) error { return errors.New("bad token") } }, wantStatus: 1, want: "bad token"},
		"port in use":        {change: func(p *Probes) { p.Listen = func(string) error { return errors.New("in use") } }, wantStatus: 1, want: "port 6750 cannot be opened: in use"},
		"no host name":       {change: func(p *Probes) { p.Resolve = func(context.Context, string) error { return errors.New("no such host") } }, want: "cannot be resolved"},
		"old java": {
			change: func(p *Probes) {
				inner := p.Run
				p.Run = func(ctx context.Context, name string, args ...string) (string, error) {
					if strings.HasSuffix(name, "java") {
						return `java version "1.8.0_402"`, nil
					}
					return inner(ctx, name, args...)
				}
			},
			want: "is Java 8; instances of Pulsar 4.0 need 17",
		},
		"python modules": {
			change: func(p *Probes) {
				inner := p.Run
				p.Run = func(ctx context.Context, name string, args ...string) (string, error) {
					if args[0] == "-c" {
						return "missing grpc ModuleNotFoundError()\n", nil
					}
					return inner(ctx, name, args...)
				}
			},
			want: "cannot import grpc: Python", wantRemedy: "pip install",
		},
		"jar missing":       {settings: map[string]string{"functionRuntimeFactoryConfigs.javaInstanceJarLocation": "nowhere.jar"}, want: "nowhere.jar is not there"},
		"token missing":     {settings: map[string]string{"properties.tokenSecretKey": "file:///nowhere/key"}, wantStatus: 1, want: "the file it names cannot be read"},
		"directory is file": {settings: map[string]string{"downloadDirectory": "instances/java-instance.jar/x"}, wantStatus: 1, want: "downloadDirectory"},
		"trust file":        {settings: map[string]string{"brokerClientTrustCertsFilePath": "instances/java-instance.jar"}, wantStatus: 1, want: "holds no certificate"},
		"state store": {
			change:     func(p *Probes) { p.State = func(context.Context) error { return errors.New("refused") } },
			wantStatus: 1, want: "stateStorageServiceUrl: the state store cannot be used: refused", wantRemedy: "table service",
		},
		"state store answers": {change: func(p *Probes) { p.State = func(context.Context) error { return nil } }},
		"packages service": {
			settings:   map[string]string{"functionsWorkerEnablePackageManagement": "true"},
			change:     func(p *Probes) { p.Packages = func(context.Context) error { return errors.New("503") } },
			wantStatus: 1, want: "packages service cannot be used: 503",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, report := loadConfig(t, c.settings)
			p := healthy()
			if c.change != nil {
				c.change(&p)
			}
			result := Run(t.Context(), w, report, p)
			require.Equal(t, c.wantStatus, result.ExitStatus(), "%v", result)
			var bad []Finding
			for _, f := range result.Findings {
				if f.Severity != OK {
					bad = append(bad, f)
				}
			}
			if c.want == "" {
				require.Empty(t, bad)
				return
			}
			require.Len(t, bad, 1, "%v", bad)
			require.Contains(t, bad[0].Key+": "+bad[0].What, c.want)
			require.NotEmpty(t, bad[0].Remedy)
			require.Contains(t, bad[0].Remedy, c.wantRemedy)
		})
	}
}

func TestRefused(t *testing.T) {
	_, report, err := config.Load(config.Sources{Content: []byte("workerPort: many\nbrokerClientAuthenticationParameters: [a]\nworkerprt: 1\n")})
	require.Error(t, err)
	result := Refused(err, report)
	require.Equal(t, 1, result.ExitStatus())
	var out bytes.Buffer
	require.NoError(t, result.Write(&out))
	for _, want := range []string{`workerPort: "many": it is not a whole number`, "pulsarServiceUrl: it is required", "did you mean workerPort?", "remedy: set it, for example pulsarServiceUrl: pulsar://localhost:6650"} {
		require.Contains(t, out.String(), want)
	}
}

func TestJavaMajor(t *testing.T) {
	cases := map[string]struct {
		output string
		want   int
	}{
		"modern":    {`openjdk version "17.0.15" 2025-04-15`, 17},
		"old":       {`java version "1.8.0_402"`, 8},
		"early":     {`openjdk version "21-ea" 2023-09-19`, 21},
		"preceded":  {"Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"21.0.1\"", 21},
		"something": {"command not found", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := javaMajor(c.output); got != c.want {
				t.Errorf("javaMajor = %d, want %d", got, c.want)
			}
		})
	}
}

func TestSplitHosts(t *testing.T) {
	want := []string{"pulsar://a:6650/", "pulsar://b/"}
	if diff := cmp.Diff(want, splitHosts("pulsar://a:6650,b")); diff != "" {
		t.Error(diff)
	}
	require.Equal(t, "b:6650", hostOf("pulsar://b/"))
	require.Equal(t, "[::1]:6651", hostOf("pulsar+ssl://[::1]"))
}

func TestSystemProbes(t *testing.T) {
	w, _ := loadConfig(t, nil)
	p := System(w)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer server.Close()
	answer, err := p.Get(t.Context(), server.URL)
	require.NoError(t, err)
	require.Equal(t, http.StatusTeapot, answer.Status)
	require.WithinDuration(t, time.Now(), answer.Date, 5*time.Second)
	require.NoError(t, p.Dial(t.Context(), server.Listener.Addr().String()))

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	require.Error(t, p.Listen(busy.Addr().String()))

	output, err := p.Run(t.Context(), "sh", "-c", "yes | head -c 1000000; exit 3")
	require.Error(t, err)
	require.Equal(t, 16<<10, len(output), "the output of a program is bounded")
}

// Against the real programs of this machine, when the distribution is at hand.
func TestRealPrograms(t *testing.T) {
	home := os.Getenv("PULSAR_HOME")
	if home == "" {
		t.Skip("PULSAR_HOME is unset: it must name a Pulsar 4.0.8 distribution")
	}
	w, report, err := config.Load(config.Sources{Path: filepath.Join(home, "conf", "functions_worker.yml"), Env: os.Environ(), Overrides: map[string]string{"workerPort": "0"}})
	require.NoError(t, err)
	p := System(w)
	p.Get, p.Dial = nil, nil
	result := Run(t.Context(), w, report, p)
	var out bytes.Buffer
	require.NoError(t, result.Write(&out))
	require.Zero(t, result.ExitStatus(), out.String())
	t.Log("\n" + out.String())
}

// TestRightsOfTheWorker: with authorization the worker's role must be a superuser of the broker.
func TestRightsOfTheWorker(t *testing.T) {
	admin := fakeAdmin{clusters: []string{"standalone"}, tenant: true, namespaces: []string{"public/functions"}, superuser: errors.New("401")}
	w := &config.Worker{}
	w.AuthorizationEnabled, w.PulsarFunctionsCluster, w.PulsarFunctionsNamespace = true, "standalone", "public/functions"
	statuses := func() (failed []Finding) {
		for _, f := range checkRights(t.Context(), w, Probes{Admin: admin}) {
			if f.Severity == Fail {
				failed = append(failed, f)
			}
		}
		return failed
	}
	failed := statuses()
	require.Len(t, failed, 1)
	require.Contains(t, failed[0].What, "only a superuser may do: 401")
	require.Equal(t, "name the worker's role in superUserRoles of the brokers", failed[0].Remedy)
	w.AuthorizationEnabled = false
	require.Empty(t, statuses())
}
