package policy

import (
	"slices"
)

// statement is one element of a section, ready to run.
type statement interface {
	// run applies the statement and writes its rules into the trace. It returns false to end the section: e.refuse or e.answer has been called.
	run(e *evaluation) bool
}

// kind is what the parser knows of a statement: where it may stand, what it holds, how it becomes runnable.
type kind struct {
	name     string
	sections []Section
	scopes   []Scope // nil: all
	once     bool    // at most once in a document
	spec     *spec
	build    func(e *element) (statement, Errors)
}

// kinds lists every statement that is interpreted. The compiler would see a cycle in a plain initialisation (specs call back into lookups).
var kinds []*kind

func init() {
	kinds = []*kind{
		&base, &validateJWT, &validateAzureADToken, &setHeader, &setQueryParameter, &rateLimit, &returnResponse, &checkHeader, &ipFilter,
		&forwardRequest,
	}
}

func kindOf(name string) *kind {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

// foreign are policies that API Management knows and this package does not, so that the error can tell a gap from a typing error:
// https://learn.microsoft.com/azure/api-management/api-management-policies
var foreign = []string{
	"authentication-basic", "authentication-certificate", "authentication-managed-identity", "cache-lookup", "cache-lookup-value",
	"cache-remove-value", "cache-store", "cache-store-value", "choose", "cors", "cross-domain", "emit-metric", "find-and-replace",
	"get-authorization-context", "include-fragment", "invoke-dapr-binding", "invoke-request", "json-to-xml", "jsonp", "limit-concurrency",
	"log-to-eventhub", "mock-response", "proxy", "publish-to-dapr", "quota", "quota-by-key", "rate-limit-by-key", "redirect-content-urls",
	"retry", "rewrite-uri", "send-one-way-request", "send-request", "set-backend-service", "set-body", "set-method", "set-status",
	"set-variable", "trace", "validate-client-certificate", "validate-content", "validate-headers", "validate-odata-request",
	"validate-parameters", "validate-status-code", "wait", "xml-to-json", "xsl-transform",
}

// sectionSpec accepts the statements that may stand in a section.
func sectionSpec(s Section) *spec {
	return &spec{statements: true, more: func(e *element) Errors { return checkSection(e, s) }}
}

// checkSection is spec.check for a section: its children are statements.
func checkSection(e *element, s Section) Errors {
	var faults Errors
	seen := map[string]bool{}
	for _, c := range e.children {
		k := kindOf(c.name)
		switch {
		case k == nil && slices.Contains(foreign, c.name):
			faults = append(faults, c.fault("statement <%s> is not interpreted here", c.name))
			continue
		case k == nil:
			faults = append(faults, c.fault("unknown statement <%s> in <%s>", c.name, s))
			continue
		case !slices.Contains(k.sections, s):
			faults = append(faults, c.fault("statement <%s> may not stand in <%s>", c.name, s))
		case k.once && seen[c.name]:
			faults = append(faults, c.fault("statement <%s> stands twice in <%s>: once is allowed", c.name, s))
		}
		seen[c.name] = true
		faults = append(faults, k.spec.check(c)...)
	}
	return faults
}
