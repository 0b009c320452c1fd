//go:build !race

package scripts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/jmespath/go-jmespath"
)

// live is an API Management service as far as the scripts read it. Answers have the forms of the examples in Azure/azure-rest-api-specs,
// specification/apimanagement/resource-manager/Microsoft.ApiManagement/stable/2024-05-01/examples, and az's queries are evaluated on them.
type live struct {
	Policies map[string]string            // rawxml, by the address behind the service
	Lists    map[string][]json.RawMessage // by the address behind the service
	Header   string                       // of the key, where the API has renamed it
	Bare     bool                         // policies come without JSON around them, as the service does it in fact
	Answer   gatewayAnswer
	Trace    json.RawMessage // traceEntries
	Late     int             // so many more times the trace is not there yet
}

// gatewayAnswer is what the gateway answers to a call with debug credentials.
type gatewayAnswer struct {
	Status int
	Header map[string]string
	Body   string
}

const (
	service    = management + "/subscriptions/sub-1/resourceGroups/rg/providers/Microsoft.ApiManagement/service/apim"
	debugToken = "aid=orders&p=tracing&ex=2026&sn=secret-debug-token"
	ownToken   = "secret.access.token"
	traceID    = "0123456789abcdef-1"
	pageSize   = 2
)

// live answers a request to the service, or to its gateway; known tells whether it was one.
func (s *state) live(method, url string, option func(string) string) (out, fault string, known bool) {
	if s.Live == nil {
		return "", "", false
	}
	if url == "https://gateway.example/orders/7" {
		out, fault = s.traced(option)
		return out, fault, true
	}
	address, found := strings.CutPrefix(url, service+"/")
	if !found {
		return "", "", false
	}
	address, query, _ := strings.Cut(address, "?")
	switch {
	case !strings.Contains(query, "api-version="):
		return "", "Bad Request: no api-version", true
	case method == "GET" && strings.HasPrefix(address, "apis/") && strings.Count(address, "/") == 1:
		if _, ok := s.Live.Lists[address+"/operations"]; !ok {
			return "", notFound, true
		}
		properties := map[string]any{"subscriptionRequired": true}
		if s.Live.Header != "" {
			properties["subscriptionKeyParameterNames"] = map[string]string{"header": s.Live.Header, "query": "key"}
		}
		return printed(map[string]any{"name": strings.TrimPrefix(address, "apis/"), "properties": properties}, option)
	case method == "GET" && (strings.HasSuffix(address, "/policy") || strings.HasPrefix(address, "policyFragments/")):
		if !strings.Contains(query, "format=rawxml") {
			return "", "Bad Request: the fake service knows format=rawxml only", true
		}
		text, ok := s.Live.Policies[address]
		switch {
		case !ok:
			return "", notFound, true
		case s.Live.Bare: // az: "Not a json response, outputting to stdout"
			return "\ufeff" + text, "", true
		}
		return printed(map[string]any{"name": "policy", "properties": map[string]any{"format": "rawxml", "value": text}}, option)
	case method == "GET":
		list, ok := s.Live.Lists[address]
		if !ok {
			return "", notFound, true
		}
		return s.page(address, query, list, option)
	case method == "POST" && address == "gateways/managed/listDebugCredentials":
		var body struct {
			CredentialsExpireAfter, APIID string
			Purposes                      []string
		}
		if fault := readBody(option, &body); fault != "" {
			return "", fault, true
		}
		if want := strings.TrimPrefix(service, management) + "/apis/orders"; body.APIID != want || len(body.Purposes) != 1 || body.Purposes[0] != "tracing" {
			return "", fmt.Sprintf("Bad Request: %+v", body), true
		}
		return printed(map[string]any{"token": debugToken}, option)
	case method == "POST" && address == "gateways/managed/listTrace":
		var body struct{ TraceID string }
		if fault := readBody(option, &body); fault != "" {
			return "", fault, true
		}
		if s.Live.Late > 0 || body.TraceID != traceID {
			s.Live.Late--
			return "", notFound, true
		}
		return printed(map[string]any{"serviceName": "apim", "traceId": traceID, "traceEntries": s.Live.Trace}, option)
	}
	return "", "", false // keys, which other scripts ask for as well
}

const notFound = `Not Found({"error":{"code":"ResourceNotFound","message":"Entity with specified identifier not found","details":null}})`

func (s *state) page(address, query string, list []json.RawMessage, option func(string) string) (out, fault string, known bool) {
	from := 0
	if _, skip, ok := strings.Cut(query, "$skip="); ok {
		from, _ = strconv.Atoi(skip)
	}
	to := min(from+pageSize, len(list))
	next := ""
	if to < len(list) {
		next = fmt.Sprintf("%s/%s?api-version=2024-05-01&$skip=%d", service, address, to)
	}
	return printed(map[string]any{"value": list[from:to], "count": len(list), "nextLink": next}, option)
}

func readBody(option func(string) string, into any) (fault string) {
	data, err := os.ReadFile(strings.TrimPrefix(option("--body"), "@"))
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return "Bad Request: " + err.Error()
	}
	return ""
}

// traced is one call to the gateway. What az writes with --debug is that of azure-cli 2.91.0, azure/cli/core/util.py, _log_request and _log_response.
func (s *state) traced(option func(string) string) (out, fault string) {
	sent := headers(option("--headers"))
	const by = "cli.azure.cli.core.util: "
	var log strings.Builder
	fmt.Fprintf(&log, "%sRequest URL: 'https://gateway.example/orders/7'\n%sRequest headers:\n", by, by)
	for name, value := range sent {
		fmt.Fprintf(&log, "%s    '%s': '%s'\n", by, name, value)
	}
	answer := s.Live.Answer
	fmt.Fprintf(&log, "%sResponse status: %d\n%sResponse headers:\n%s    'Content-Length': '%d'\n", by, answer.Status, by, by, len(answer.Body))
	for name, value := range answer.Header {
		fmt.Fprintf(&log, "%s    '%s': '%s'\n", by, name, value)
	}
	fmt.Fprintf(&log, "%sResponse content:\n%s%s\n", by, by, answer.Body)
	s.log = log.String()
	s.Sent = sent
	if answer.Status >= 400 {
		return "", "Refused(" + answer.Body + ")"
	}
	return "", ""
}

// printed evaluates the query as az does and prints the result in its format: json, or tsv as knack/output.py has it.
func printed(answer any, option func(string) string) (out, fault string, known bool) {
	data, err := json.Marshal(answer)
	if err != nil {
		return "", err.Error(), true
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return "", err.Error(), true
	}
	if query := option("--query"); query != "" {
		if value, err = jmespath.Search(query, value); err != nil {
			return "", "argument --query: invalid jmespath_type value: " + query + ": " + err.Error(), true
		}
	}
	if option("--output") == "none" || value == nil {
		return "", "", true
	}
	if option("--output") == "json" {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		_ = e.Encode(value)
		return strings.TrimSuffix(b.String(), "\n"), "", true
	}
	rows, isList := value.([]any)
	if !isList {
		rows = []any{value}
	}
	var lines []string
	for _, row := range rows {
		cells, isList := row.([]any)
		if !isList {
			cells = []any{row}
		}
		var texts []string
		for _, cell := range cells {
			texts = append(texts, fmt.Sprint(cell))
		}
		lines = append(lines, strings.Join(texts, "\t"))
	}
	return strings.Join(lines, "\n"), "", true
}
