package api

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRightsForWhatTheWorkerDoes: what the worker does with its own rights, the caller must be allowed to do.
func TestRightsForWhatTheWorkerDoes(t *testing.T) {
	functions := Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}
	withURL := func(rawURL string) []part { return []part{config1(python), {name: "url", value: rawURL}} }
	tests := map[string]struct {
		path  string
		parts []part
		also  Access // what lets the request pass
	}{
		"package of another tenant": {one, withURL("function://other/secret/code@1"), Access{Right: RightPackages, Tenant: "other", Namespace: "secret"}},
		"trigger":                   {one + "/trigger", []part{{name: "data", value: "x"}}, Access{Right: RightProduce, Tenant: "public", Namespace: "default", Topic: "persistent://public/default/in"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			allowed := denier{functions: true}
			f := newFixture(t, func(o *Options) { o.Authz, o.PackageManagement = allowed, true })
			if tc.also.Right == RightProduce {
				require.Equal(t, http.StatusNoContent, f.send(http.MethodPost, one, config1(python), pythonFile).Code)
			}
			f.wantReason(f.send(http.MethodPost, tc.path, tc.parts...), http.StatusUnauthorized, textNotAuthorized)
			allowed[tc.also] = true
			require.NotEqual(t, http.StatusUnauthorized, f.send(http.MethodPost, tc.path, tc.parts...).Code)
		})
	}
}

func TestTokensAreNotLogged(t *testing.T) {
	for query, want := range map[string]string{
		"":                       "/x",
		"path=a%2Fb&n=1":         "/x?path=a%2Fb&n=1",
		"token=secret":           "/x?token=***",
		"a=1&token=secret&b=2":   "/x?a=1&token=***&b=2",
		"%74oken=secret":         "/x?token=***",
		"TOKEN=secret&path=a":    "/x?token=***&path=a",
		"a=1&to%6ben=secret&b=%": "/x?a=1&token=***&b=%",
	} {
		require.Equal(t, want, loggedURI(&url.URL{Path: "/x", RawQuery: query}))
	}
}

// TestRightsForTheCleanup: the deletion of a component removes subscriptions with the worker's rights, so whoever chooses their name
// must have the right to consume there.
func TestRightsForTheCleanup(t *testing.T) {
	functions := Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}
	for name, tc := range map[string]struct {
		config string
		also   *Access
	}{
		"of another tenant": {`"inputs":["persistent://other/app/in"],"subName":"victim","cleanupSubscription":true`,
			&Access{Right: RightConsume, Tenant: "other", Namespace: "app", Topic: "persistent://other/app/in"}},
		"of a namespace": {`"topicsPattern":"persistent://other/app/.*","subName":"victim","cleanupSubscription":true`,
			&Access{Right: RightConsume, Tenant: "other", Namespace: "app"}},
		"the component's own name": {`"inputs":["persistent://other/app/in"],"cleanupSubscription":true`, nil},
		"nothing is removed":       {`"inputs":["persistent://other/app/in"],"subName":"victim","cleanupSubscription":false`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			allowed := denier{functions: true}
			f := newFixture(t, func(o *Options) { o.Authz = allowed })
			config := config1(`{"runtime":"PYTHON","className":"m.F",` + tc.config + `}`)
			if tc.also != nil {
				f.wantReason(f.send(http.MethodPost, one, config, pythonFile), http.StatusUnauthorized, textNotAuthorized)
				allowed[*tc.also] = true
			}
			require.Equal(t, http.StatusNoContent, f.send(http.MethodPost, one, config, pythonFile).Code)
		})
	}
}

func TestRefererIsLoggedWithoutItsQuery(t *testing.T) {
	require.Equal(t, "https://console/page", loggedReferer("https://console/page?token=secret"))
	require.Empty(t, loggedReferer(""))
}
