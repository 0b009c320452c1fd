package relay

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
)

// A Refusal says what a 401 or 403 is about. The texts are stable: they stand in logs, metrics and the doctor's catalogue.
type Refusal string

// The classes. The gateway tells them apart only by the message in its body (learn.microsoft.com "Error handling in API Management policies",
// "Subscriptions in Azure API Management"); the documentation and captured answers differ in a word, so fragments are compared, not sentences.
const (
	NoRefusal    Refusal = ""
	KeyMissing   Refusal = "key-missing"
	KeyInvalid   Refusal = "key-invalid"
	TokenRefused Refusal = "token-refused" // a 401 in the gateway's form that is not about the key: validate-jwt or its like
	Forbidden    Refusal = "forbidden"     // a 403 in the gateway's form: ip-filter, a policy of the API's owner
	QuotaSpent   Refusal = "quota-spent"   // 403 with "Out of call volume quota" or "Out of bandwidth quota"
	// Unclear is a 401 or 403 that the gateway and some frameworks for backends write alike: its form,
	// with nothing but "Unauthorized" or "Forbidden" as its text.
	Unclear     Refusal = "unclear"
	NotGateways Refusal = "not-the-gateways" // any other 401 or 403: the backend's, or a proxy's in between
)

// refusalPrefix bounds what is read of an answer to classify it. The gateway's own answers have 54 to 200 bytes.
const refusalPrefix = 4 << 10

// classify reads at most refusalPrefix bytes of a 401 or 403 and puts them back, so that the caller gets the answer whole. message is what the gateway
// itself says.
func classify(res *http.Response) (class Refusal, message string) {
	if res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusForbidden {
		return NoRefusal, ""
	}
	if res.Body == nil || res.ContentLength > refusalPrefix || res.Header.Get("Content-Encoding") != "" {
		return Classify(res.StatusCode, res.Header, nil), ""
	}
	prefix, err := io.ReadAll(io.LimitReader(res.Body, refusalPrefix))
	res.Body = &putBack{head: prefix, err: err, rest: res.Body}
	return Classify(res.StatusCode, res.Header, prefix), Message(res.StatusCode, prefix)
}

// Message is what the gateway says in an answer of its own: a JSON object of exactly statusCode, which
// is the status of the answer, and message, in that order, and activityId behind them in a 5xx
// (learn.microsoft.com "Error handling in API Management policies"). It is "" where body has another
// form: NestJS, Fastify and Hapi write a third member or another order. A backend can imitate the form,
// so ask [Call.Holds] before the message goes into a log.
func Message(status int, body []byte) string {
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	var members []string
	var code float64
	var message string
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return ""
		}
		value, err := d.Token()
		if err != nil {
			return ""
		}
		members = append(members, name.(string))
		switch name {
		case "statusCode":
			code, _ = value.(float64)
		case "message":
			message, _ = value.(string)
		}
	}
	known := slices.Equal(members, []string{"statusCode", "message"}) ||
		status >= 500 && slices.Equal(members, []string{"statusCode", "message", "activityId"})
	if _, err := d.Token(); err != nil || !known || int(code) != status {
		return ""
	}
	return message
}

// Classify tells what an answer of the gateway is about from its status, its header and the beginning of its body. Other statuses than 401 and 403 are
// NoRefusal.
func Classify(status int, h http.Header, body []byte) Refusal {
	if status != http.StatusUnauthorized && status != http.StatusForbidden {
		return NoRefusal
	}
	message := strings.ToLower(Message(status, body))
	own := message != ""
	switch {
	case own && strings.Contains(message, "missing subscription key"):
		return KeyMissing
	case own && strings.Contains(message, "invalid subscription key"):
		return KeyInvalid
	case own && strings.TrimRight(message, ".") == strings.ToLower(http.StatusText(status)):
		return Unclear
	case own && status == http.StatusUnauthorized:
		return TokenRefused
	case own && strings.Contains(message, "quota"):
		return QuotaSpent
	case own:
		return Forbidden
	case status == http.StatusUnauthorized && strings.HasPrefix(h.Get("Www-Authenticate"), "AzureApiManagementKey"):
		// The key's own scheme, with a body that on-error rewrote: about the key, and which of the two nobody can tell.
		return KeyMissing
	}
	return NotGateways
}

// putBack is a body of which a prefix was read. err is what that reading ended with, if not with the body's end.
type putBack struct {
	head []byte
	err  error
	rest io.ReadCloser
}

func (p *putBack) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.rest.Read(b)
}

func (p *putBack) Close() error { return p.rest.Close() }
