package policy

// Result is what a rule came to.
type Result string

// The results of a rule.
const (
	Pass       Result = "pass"
	Refuse     Result = "refuse"
	NotChecked Result = "not checked" // the policy does not ask, or what the check needs was not handed in
	NotRun     Result = "not run"     // an earlier statement ended the section
	Done       Result = "done"        // a statement that changes something instead of checking
	// CannotTell stands for a rule whose values are known when a request comes: only Judge gives it.
	CannotTell Result = "cannot tell"
)

// Rule is one line of the explanation: one check of one statement. It holds public facts only, never a token, a key or a header's value.
type Rule struct {
	Scope     Scope   `json:"scope"`
	Section   Section `json:"section"`
	Statement string  `json:"statement"`       // the element's name
	Check     string  `json:"check,omitempty"` // which of its checks, stable: "signature", "audience", "claim roles", ...
	File      string  `json:"file"`
	Line      int     `json:"line"`
	Result    Result  `json:"result"`
	Want      string  `json:"want,omitempty"`
	Got       string  `json:"got,omitempty"`
	Why       string  `json:"why,omitempty"` // one sentence, lower case
	Fixes     []Fix   `json:"fixes,omitempty"`
	// Value is the value that a claim must have, where there is exactly one.
	Value string `json:"value,omitempty"`
	// Differs says in a word how an issuer differs from those that the policy trusts: "version" or
	// "tenant"; "" means otherwise.
	Differs string `json:"differs,omitempty"`
	// When says under which condition the statement runs, as "if line 12 holds"; "" means always.
	When string `json:"when,omitempty"`
}

// Fix is one change that would make a refused rule pass. The fixes of a rule are alternatives.
type Fix struct {
	Side   Side   `json:"side"`
	Change string `json:"change"`
}

// Side says who can make a change.
type Side string

// The sides.
const (
	SidePolicy       Side = "policy"       // the API's policy or its named values
	SideRegistration Side = "registration" // the API's app registration in Entra, grants of its app roles included
	SideCaller       Side = "caller"       // the function app's settings or identity
)

// LastError is what API Management puts into context.LastError
// (https://learn.microsoft.com/azure/api-management/api-management-error-handling-policies).
type LastError struct {
	Source   string `json:"source"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	Scope    string `json:"scope,omitempty"`
	Section  string `json:"section,omitempty"`
	Path     string `json:"path,omitempty"`
	PolicyID string `json:"policyId,omitempty"`
}
