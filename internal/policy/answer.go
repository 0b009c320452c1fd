package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
)

// Response is an answer that a policy makes or changes.
type Response struct {
	Status int         `json:"status"`
	Reason string      `json:"reason,omitempty"` // the status line's text, where a return-response sets one
	Header http.Header `json:"header,omitempty"`
	Body   string      `json:"body,omitempty"`
}

// ErrorBody is the body of the gateway's own answers, byte for byte as captured from the service: blanks after { and before }, between the
// two members and after the colons.
func ErrorBody(status int, message string) string {
	return fmt.Sprintf(`{ "statusCode": %d, "message": %s }`, status, quote(message))
}

// ErrorResponse is a gateway answer with that body.
func ErrorResponse(status int, message string) *Response {
	return &Response{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: ErrorBody(status, message)}
}

// quote is JSON without the escapes for HTML, which the service does not use.
func quote(text string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a string and a buffer: neither fails
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}
