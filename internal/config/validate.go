package config

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

func contains(list []string, s string) bool { return slices.Contains(list, s) }

func containsKey(keys []Key, name string) bool {
	return slices.ContainsFunc(keys, func(k Key) bool { return k.Name == name })
}

func defaultParallelism() int { return max(4, 2*runtime.NumCPU()) }

func unknownClass(r *Report, key, value string, accepted []string) {
	remedy := "correct the class name; the worker does not start with a weaker choice instead"
	if hint, ok := classHints[value]; ok {
		remedy = hint
	}
	r.problem(Problem{Key: key, Value: printable(value), What: "this class is not known here", Accepted: strings.Join(accepted, ", "), Remedy: remedy})
}

// class looks a class name up; blank gives the zero value.
func class[V any](r *Report, key, value string, known map[string]V) V {
	var none V
	if value = strings.TrimSpace(value); value == "" {
		return none
	}
	v, ok := known[value]
	if !ok {
		unknownClass(r, key, value, names(known))
	}
	return v
}

func (w *Worker) validate(r *Report) {
	w.validateIdentity(r)
	w.validateBroker(r)
	w.validatePatterns(r)
	w.validateTLS(r)
	w.validateSecurity(r)
	w.validateProperties(r)
	w.validateRuntime(r)
	w.validateOwn(r)
	w.warnIneffective(r)
}

func (w *Worker) validateIdentity(r *Report) {
	for _, f := range []struct{ key, value string }{{"workerId", w.WorkerID}, {"workerHostname", w.WorkerHostname}} {
		if strings.ContainsFunc(f.value, func(c rune) bool { return c == ':' || c <= ' ' || c == 0x7f }) {
			r.problem(Problem{Key: f.key, Value: printable(f.value), What: "it contains ':', a blank or a control character, which breaks the identity workerId:hostname:port in the coordination topic",
				Remedy: "use letters, digits, '-', '_' and '.'"})
		}
	}
	for _, f := range []struct {
		key  string
		port *int
	}{{"workerPort", w.WorkerPort}, {"workerPortTls", w.WorkerPortTLS}} {
		if f.port != nil && (*f.port < 0 || *f.port > 65535) {
			r.problem(Problem{Key: f.key, Value: strconv.Itoa(*f.port), What: "it is no port", Accepted: "0 to 65535", Remedy: "correct it, or leave it blank for no listener"})
		}
	}
	if w.WorkerPort == nil && !w.Computed.TLS {
		r.problem(Problem{Key: "workerPort", What: "no listener is left: workerPort is blank, and HTTPS needs tlsEnabled and workerPortTls",
			Remedy: "set workerPort (usually 6750), or tlsEnabled: true with workerPortTls"})
	}
	if w.TLSEnabled && w.WorkerPortTLS == nil {
		r.warn("tlsEnabled", "has no effect without workerPortTls")
	}
	if w.HTTPRequestsLimitEnabled && w.HTTPRequestsMaxPerSecond <= 0 {
		r.problem(Problem{Key: "httpRequestsMaxPerSecond", Value: fmt.Sprint(w.HTTPRequestsMaxPerSecond), What: "it must be above 0 when httpRequestsLimitEnabled is true", Remedy: "set a rate, or disable the limit"})
	}
}

var topicName = regexp.MustCompile(`^[^/\s]+$`)

