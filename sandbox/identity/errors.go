package identity

import (
	"fmt"
	"net/http"
	"strings"
)

// oauthError is a refusal by the token endpoint.
type oauthError struct {
	code        int // AADSTS number
	kind        string
	status      int
	description string // without "AADSTS…: " and the trace
	suberror    string
}

// refusals: kind and status of each number. Texts are close to Entra's; what is compared by clients is the kind, the number and the
// opening "AADSTS<number>: ". Numbers and their meaning: "Microsoft Entra authentication and authorization error codes".
var refusals = map[int]struct {
	kind   string
	status int
	text   string
}{
	7000215: {"invalid_client", 401, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'."},
	7000222: {"invalid_client", 401, "The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds."},
	7000218: {"invalid_client", 401, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
	7000112: {"unauthorized_client", 400, "Application '%s'(%s) is disabled."},
	700016:  {"unauthorized_client", 400, "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."},
	700027:  {"invalid_client", 401, "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - %s]"},
	700024:  {"invalid_client", 401, "Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s."},
	70021:   {"invalid_request", 400, "No matching federated identity record found for presented assertion. Assertion Issuer: '%s'. Assertion Subject: '%s'."},
	700211:  {"invalid_client", 401, "No matching federated identity record found for presented assertion issuer '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion."},
	700212:  {"invalid_client", 401, "No matching federated identity record found for presented assertion audience '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion."},
	700213:  {"invalid_client", 401, "No matching federated identity record found for presented assertion subject '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion."},
	50027:   {"invalid_request", 400, "JWT token is invalid or malformed: %s."},
	90002:   {"invalid_request", 400, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."},
	900023:  {"invalid_request", 400, "Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain."},
	900144:  {"invalid_request", 400, "The request body must contain the following parameter: '%s'."},
	70003:   {"unsupported_grant_type", 400, "The app requested an unsupported grant type '%s'."},
	500011:  {"invalid_resource", 400, "The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant."},
	501051:  {"invalid_grant", 400, "Application '%s'(%s) is not assigned to a role for the application '%s'(%s)."},
	1002012: {"invalid_scope", 400, "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."},
	70011:   {"invalid_scope", 400, "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope %s is not valid."},
	901002:  {"invalid_request", 400, "The 'resource' request parameter is not supported."},
	65001:   {"invalid_grant", 400, "The user or administrator has not consented to use the application with ID '%s' named 'Microsoft Azure CLI'. Send an interactive authorization request for this user and resource."},
	50020:   {"invalid_grant", 400, "User account '%s' from identity provider 'https://sts.windows.net/%s/' does not exist in tenant '%s' and cannot access the application '%s'(Microsoft Azure CLI) in that tenant."},
	50105:   {"invalid_grant", 400, "The signed in user is blocked because they are not a direct member of a group with access, nor had access directly assigned by an administrator. Please contact your administrator to assign access to application '%s'(%s)."},
}

func (s *Server) errorf(code int, args ...any) *oauthError {
	r, ok := refusals[code]
	if !ok {
		r.kind, r.status, r.text = "server_error", http.StatusInternalServerError, "unknown code"
	}
	e := &oauthError{code: code, kind: r.kind, status: r.status, description: fmt.Sprintf(r.text, args...)}
	if code == 65001 {
		e.suberror = "consent_required"
	}
	return e
}

func (e *oauthError) summary() string { return fmt.Sprintf("AADSTS%d: %s", e.code, e.description) }

// errorAnswer is Entra's error body, in the order of captured ones.
type errorAnswer struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri,omitempty"`
	Suberror      string `json:"suberror,omitempty"`
}

func (s *Server) answerOf(e *oauthError, correlation string) errorAnswer {
	if !isGUID(correlation) {
		correlation = newGUID()
	}
	trace, stamp := newGUID(), s.cfg.Now().UTC().Format("2006-01-02 15:04:05Z")
	return errorAnswer{
		Error: e.kind, Codes: []int{e.code}, Timestamp: stamp, TraceID: trace, CorrelationID: correlation, Suberror: e.suberror,
		Description: fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", e.summary(), trace, correlation, stamp),
		URI:         fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", e.code),
	}
}

func isGUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, c := range strings.ToLower(text) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdef", c) {
			return false
		}
	}
	return true
}
