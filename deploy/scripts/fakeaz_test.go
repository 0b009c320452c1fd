//go:build !race

package scripts

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// state is what the fake Azure knows. Answers have the shapes that az prints for the queries which the scripts ask; the texts of failures
// are those of Microsoft Graph (learn.microsoft.com "Grant an appRoleAssignment", "Microsoft Graph error responses").
type state struct {
	Calls, Writes []string
	Fail          []failure // each is used up by the first call that it fits
	Assignments   []assignment
	Applications  map[string]application
	Required      map[string]bool // by client id: the service principal asks for an assignment
	Purged        []string
	Providers     []string
	Keys, Vault   map[string]string
	Dead          []string // keys that the gateway refuses although they are its own
	Unresolved    int      // so many more times the references are not resolved
	Doctor        string
	Groups        map[string]string // by name: its tag azd-env-name
	Resources     string            // the lines of all that bears the environment's tag
	Pipeline      bool              // a service principal is signed in
	Roles         []string          // of whoever is signed in, by name
	Directory     []string          // their roles in Entra, by template
	Deleted       map[string]string // by part of the address: the lines of the answer
	Paths         map[string]string // of an existing service: the API that holds the path
	AccessPolicy  bool              // the existing vault goes by access policies
	TokenVersion  string            // of an existing registration
	Addresses     int               // so many arguments began with a slash
	Live          *live
	Sent          map[string]string // headers of the last call to its gateway

	log string // what az writes to standard error besides
}

type failure struct{ Method, URL, Text string }

type assignment struct{ ID, Role string }

type appRole struct {
	ID    string `json:"id"`
	Value string `json:"value"`
}

type application struct {
	AppRoles       []appRole `json:"appRoles"`
	IdentifierURIs []string  `json:"identifierUris"`
	API            struct {
		Version int `json:"requestedAccessTokenVersion"`
	} `json:"api"`
}

func (a application) roles() []string {
	var values []string
	for _, r := range a.AppRoles {
		values = append(values, r.Value)
	}
	slices.Sort(values)
	return values
}

func loadState(file string) (*state, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := new(state)
	return s, json.Unmarshal(data, s)
}

func fakeAz(file string, args []string) int {
	s, err := loadState(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	out, fault := s.answer(args)
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	fmt.Fprint(os.Stderr, s.log)
	if fault != "" {
		fmt.Fprintln(os.Stderr, "ERROR: "+fault)
		return 1
	}
	if out != "" {
		fmt.Println(out)
	}
	return 0
}

func (s *state) answer(args []string) (out, fault string) {
	s.Calls = append(s.Calls, strings.Join(args, " "))
	args = s.rewritten(args)
	option := func(name string) string {
		if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
			return args[i+1]
		}
		return ""
	}
	command := strings.Join(args[:2], " ")
	method, url := option("--method"), option("--url")
	for i, f := range s.Fail {
		rest := f.Method == method && url != "" && strings.Contains(url, f.URL)
		if rest || method == "" && strings.Contains(strings.Join(args, " "), f.Method+" "+f.URL) {
			s.Fail = slices.Delete(s.Fail, i, i+1)
			return "", f.Text
		}
	}
	if method != "" {
		return s.rest(method, url, option)
	}
	switch command {
	case "account get-access-token":
		if option("--resource") != "api://x" {
			return "", "AADSTS500011: The resource principal named " + option("--resource") + " was not found"
		}
		return ownToken, ""
	case "cloud show":
		switch query := option("--query"); query {
		case "endpoints.resourceManager":
			return "https://management.azure.com/", ""
		case "endpoints.activeDirectory":
			return "https://login.microsoftonline.com", ""
		case "endpoints.microsoftGraphResourceId":
			return "https://graph.microsoft.com/", ""
		}
	case "account show":
		switch query := option("--query"); {
		case query == "tenantId":
			return "tenant-1", ""
		case query == "user.name":
			return "somebody", ""
		case query == "user.type" && s.Pipeline:
			return "servicePrincipal", ""
		case query == "user.type":
			return "user", ""
		}
		return "sub-1", ""
	case "group exists":
		_, found := s.Groups[option("--name")]
		return fmt.Sprint(found), ""
	case "resource list":
		if option("--tag") != "azd-env-name=dev" {
			return "", ""
		}
		return s.Resources, ""
	case "group show":
		return s.Groups[option("--name")], ""
	case "ad signed-in-user":
		return "me", ""
	case "ad app":
		return s.TokenVersion, ""
	case "keyvault show":
		return fmt.Sprint(!s.AccessPolicy), ""
	case "ad sp":
		if option("--id") != apiClient {
			return "", "Resource '" + option("--id") + "' does not exist"
		}
		switch query := option("--query"); {
		case query == "id":
			return apiSP, ""
		case strings.Contains(query, "'Api.Read'"):
			return "role-read", ""
		case query == "appRoles[?isEnabled].value":
			return "Api.Read\nApi.Write", ""
		}
		return "", ""
	case "provider show":
		if slices.Contains(s.Providers, option("--namespace")) {
			return "Registered", ""
		}
		return "NotRegistered", ""
	case "provider register":
		s.write("register " + option("--namespace"))
		s.Providers = append(s.Providers, option("--namespace"))
		return "", ""
	case "functionapp list-flexconsumption-locations":
		return "westeurope\nnortheurope", ""
	case "functionapp keys":
		return `{"x-functions-key": "master-key"}`, ""
	case "functionapp deployment":
		if _, err := os.Stat(option("--src")); err != nil {
			return "", err.Error()
		}
		s.write("publish " + option("--name"))
		return "", ""
	case "role assignment":
		if s.Roles == nil {
			return "Owner", ""
		}
		return strings.Join(s.Roles, "\n"), ""
	}
	return "", "the fake az does not know: " + strings.Join(args, " ")
}