func (w *Worker) validateBroker(r *Report) {
	for _, k := range Keys() {
		if !k.Required {
			continue
		}
		if v := reflect.ValueOf(w).Elem().FieldByIndex(k.index).String(); strings.TrimSpace(v) == "" {
			r.problem(Problem{Key: k.Path, What: "it is required and absent or blank", Accepted: k.Description, Remedy: "set it, for example " + k.Name + ": " + k.Dist})
		}
	}
	checkURL(r, "pulsarServiceUrl", w.PulsarServiceURL, true, "pulsar", "pulsar+ssl")
	checkURL(r, "pulsarWebServiceUrl", w.PulsarWebServiceURL, true, "http", "https")
	checkURL(r, "functionWebServiceUrl", w.FunctionWebServiceURL, false, "http", "https")
	if ns := w.PulsarFunctionsNamespace; strings.TrimSpace(ns) != "" && !namespaceName.MatchString(ns) {
		r.problem(Problem{Key: "pulsarFunctionsNamespace", Value: printable(ns), What: "it is no namespace", Accepted: "tenant/namespace", Remedy: "write it like public/functions"})
	}
	seen := map[string]string{}
	for _, f := range []struct{ key, value string }{{"functionMetadataTopicName", w.FunctionMetadataTopicName},
		{"clusterCoordinationTopicName", w.ClusterCoordinationTopicName}, {"functionAssignmentTopicName", w.FunctionAssignmentTopicName}} {
		switch {
		case !topicName.MatchString(f.value):
			r.problem(Problem{Key: f.key, Value: printable(f.value), What: "it is no topic name", Accepted: "a name without '/' and blanks", Remedy: "give the local name only; the namespace is pulsarFunctionsNamespace"})
		case seen[f.value] != "":
			r.problem(Problem{Key: f.key, Value: printable(f.value), What: "it is the same topic as " + seen[f.value], Remedy: "use a topic of its own"})
		}
		seen[f.value] = f.key
	}
	class(r, "schedulerClassName", w.SchedulerClassName, schedulerClasses)
}

var namespaceName = regexp.MustCompile(`^[-=:.\w]+/[-=:.\w]+$`)

// checkURL accepts several hosts separated by commas, as Pulsar's service URLs may have.
func checkURL(r *Report, key, text string, several bool, schemes ...string) {
	text = strings.TrimSpace(text)
	if text == "" {
		return
	}
	accepted := strings.Join(schemes, ":// or ") + "://host:port"
	bad := func(what string) {
		r.problem(Problem{Key: key, Value: printable(maskText(text)), What: what, Accepted: accepted, Remedy: "correct the URL"})
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !slices.Contains(schemes, strings.ToLower(scheme)) {
		bad("it has none of the accepted schemes")
		return
	}
	authority, path, _ := strings.Cut(rest, "/")
	hosts := []string{authority}
	if several {
		hosts = strings.Split(authority, ",")
	}
	for _, host := range hosts {
		u, err := url.Parse(scheme + "://" + host + "/" + path)
		if err != nil || u.Hostname() == "" {
			bad("it is no valid URL")
			return
		}
		if p := u.Port(); p != "" {
			if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
				bad("its port is not between 1 and 65535")
				return
			}
		}
	}
}

func (w *Worker) validatePatterns(r *Report) {
	check := func(key string, patterns []string) {
		for _, p := range patterns {
			if _, err := regexp.Compile(`\A(?:` + p + `)\z`); err != nil {
				r.problem(Problem{Key: key, Value: printable(p), What: "this pattern cannot be used: " + err.Error(), Accepted: "regular expressions without look-around, back-references and possessive quantifiers", Remedy: "write the pattern without them"})
			}
		}
	}
	check("additionalEnabledConnectorUrlPatterns", w.AdditionalEnabledConnectorURLPatterns)
	check("additionalEnabledFunctionsUrlPatterns", w.AdditionalEnabledFunctionsURLPatterns)
}

// tlsVersions are the names of webServiceTlsProtocols.
var tlsVersions = map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}

// TLSVersions is the range of protocol versions for the HTTPS listener; 1.2 to 1.3 when the key is blank.
func (w *Worker) TLSVersions() (lowest, highest uint16) {
	for _, name := range w.WebServiceTLSProtocols {
		v := tlsVersions[name]
		if v == 0 {
			continue
		}
		if lowest == 0 || v < lowest {
			lowest = v
		}
		highest = max(highest, v)
	}
	if lowest == 0 {
		return tls.VersionTLS12, tls.VersionTLS13
	}
	return lowest, highest
}

// TLSCipherSuites are the suites of webServiceTlsCiphers; nil means Go's choice.
func (w *Worker) TLSCipherSuites() []uint16 {
	var ids []uint16
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if slices.Contains(w.WebServiceTLSCiphers, suite.Name) && suite.SupportedVersions[0] < tls.VersionTLS13 {
			ids = append(ids, suite.ID)
		}
	}
	return ids
}

