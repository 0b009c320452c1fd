package identity_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/token"
)

// What the endpoint and the authority answer, in forms that the stand-ins do not write.
func TestAnAnswerNamesItsCause(t *testing.T) {
	const json, html = "application/json", "text/html"
	for _, tc := range []struct {
		name       string
		connection string // of an application: the authority answers
		status     int
		kind, body string
		refused    token.Kind
		want       cause.Code
	}{
		{"not attached, as a word", "", 400, json, `{"error":"identity_not_found"}`, token.Refused, cause.IdentityNotAttached},
		{"not attached, an older text", "", 400, json, `{"message":"Identity not found"}`, token.Refused, cause.IdentityNotAttached},
		{"Entra's number behind the endpoint", "", 400, json, `{"message":"AADSTS700016: no such application"}`, token.Refused, cause.ClientUnknown},
		{"the header", "", 401, json, `{}`, token.Refused, cause.IdentityHeader},
		{"throttled", "", 429, json, `{}`, token.Unavailable, cause.IdentityThrottled},
		{"a page", "", 404, html, `<html>`, token.Unavailable, cause.IdentityAnswerHTML},
		{"a page as a token", "", 200, html, `<html>`, token.Unavailable, cause.IdentityAnswerHTML},
		{"an older form", "", 200, json, `{"access_token":"a.b.c","expires_on":"soon"}`, token.Unavailable, cause.IdentityAnswer},
		{"a fault", "", 500, json, `{"message":"x"}`, token.Unavailable, cause.IdentityPlatform},
		{"something else", "", 400, json, `{"message":"x"}`, token.Refused, cause.TokenUnavailable},

		{"an application id that is none", registration + ";AppKey=x", 400, json, `{"error":"unauthorized_client","error_description":"AADSTS700038: 0 is not a valid application identifier."}`,
			token.Refused, cause.ClientUnknown},
		{"a tenant, as a word", registration + ";AppKey=x", 404, json, `{"error":"invalid_tenant"}`, token.Refused, cause.TenantUnknown},
		{"no federated credential", registration + ";AppKey=x", 401, json, `{"error_description":"AADSTS70021: No matching federated identity record found."}`,
			token.Refused, cause.FederatedCredential},
		{"busy", registration + ";AppKey=x", 503, json, `{}`, token.Unavailable, cause.EntraBusy},
		{"busy, by its number", registration + ";AppKey=x", 400, json, `{"error_description":"AADSTS90033: A transient error has occurred."}`, token.Unavailable, cause.EntraBusy},
		{"a number that nobody knows", registration + ";AppKey=x", 400, json, `{"error_description":"AADSTS999: ?"}`, token.Refused, cause.EntraRefused},
		{"metadata that is none", registration + ";AppKey=x", 200, json, `{}`, token.Unavailable, cause.AuthorityForm},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answer := func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tc.kind)
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			}
			connection, env := tc.connection, identity.Env{}
			if connection == "" {
				connection, env = "RunAs=App", answering(t, answer)
			} else {
				server := httptest.NewTLSServer(http.HandlerFunc(answer))
				t.Cleanup(server.Close)
				env = identity.Env{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
					Lookup: lookup(map[string]string{"AZURE_AUTHORITY_HOST": server.URL})}
			}
			_, err := fetcher(t, connection, env)(t.Context())
			if e := wantError(t, err, tc.refused, "", ""); e.Code != tc.want {
				t.Errorf("%q: want the cause %s, got %s", e, tc.want, e.Code)
			}
		})
	}
}

func TestAVariableOfServiceFabricIsNamed(t *testing.T) {
	_, err := parsed(t, "RunAs=App").Fetch("api://orders", identity.Env{Lookup: lookup(map[string]string{
		"IDENTITY_ENDPOINT": "http://127.0.0.1:1/", "IDENTITY_HEADER": "x", "IDENTITY_SERVER_THUMBPRINT": "ab"})})
	if e := wantError(t, err, token.Refused, "IDENTITY_SERVER_THUMBPRINT is set", "remove IDENTITY_SERVER_THUMBPRINT"); e.Code != cause.IdentityServiceFabric {
		t.Errorf("want identity-service-fabric, got %s", e.Code)
	}
}
