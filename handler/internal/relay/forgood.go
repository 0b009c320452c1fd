package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
)

// ForGoodPrefix is how much of an answer's body [ForGood] wants to see, in bytes.
const ForGoodPrefix = refusalPrefix

// passing are the statuses 4xx that another attempt may change: who calls (401, 403, 407), what
// happens at the same time (409, 423), which server answers (421), and when (408, 425, 429).
var passing = []int{401, 403, 407, 408, 409, 421, 423, 425, 429}

// ForGood reports whether an answer is the backend's refusal of what was sent, which no repetition
// can change. The gateway's own answers never are: a wrong URL of the gateway, which is one wrong
// setting, would refuse every event. Where nobody can tell whose the answer is, because its body is
// encoded or was not asked for, it does not count either.
//
// body is the beginning of the answer's body, ForGoodPrefix bytes of it or all.
func ForGood(method string, status int, header http.Header, body []byte) bool {
	switch {
	case status < 400 || status > 499 || slices.Contains(passing, status):
		return false
	case method == http.MethodHead:
		return false // has no body, whoever answers
	case strings.Join(header["Content-Encoding"], "") != "":
		return false
	}
	return !gatewaysOwn(status, body)
}

// gatewaysOwn reports whether an answer may be the gateway's own: an object of exactly statusCode
// and message, in that order, with the status of the answer (learn.microsoft.com "Error handling in
// API Management policies"; captured answers). Frameworks answer alike, but with a third member or
// in another order. A backend that answers in exactly this form cannot be told from the gateway.
// What is cut off behind the beginning of that form may be the gateway's, too.
func gatewaysOwn(status int, body []byte) bool {
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	cut := func(err error) bool {
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		return ended && len(body) >= ForGoodPrefix
	}
	for _, want := range []json.Token{json.Delim('{'), "statusCode", float64(status), "message"} {
		if got, err := d.Token(); err != nil || got != want {
			return cut(err)
		}
	}
	message, err := d.Token()
	if err != nil {
		return cut(err)
	}
	if _, text := message.(string); !text {
		return false
	}
	end, err := d.Token()
	return cut(err) || end == json.Delim('}')
}