func (s *state) write(what string) { s.Writes = append(s.Writes, what) }

var uniqueName = regexp.MustCompile(`/applications\(uniqueName='([^']+)'\)$`)

func (s *state) rest(method, url string, option func(string) string) (out, fault string) {
	const notFound = `Not Found({"error":{"code":"Request_ResourceNotFound"}})`
	query := option("--query")
	if !strings.HasPrefix(url, "https://") {
		return "", "the fake az wants a full address: " + url
	}
	if out, fault, known := s.live(method, url, option); known {
		return out, fault
	}
	switch match := uniqueName.FindStringSubmatch(url); {
	case match != nil && method == "GET":
		app, ok := s.Applications[match[1]]
		if !ok {
			return "", notFound
		}
		switch query {
		case "appRoles":
			data, _ := json.MarshalIndent(app.AppRoles, "", "  ")
			return string(data), ""
		case "appRoles[].value":
			return strings.Join(app.roles(), "\n"), ""
		case "appId":
			return "client-of-" + match[1], ""
		case "id":
			return "object-of-" + match[1], ""
		}
		return fmt.Sprint(len(app.IdentifierURIs) > 0 && app.API.Version == 2), ""
	case match != nil && method == "PATCH":
		data, err := os.ReadFile(strings.TrimPrefix(option("--body"), "@"))
		if err != nil {
			return "", err.Error()
		}
		var app application
		if err := json.Unmarshal(data, &app); err != nil {
			return "", "Bad Request: " + err.Error()
		}
		if s.Applications == nil {
			s.Applications = map[string]application{}
		}
		s.Applications[match[1]] = app
		s.write(url)
		return "", ""
	case strings.Contains(url, "/servicePrincipals(appId='"):
		client := strings.Split(url, "'")[1]
		if method == "GET" {
			if !s.Required[client] {
				return "", notFound
			}
			return "true", ""
		}
		if s.Required == nil {
			s.Required = map[string]bool{}
		}
		s.Required[client] = true
		s.write(url)
		return "", ""
	case strings.Contains(url, "/applications/object-of-") && method == "DELETE":
		s.write(url)
		delete(s.Applications, url[strings.Index(url, "object-of-")+len("object-of-"):])
		return "", ""
	case strings.Contains(url, "/directory/deletedItems/") && method == "DELETE":
		s.write(url)
		s.Purged = append(s.Purged, url)
		return "", ""
	case strings.Contains(url, "/appRoleAssignments?") && method == "GET":
		for _, a := range s.Assignments {
			if strings.Contains(query, "'"+a.Role+"'") {
				return a.ID, ""
			}
		}
		return "", ""
	case strings.HasSuffix(url, "/appRoleAssignedTo") && method == "POST":
		var body struct{ PrincipalID, ResourceID, AppRoleID string }
		if err := json.Unmarshal([]byte(option("--body")), &body); err != nil || body.PrincipalID != principal || body.ResourceID != apiSP {
			return "", "Bad Request: " + option("--body")
		}
		s.write(url)
		s.Assignments = append(s.Assignments, assignment{ID: "assignment-1", Role: body.AppRoleID})
		return "", ""
	case strings.Contains(url, "/appRoleAssignedTo/") && method == "DELETE":
		s.write(url)
		s.Assignments = nil
		return "", ""
	case strings.Contains(url, "/listSecrets"):
		return s.Keys[strings.TrimSuffix(query, "Key")], ""
	case strings.Contains(url, "/regenerate"):
		which := "primary"
		if strings.Contains(url, "Secondary") {
			which = "secondary"
		}
		s.write(url)
		s.Keys[which] = fmt.Sprintf("%s-%d", which, len(s.Writes)+1)
		return "", ""
	case strings.Contains(url, "/refresh?"):
		return "", ""
	case strings.Contains(url, "/configreferences/"):
		if s.Unresolved > 0 {
			s.Unresolved--
			return "ApimKey", ""
		}
		return "", ""
	case strings.HasPrefix(url, management+"/subscriptions/") && strings.Contains(url, "/sites/app-1?") && query == "identity.principalId":
		return principal, ""
	case strings.HasPrefix(url, management+vaultID+"/secrets/") && method == "PUT":
		data, err := os.ReadFile(strings.TrimPrefix(option("--body"), "@"))
		if err != nil {
			return "", err.Error()
		}
		var body struct{ Properties struct{ Value string } }
		if err := json.Unmarshal(data, &body); err != nil {
			return "", "Bad Request: " + err.Error()
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(url, management+vaultID+"/secrets/"), "?")
		s.write("secret " + name)
		s.Vault[name] = body.Properties.Value
		return "", ""
	case strings.Contains(url, "/me/transitiveMemberOf/"):
		return strings.Join(s.Directory, "\n"), ""
	case strings.Contains(url, "/deletedVaults?"), strings.Contains(url, "/deletedservices?"):
		for part, lines := range s.Deleted {
			if strings.Contains(url, part) {
				return lines, ""
			}
		}
		return "", ""
	case strings.Contains(url, "/service/apim-old/apis?"):
		for path, holder := range s.Paths {
			if strings.Contains(query, "'"+path+"'") {
				return holder, ""
			}
		}
		return "", ""
	case strings.HasSuffix(url, "/api/health"):
		return "", ""
	case strings.HasSuffix(url, "/api/doctor"):
		if key := headers(option("--headers"))["x-functions-key"]; key != "master-key" {
			return "", "Unauthorized"
		}
		if query == "ok" {
			return s.Doctor, ""
		}
		return "the key is refused", ""
	case url == "https://gateway.example/relay":
		key := headers(option("--headers"))["Ocp-Apim-Subscription-Key"]
		if slices.Contains(s.Dead, key) || key != s.Keys["primary"] && key != s.Keys["secondary"] {
			return "", `Unauthorized({ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." })`
		}
		return "", `Unauthorized({ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." })`
	}
	return "", "the fake az does not know: " + method + " " + url
}

const (
	management = "https://management.azure.com"
	vaultID    = "/subscriptions/sub-1/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv"
)

// gitBash is what Git Bash takes for a path when it starts a program of Windows: an argument that
// begins with a slash, or with a name or an option before it (msys2.org "Filesystem Paths"). We count
// the file in @FILE as one as well: rewritten or not, az for Windows would not find it.
var gitBash = regexp.MustCompile(`^(@|-[A-Za-z]|[A-Za-z_-]+=)?/[^/]`)

// rewritten gives the arguments as az for Windows gets them from Git Bash, and counts the changes.
func (s *state) rewritten(args []string) []string {
	if os.Getenv("FAKE_GIT_BASH") == "" {
		return args
	}
	all := slices.Clone(args)
	for i, arg := range all {
		if gitBash.MatchString(arg) {
			at := strings.Index(arg, "/")
			all[i] = arg[:at] + "C:/Program Files/Git" + arg[at:]
			s.Addresses++
		}
	}
	return all
}

func headers(option string) map[string]string {
	all := map[string]string{}
	if data, err := os.ReadFile(strings.TrimPrefix(option, "@")); err == nil {
		_ = json.Unmarshal(data, &all) // what is no JSON has no key in it
	}
	return all
}