func (w *Worker) validateTLS(r *Report) {
	for _, name := range w.WebServiceTLSProtocols {
		if tlsVersions[name] == 0 {
			r.problem(Problem{Key: "webServiceTlsProtocols", Value: printable(name), What: "this protocol is not known", Accepted: strings.Join(names(tlsVersions), ", "), Remedy: "correct or remove it"})
		}
	}
	known := map[string]bool{} // name → secure
	for _, suite := range tls.CipherSuites() {
		known[suite.Name] = true
	}
	for _, suite := range tls.InsecureCipherSuites() {
		known[suite.Name] = false
	}
	for _, name := range w.WebServiceTLSCiphers {
		if secure, ok := known[name]; !ok {
			r.problem(Problem{Key: "webServiceTlsCiphers", Value: printable(name), What: "this cipher suite is not known", Accepted: strings.Join(names(known), ", "), Remedy: "correct or remove it"})
		} else if !secure {
			r.warn("webServiceTlsCiphers", "%s is weak", name)
		}
	}
	if !w.Computed.TLS {
		return
	}
	need := func(key, value, why string) {
		if strings.TrimSpace(value) == "" {
			r.problem(Problem{Key: key, What: "it is blank, but " + why, Remedy: "name the file, or set tlsEnabled: false"})
		}
	}
	if w.TLSEnabledWithKeyStore {
		need("tlsKeyStore", w.TLSKeyStore, "tlsEnabled and tlsEnabledWithKeyStore are true")
		return
	}
	need("tlsCertificateFilePath", w.TLSCertificateFilePath, "tlsEnabled is true")
	need("tlsKeyFilePath", w.TLSKeyFilePath, "tlsEnabled is true")
	if w.TLSRequireTrustedClientCertOnConnect && w.TLSTrustCertsFilePath == "" && !w.TLSAllowInsecureConnection {
		r.problem(Problem{Key: "tlsTrustCertsFilePath", What: "it is blank, but tlsRequireTrustedClientCertOnConnect is true, so no client could connect", Remedy: "name the CA file of client certificates"})
	}
}

func (w *Worker) validateSecurity(r *Report) {
	c := &w.Computed
	for _, name := range w.AuthenticationProviders {
		if method := class(r, "authenticationProviders", name, authenticationClasses); method != "" && !slices.Contains(c.AuthenticationProviders, method) {
			c.AuthenticationProviders = append(c.AuthenticationProviders, method)
		}
	}
	if w.AuthenticationEnabled && len(w.AuthenticationProviders) == 0 {
		r.problem(Problem{Key: "authenticationProviders", What: "it is empty, but authenticationEnabled is true: every request would pass without a role",
			Accepted: strings.Join(names(authenticationClasses), ", "), Remedy: "name at least one provider, or set authenticationEnabled: false"})
	}
	c.Authorization = class(r, "authorizationProvider", w.AuthorizationProvider, authorizationClasses)
	if w.AuthorizationEnabled {
		if strings.TrimSpace(w.AuthorizationProvider) == "" {
			r.problem(Problem{Key: "authorizationProvider", What: "it is blank, but authorizationEnabled is true", Accepted: strings.Join(names(authorizationClasses), ", "), Remedy: "remove the key for the default provider"})
		}
		if !w.AuthenticationEnabled {
			r.warn("authorizationEnabled", "is true without authenticationEnabled: every call will be answered 401")
		}
		if len(w.SuperUserRoles) == 0 && w.AuthenticationEnabled {
			r.warn("superUserRoles", "is empty: other workers cannot forward calls to this one, and nobody can administer it")
		}
	}
	if w.AuthenticationEnabled && len(c.AuthenticationProviders) > 0 && !w.TLSEnabled && !isLocal(w.WorkerHostname) {
		r.warn("tlsEnabled", "is false: credentials of callers cross the network unencrypted")
	}
	if w.TLSAllowInsecureConnection {
		r.warn("tlsAllowInsecureConnection", "is true: the broker's certificate is not verified, and any client certificate is accepted")
	}
	if _, err := regexp.Compile(w.SaslJaasClientAllowedIDs); err != nil {
		r.problem(Problem{Key: "saslJaasClientAllowedIds", Value: printable(w.SaslJaasClientAllowedIDs), What: "it is no regular expression: " + err.Error(), Remedy: "correct it"})
	}
}

func isLocal(host string) bool { return host == "localhost" || strings.HasPrefix(host, "127.") }
