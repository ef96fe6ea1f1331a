package app

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/test/certificates"
)

// TestOwnRole: workers ask each other as superusers, so what one would say to itself is said before others refuse it.
func TestOwnRole(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString(goodKey)
	require.NoError(t, err)
	with := func(key []byte, role string) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": role}).SignedString(key)
		require.NoError(t, err)
		return fmt.Sprintf("brokerClientAuthenticationPlugin: org.apache.pulsar.client.impl.auth.AuthenticationToken\nbrokerClientAuthenticationParameters: 'token:%s'\n", token)
	}
	const rules = "authorizationEnabled: true\nsuperUserRoles: [admin, worker]\n"
	for name, tc := range map[string]struct{ config, want string }{
		"a superuser":               {config: authenticated(goodKey, rules+with(key, "worker"))},
		"not a superuser":           {authenticated(goodKey, rules+with(key, "wrker")), `superUserRoles (admin, worker) does not name the worker's own role "wrker"`},
		"none":                      {authenticated(goodKey, "authorizationEnabled: true\n"+with(key, "worker")), "superUserRoles () does not name"},
		"a proxy":                   {authenticated(goodKey, rules+"proxyRoles: [worker]\n"+with(key, "worker")), "one of proxyRoles"},
		"signed by somebody else":   {authenticated(goodKey, rules+with(make([]byte, 32), "worker")), "do not pass its authenticationProviders"},
		"no credentials":            {authenticated(goodKey, rules), "brokerClientAuthenticationPlugin"},
		"everybody may do anything": {config: authenticated(goodKey, with(key, "wrker"))},
		"nobody is asked":           {config: ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckOwnRole(t.Context(), load(t, tc.config))
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestOwnRoleFromACertificate(t *testing.T) {
	trusted, foreign := certificates.New(t), certificates.New(t)
	cert, key := trusted.Issue(t, "localhost", time.Hour)
	with := func(authority *certificates.Authority, role string) string {
		clientCert, clientKey := authority.Issue(t, role, time.Hour)
		return fmt.Sprintf(`authenticationEnabled: true
authenticationProviders: [org.apache.pulsar.broker.authentication.AuthenticationProviderTls]
authorizationEnabled: true
superUserRoles: [worker]
tlsEnabled: true
workerPortTls: 6751
tlsCertificateFilePath: %s
tlsKeyFilePath: %s
tlsTrustCertsFilePath: %s
brokerClientAuthenticationPlugin: org.apache.pulsar.client.impl.auth.AuthenticationTls
brokerClientAuthenticationParameters: tlsCertFile:%s,tlsKeyFile:%s
`, cert, key, trusted.File, clientCert, clientKey)
	}
	require.NoError(t, CheckOwnRole(t.Context(), load(t, with(trusted, "worker"))))
	require.ErrorContains(t, CheckOwnRole(t.Context(), load(t, with(trusted, "wrker"))), `"wrker"`)
	require.ErrorContains(t, CheckOwnRole(t.Context(), load(t, with(foreign, "worker"))), "do not pass")
}
