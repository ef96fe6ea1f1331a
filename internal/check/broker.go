package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/functions-worker/functions-worker/internal/config"
)

// maxClockDifference between this host and the broker; tokens and certificates begin to fail beyond it.
const maxClockDifference = 30 * time.Second

// checkBrokerWeb asks the broker's admin port without credentials: is anybody there, and does its clock agree?
func checkBrokerWeb(ctx context.Context, w *config.Worker, p Probes) []Finding {
	const key = "pulsarWebServiceUrl"
	if p.Get == nil {
		return nil
	}
	var findings []Finding
	var lastErr error
	for _, base := range splitHosts(w.PulsarWebServiceURL) {
		asked := time.Time{}
		if p.Now != nil {
			asked = p.Now()
		}
		answer, err := p.Get(ctx, strings.TrimSuffix(base, "/")+"/admin/v2/clusters")
		if err != nil {
			lastErr = fmt.Errorf("%s: %w", hostOf(base), err)
			continue
		}
		findings = append(findings, judgeAnswer(key, hostOf(base), answer.Status))
		if !asked.IsZero() && !answer.Date.IsZero() {
			findings = append(findings, judgeClock(p.Now(), asked, answer.Date))
		}
		return findings
	}
	return []Finding{fail(key, "start the broker, correct the URL, or open the way to it (firewall, TLS trust)", "the broker does not answer: %v", lastErr)}
}

func judgeAnswer(key, host string, status int) Finding {
	switch {
	case status == http.StatusOK, status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ok(key, "the broker at %s answers", host)
	case status == http.StatusNotFound:
		return fail(key, "name the broker's admin port (usually 8080 or 8443)", "%s answers 404 to /admin/v2/clusters: it is no broker", host)
	}
	return warn(key, "look at the broker's log", "the broker at %s answers %d %s", host, status, http.StatusText(status))
}

// judgeClock allows for the time that the answer took and for the seconds that the header drops.
func judgeClock(now, asked, remote time.Time) Finding {
	difference := max(0, remote.Sub(now), asked.Sub(remote.Add(time.Second)))
	if difference > maxClockDifference {
		return warn("clock", "synchronise the clocks (NTP)", "this host and the broker differ by %s: tokens and certificates may be refused", difference.Round(time.Second))
	}
	return ok("clock", "agrees with the broker's")
}

// checkRights asks with the worker's credentials for what the worker will need.
func checkRights(ctx context.Context, w *config.Worker, p Probes) []Finding {
	if p.Admin == nil {
		return nil
	}
	clusters, err := p.Admin.Clusters(ctx)
	if unreachable(err, w.PulsarWebServiceURL) {
		return []Finding{warn("pulsarFunctionsNamespace", "check again when the broker answers", "the rights of the worker could not be looked at")}
	}
	if err != nil {
		return []Finding{fail("brokerClientAuthenticationPlugin", "give credentials that the broker accepts (brokerClientAuthentication… keys)", "the broker's clusters cannot be listed: %v", err)}
	}
	findings := []Finding{judgeCluster(w.PulsarFunctionsCluster, clusters)}
	if w.AuthorizationEnabled {
		if err := p.Admin.ActAsSuperuser(ctx); err != nil {
			findings = append(findings, fail("authorizationEnabled", "name the worker's role in superUserRoles of the brokers",
				"the worker asks the broker for the rights of callers, which only a superuser may do: %v", err))
		}
	}
	tenant, _, _ := strings.Cut(w.PulsarFunctionsNamespace, "/")
	const key = "pulsarFunctionsNamespace"
	exists, err := p.Admin.TenantExists(ctx, tenant)
	if err != nil {
		return append(findings, fail(key, "make the worker's role a super user of the broker, or an administrator of the tenant "+tenant, "the tenant %s cannot be looked up: %v", tenant, err))
	}
	if !exists {
		return append(findings, fail(key, "run pulsar-admin tenants create "+tenant+" --allowed-clusters "+w.PulsarFunctionsCluster, "the tenant %s does not exist", tenant))
	}
	namespaces, err := p.Admin.Namespaces(ctx, tenant)
	if err != nil {
		return append(findings, fail(key, "make the worker's role a super user of the broker, or an administrator of the tenant "+tenant, "the namespaces of %s cannot be listed: %v", tenant, err))
	}
	if !slices.Contains(namespaces, w.PulsarFunctionsNamespace) {
		return append(findings, ok(key, "%s does not exist yet: the worker will create it", w.PulsarFunctionsNamespace))
	}
	topics, err := p.Admin.Topics(ctx, w.PulsarFunctionsNamespace)
	if err != nil {
		return append(findings, fail(key, "give the worker's role the rights produce and consume on the namespace", "the topics of %s cannot be listed: %v", w.PulsarFunctionsNamespace, err))
	}
	return append(findings, judgeTopics(w, topics))
}

