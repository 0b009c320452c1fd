package host

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Refusal is a request that reached no function.
type Refusal struct {
	Time     time.Time
	Method   string
	Path     string // with the query less "code"
	Function string // "" where none has the route
	Status   int
	Reason   string // in a sentence, without any part of a key
}

// refused tells of a refusal and returns its answer.
func (h *Host) refused(req *request, function string, code int, reason string) *reply {
	if h.cfg.OnRefusal != nil {
		h.cfg.OnRefusal(Refusal{
			Time: h.clock.right(), Method: req.Method, Path: req.path + req.query.without("code"),
			Function: function, Status: code, Reason: reason,
		})
	}
	return status(code)
}

// noKey says what is wrong with the key of a request that fn does not let in.
func (fn *function) noKey(req *request, g grant) string {
	switch {
	case g.level > anonymous:
		return "the key is a function key, and " + fn.name + " wants the master key"
	case req.hdr.Get("X-Functions-Key") != "" || slices.ContainsFunc(req.query.get("code"),
		func(c string) bool { return c != "" }):
		return "the function key is not one that " + fn.name + " knows"
	}
	return "no function key: send it in the header x-functions-key"
}

// noRoute says why no function takes a request.
func (in *instance) noRoute(req *request) (function, reason string) {
	path := strings.TrimPrefix(req.path, "/")
	for _, f := range in.functions {
		if !f.http() {
			continue
		}
		if _, ok := f.route.match(path); !ok {
			continue
		}
		var takes []string
		for _, m := range []string{
			http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
			http.MethodDelete, http.MethodOptions,
		} {
			if f.takes(m) {
				takes = append(takes, m)
			}
		}
		return f.name, "wrong method, " + f.name + " takes " + strings.Join(takes, " ")
	}
	return "", "no function has this route"
}
