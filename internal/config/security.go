package config

// BrokerClient is how the worker's own clients authenticate (contract section 3.5).
type BrokerClient struct {
	BrokerClientAuthenticationEnabled           *bool  `yaml:"brokerClientAuthenticationEnabled" cat:"A" desc:"Whether the worker's own clients authenticate. Blank: as authenticationEnabled. Instances get credentials only when authenticationEnabled is true, whatever stands here."`
	BrokerClientAuthenticationPlugin            string `yaml:"brokerClientAuthenticationPlugin" cat:"N" desc:"Java class name of the client authentication; see the table of class names."`
	BrokerClientAuthenticationParameters        string `yaml:"brokerClientAuthenticationParameters" cat:"N" secret:"params" desc:"Parameters of the plugin, for example token:… or file:///path."`
	ClientAuthenticationPlugin                  string `yaml:"clientAuthenticationPlugin" cat:"N" desc:"Deprecated; used when brokerClientAuthenticationPlugin is absent (an empty text is not absent)."`
	ClientAuthenticationParameters              string `yaml:"clientAuthenticationParameters" cat:"N" secret:"params" desc:"Deprecated; used when brokerClientAuthenticationParameters is absent."`
	BrokerClientTrustCertsFilePath              string `yaml:"brokerClientTrustCertsFilePath" cat:"A" desc:"CA file (PEM) for connections to the broker. Blank: tlsTrustCertsFilePath. Instances get tlsTrustCertsFilePath, not this file."`
	UseTLS                                      bool   `yaml:"useTls" default:"false" cat:"A" desc:"Deprecated: force TLS on a pulsar:// URL; pulsar+ssl:// and https:// need no switch. Passed to instances."`
	BookkeeperClientAuthenticationPlugin        string `yaml:"bookkeeperClientAuthenticationPlugin" cat:"J" desc:"BookKeeper client authentication."`
	BookkeeperClientAuthenticationParametersKey string `yaml:"bookkeeperClientAuthenticationParametersName" cat:"J" desc:"Name of the parameter of the BookKeeper client authentication."`
	BookkeeperClientAuthenticationParameters    string `yaml:"bookkeeperClientAuthenticationParameters" cat:"J" secret:"mask" desc:"Value of that parameter."`
}

// ListenerTLS is TLS of the worker's own listener, and of its connections where a key says so (contract section 3.6).
type ListenerTLS struct {
	TLSEnabled                           bool     `yaml:"tlsEnabled" default:"false" cat:"A" desc:"Open the HTTPS port; workerPortTls is needed too."`
	TLSCertificateFilePath               string   `yaml:"tlsCertificateFilePath" cat:"A" desc:"Certificate chain, PEM."`
	TLSKeyFilePath                       string   `yaml:"tlsKeyFilePath" cat:"A" desc:"Private key, PEM."`
	TLSTrustCertsFilePath                string   `yaml:"tlsTrustCertsFilePath" cat:"A" desc:"CA certificates, PEM: of client certificates, and the default for outgoing connections."`
	TLSAllowInsecureConnection           bool     `yaml:"tlsAllowInsecureConnection" default:"false" cat:"N" desc:"Incoming: accept any client certificate (no identity is ever taken from an unverified one). Outgoing: do not verify the broker."`
	TLSRequireTrustedClientCertOnConnect bool     `yaml:"tlsRequireTrustedClientCertOnConnect" default:"false" cat:"A" desc:"Clients must show a trusted certificate."`
	TLSEnableHostnameVerification        bool     `yaml:"tlsEnableHostnameVerification" default:"false" cat:"N" desc:"Verify the broker's host name; outgoing connections only."`
	TLSCertRefreshCheckDurationSec       int64    `yaml:"tlsCertRefreshCheckDurationSec" default:"300" cat:"A" desc:"Seconds between looks for renewed certificates; 0 or less: at each handshake (Java fails to start)."`
	TLSEnabledWithKeyStore               bool     `yaml:"tlsEnabledWithKeyStore" default:"false" cat:"N" desc:"Use the key store keys below instead of PEM files."`
	TLSProvider                          string   `yaml:"tlsProvider" dist:"Conscrypt" cat:"J" desc:"Security provider of the JVM."`
	TLSKeyStoreType                      string   `yaml:"tlsKeyStoreType" default:"JKS" cat:"N" accept:"JKS|PKCS12" desc:"Type of the key store."`
	TLSKeyStore                          string   `yaml:"tlsKeyStore" cat:"N" desc:"Key store file."`
	TLSKeyStorePassword                  string   `yaml:"tlsKeyStorePassword" cat:"N" secret:"mask" desc:"Password of the key store."`
	TLSTrustStoreType                    string   `yaml:"tlsTrustStoreType" default:"JKS" cat:"N" accept:"JKS|PKCS12" desc:"Type of the trust store."`
	TLSTrustStore                        string   `yaml:"tlsTrustStore" cat:"N" desc:"Trust store file."`
	TLSTrustStorePassword                string   `yaml:"tlsTrustStorePassword" cat:"N" secret:"mask" desc:"Password of the trust store."`
	WebServiceTLSProtocols               []string `yaml:"webServiceTlsProtocols" cat:"N" desc:"Protocols of the HTTPS listener, for example [TLSv1.3, TLSv1.2]. Blank: TLSv1.2 and TLSv1.3."`
	WebServiceTLSCiphers                 []string `yaml:"webServiceTlsCiphers" cat:"N" desc:"Cipher suites by IANA name, for TLS up to 1.2; those of TLS 1.3 are always all on."`
}

// Security is who may call this worker (contract section 3.7).
type Security struct {
	AuthenticationEnabled                   bool              `yaml:"authenticationEnabled" default:"false" cat:"A" desc:"Authenticate every request; also decides whether instances get credentials."`
	AuthenticationProviders                 []string          `yaml:"authenticationProviders" cat:"N" desc:"Class names of the providers; see the table of class names. Must not be empty when authenticationEnabled is true."`
	AuthorizationEnabled                    bool              `yaml:"authorizationEnabled" default:"false" cat:"A" desc:"Check the caller's rights. Without authentication every call is 401."`
	AuthorizationProvider                   string            `yaml:"authorizationProvider" default:"org.apache.pulsar.broker.authorization.PulsarAuthorizationProvider" cat:"N" desc:"Class name of the provider; see the table of class names."`
	SuperUserRoles                          []string          `yaml:"superUserRoles" cat:"A" desc:"Roles that may do everything."`
	ProxyRoles                              []string          `yaml:"proxyRoles" cat:"A" desc:"Roles that must name the original principal."`
	SaslJaasClientAllowedIDs                string            `yaml:"saslJaasClientAllowedIds" default:".*pulsar.*" cat:"N" desc:"Kerberos: regular expression of client ids; only with a SASL provider."`
	SaslJaasServerSectionName               string            `yaml:"saslJaasServerSectionName" default:"PulsarFunction" cat:"J" desc:"Section of the JAAS file."`
	SaslJaasServerRoleTokenSignerSecretPath string            `yaml:"saslJaasServerRoleTokenSignerSecretPath" cat:"N" desc:"Kerberos: file with the secret that signs role tokens."`
	KinitCommand                            string            `yaml:"kinitCommand" default:"/usr/bin/kinit" cat:"J" desc:"Command that renews Kerberos tickets."`
	Properties                              map[string]string `yaml:"properties" cat:"N" secret:"properties" desc:"Settings of the authentication providers (tokenSecretKey, tokenPublicKey, …), and brokerClient_<name> for the worker's own clients; see below."`
}