func checkOwnRole(ctx context.Context, w *config.Worker, p Probes) []Finding {
	const key = "superUserRoles"
	if p.OwnRole == nil || !w.AuthenticationEnabled || !w.AuthorizationEnabled {
		return nil
	}
	if err := p.OwnRole(ctx); err != nil {
		return []Finding{fail(key, "give all workers the same superUserRoles, with the workers' role among them", "other workers of the cluster would refuse what this one forwards to them: %v", err)}
	}
	return []Finding{ok(key, "the worker's own role is among them")}
}

// unreachable says that nobody answered at one of the broker's addresses: checkBrokerWeb reports that. Another address may
// be that of an issuer of tokens.
func unreachable(err error, brokerURL string) bool {
	var e *url.Error
	return errors.As(err, &e) && slices.ContainsFunc(splitHosts(brokerURL), func(base string) bool { return strings.HasPrefix(e.URL, base) })
}

func judgeCluster(name string, clusters []string) Finding {
	if slices.Contains(clusters, name) {
		return ok("pulsarFunctionsCluster", "%s is a cluster of the broker", name)
	}
	return fail("pulsarFunctionsCluster", "set it to one of these", "the broker knows no cluster %s; it knows %s", name, strings.Join(clusters, ", "))
}

// judgeTopics warns of internal topics that were created with partitions: order would be lost.
func judgeTopics(w *config.Worker, topics []string) Finding {
	c := w.Computed
	found := 0
	for _, topic := range []string{c.MetadataTopic, c.AssignmentTopic, c.CoordinationTopic} {
		if slices.ContainsFunc(topics, func(t string) bool { return strings.HasPrefix(t, topic+"-partition-") }) {
			return fail("pulsarFunctionsNamespace", "delete the partitioned topic (the worker creates a plain one)", "%s has partitions; internal topics must have none", topic)
		}
		if slices.Contains(topics, topic) {
			found++
		}
	}
	if found == 0 {
		return ok("pulsarFunctionsNamespace", "%s exists; no worker has used it yet", w.PulsarFunctionsNamespace)
	}
	return ok("pulsarFunctionsNamespace", "%s exists and holds the topics of a cluster of workers", w.PulsarFunctionsNamespace)
}

// checkBrokerBinary connects to the binary port: plain TCP to each host, then a real client if there is one.
func checkBrokerBinary(ctx context.Context, w *config.Worker, p Probes) []Finding {
	const key = "pulsarServiceUrl"
	if p.Dial != nil {
		var failed []string
		hosts := splitHosts(w.PulsarServiceURL)
		for _, base := range hosts {
			if err := p.Dial(ctx, hostOf(base)); err != nil {
				failed = append(failed, err.Error())
			}
		}
		if len(failed) == len(hosts) {
			return []Finding{fail(key, "start the broker, correct the URL, or open the way to it", "no connection: %s", strings.Join(failed, "; "))}
		}
		if len(failed) > 0 {
			return []Finding{warn(key, "remove hosts that are gone", "some hosts do not answer: %s", strings.Join(failed, "; "))}
		}
	}
	if p.Connect == nil && p.Dial == nil {
		return nil
	}
	if p.Connect == nil {
		return []Finding{ok(key, "the port is open")}
	}
	if err := p.Connect(ctx); err != nil {
		return []Finding{fail(key, "correct the credentials, TLS trust or rights of the worker's role", "the port is open, but a client cannot use it: %v", err)}
	}
	return []Finding{ok(key, "a client can connect")}
}

func checkPackages(ctx context.Context, w *config.Worker, p Probes) []Finding {
	if p.Packages == nil || w.Computed.PackageStore != "broker" {
		return nil
	}
	if err := p.Packages(ctx); err != nil {
		return []Finding{fail("functionsWorkerEnablePackageManagement", "set enablePackagesManagement=true in the broker's configuration, or use goWorker.packageStore: topic", "the broker's packages service cannot be used: %v", err)}
	}
	return []Finding{ok("functionsWorkerEnablePackageManagement", "the broker's packages service answers")}
}

func checkState(ctx context.Context, _ *config.Worker, p Probes) []Finding {
	if p.State == nil {
		return nil
	}
	if err := p.State(ctx); err != nil {
		return []Finding{fail("stateStorageServiceUrl", "start BookKeeper's table service (extraServerComponents of a bookie), correct the URL, or leave the key blank: Java functions do not start without it", "the state store cannot be used: %v", err)}
	}
	return []Finding{ok("stateStorageServiceUrl", "the table service answers")}
}

// splitHosts makes one URL per host of a service URL with several.
func splitHosts(service string) []string {
	scheme, rest, found := strings.Cut(strings.TrimSpace(service), "://")
	if !found {
		return []string{service}
	}
	authority, path, _ := strings.Cut(rest, "/")
	var urls []string
	for _, host := range strings.Split(authority, ",") {
		urls = append(urls, scheme+"://"+host+"/"+path)
	}
	return urls
}

// hostOf is host:port of a URL, with the port that its scheme implies.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(no URL)"
	}
	if u.Port() != "" {
		return u.Host
	}
	ports := map[string]string{"pulsar": "6650", "pulsar+ssl": "6651", "http": "80", "https": "443"}
	return u.Host + ":" + ports[strings.ToLower(u.Scheme)]
}
