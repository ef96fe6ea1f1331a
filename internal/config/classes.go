package config

import "sort"

// RuntimeKind is the implementation that a runtime factory class name selects.
type RuntimeKind string

// The runtimes. RuntimeCustom is one that the program registered itself.
const (
	RuntimeProcess    RuntimeKind = "process"
	RuntimeThread     RuntimeKind = "thread"
	RuntimeKubernetes RuntimeKind = "kubernetes"
	RuntimeCustom     RuntimeKind = "custom"
)

// AuthMethod is an authentication provider of requests.
type AuthMethod string

// The providers.
const (
	AuthToken  AuthMethod = "token"
	AuthTLS    AuthMethod = "tls"
	AuthBasic  AuthMethod = "basic"
	AuthSASL   AuthMethod = "sasl"
	AuthOpenID AuthMethod = "openid"
	AuthAthenz AuthMethod = "athenz"
)

// Authorization is the rule set of a caller's rights.
type Authorization string

// The rule sets.
const (
	AuthorizationDefault    Authorization = "default"
	AuthorizationMultiRoles Authorization = "multi-roles"
)

// SecretsKind is how instances get their secrets.
type SecretsKind string

// The kinds.
const (
	SecretsClearText  SecretsKind = "clear-text"
	SecretsKubernetes SecretsKind = "kubernetes"
)

// FunctionAuth is which credentials a function is given.
type FunctionAuth string

// The kinds; FunctionAuthNone means the worker's own credentials, if any.
const (
	FunctionAuthNone           FunctionAuth = ""
	FunctionAuthClearText      FunctionAuth = "clear-text-token"
	FunctionAuthSecret         FunctionAuth = "kubernetes-secret"
	FunctionAuthServiceAccount FunctionAuth = "kubernetes-service-account"
)

// ClientAuth is how a client of the broker authenticates.
type ClientAuth string

// The plugins.
const (
	ClientAuthNone     ClientAuth = "none"
	ClientAuthToken    ClientAuth = "token"
	ClientAuthTLS      ClientAuth = "tls"
	ClientAuthKeyStore ClientAuth = "keystore-tls"
	ClientAuthBasic    ClientAuth = "basic"
	ClientAuthSASL     ClientAuth = "sasl"
	ClientAuthOAuth2   ClientAuth = "oauth2"
	ClientAuthAthenz   ClientAuth = "athenz"
)

// StateKind is the state store behind stateStorageServiceUrl.
type StateKind string

// The state stores.
const (
	StateBookKeeper    StateKind = "bookkeeper"
	StateMetadataStore StateKind = "metadata-store"
)

// Class names of a Java worker's file, and what each selects here (contract section 4).
var (
	runtimeClasses = map[string]RuntimeKind{
		"org.apache.pulsar.functions.runtime.process.ProcessRuntimeFactory":       RuntimeProcess,
		"org.apache.pulsar.functions.runtime.kubernetes.KubernetesRuntimeFactory": RuntimeKubernetes,
		"org.apache.pulsar.functions.runtime.thread.ThreadRuntimeFactory":         RuntimeThread,
	}
	schedulerClasses = map[string]string{
		"org.apache.pulsar.functions.worker.scheduler.RoundRobinScheduler": "round-robin",
	}
	secretsClasses = map[string]SecretsKind{
		"org.apache.pulsar.functions.secretsproviderconfigurator.DefaultSecretsProviderConfigurator":    SecretsClearText,
		"org.apache.pulsar.functions.secretsproviderconfigurator.KubernetesSecretsProviderConfigurator": SecretsKubernetes,
	}
	functionAuthClasses = map[string]FunctionAuth{
		"org.apache.pulsar.functions.auth.ClearTextFunctionTokenAuthProvider":        FunctionAuthClearText,
		"org.apache.pulsar.functions.auth.KubernetesSecretsTokenAuthProvider":        FunctionAuthSecret,
		"org.apache.pulsar.functions.auth.KubernetesServiceAccountTokenAuthProvider": FunctionAuthServiceAccount,
	}
	customizerClasses = map[string]string{
		"org.apache.pulsar.functions.runtime.kubernetes.BasicKubernetesManifestCustomizer": "basic",
	}
	authenticationClasses = map[string]AuthMethod{
		"org.apache.pulsar.broker.authentication.AuthenticationProviderToken":       AuthToken,
		"org.apache.pulsar.broker.authentication.AuthenticationProviderTls":         AuthTLS,
		"org.apache.pulsar.broker.authentication.AuthenticationProviderBasic":       AuthBasic,
		"org.apache.pulsar.broker.authentication.AuthenticationProviderSasl":        AuthSASL,
		"org.apache.pulsar.broker.authentication.oidc.AuthenticationProviderOpenID": AuthOpenID,
		"org.apache.pulsar.broker.authentication.AuthenticationProviderAthenz":      AuthAthenz,
	}
	authorizationClasses = map[string]Authorization{
		"org.apache.pulsar.broker.authorization.PulsarAuthorizationProvider":          AuthorizationDefault,
		"org.apache.pulsar.broker.authorization.MultiRolesTokenAuthorizationProvider": AuthorizationMultiRoles,
	}
	clientAuthClasses = map[string]ClientAuth{
		"org.apache.pulsar.client.impl.auth.AuthenticationToken":         ClientAuthToken,
		"org.apache.pulsar.client.impl.auth.AuthenticationTls":           ClientAuthTLS,
		"org.apache.pulsar.client.impl.auth.AuthenticationKeyStoreTls":   ClientAuthKeyStore,
		"org.apache.pulsar.client.impl.auth.AuthenticationBasic":         ClientAuthBasic,
		"org.apache.pulsar.client.impl.auth.AuthenticationSasl":          ClientAuthSASL,
		"org.apache.pulsar.client.impl.auth.oauth2.AuthenticationOAuth2": ClientAuthOAuth2,
		"org.apache.pulsar.client.impl.auth.AuthenticationAthenz":        ClientAuthAthenz,
		"org.apache.pulsar.client.impl.auth.AuthenticationDisabled":      ClientAuthNone,
	}
	stateClasses = map[string]StateKind{
		"org.apache.pulsar.functions.instance.state.BKStateStoreProviderImpl":             StateBookKeeper,
		"org.apache.pulsar.functions.instance.state.PulsarMetadataStateStoreProviderImpl": StateMetadataStore,
	}
)

// classHints are names that occur in files by mistake, with what to write instead.
var classHints = map[string]string{
	"org.apache.pulsar.functions.runtime.kubernetes.KubernetesManifestCustomizer": "this is the name of an interface (the comment in the distributed file is wrong); " +
		"write org.apache.pulsar.functions.runtime.kubernetes.BasicKubernetesManifestCustomizer",
	"org.apache.pulsar.functions.secretsproviderconfigurator.NameAndConfigBasedSecretsProviderConfigurator": "this one is for local runs only; leave the key out",
}

// ClassNames lists, per key, the class names that are understood.
func ClassNames() map[string][]string {
	return map[string][]string{
		"functionRuntimeFactoryClassName":      names(runtimeClasses),
		"schedulerClassName":                   names(schedulerClasses),
		"secretsProviderConfiguratorClassName": names(secretsClasses),
		"functionAuthProviderClassName":        names(functionAuthClasses),
		"runtimeCustomizerClassName":           names(customizerClasses),
		"authenticationProviders":              names(authenticationClasses),
		"authorizationProvider":                names(authorizationClasses),
		"brokerClientAuthenticationPlugin":     names(clientAuthClasses),
		"stateStorageProviderImplementation":   names(stateClasses),
	}
}

func names[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}
