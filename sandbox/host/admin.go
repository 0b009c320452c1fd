package host

import (
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"apimrelay/internal/hostfile"
)

// adminPath reports whether a path is one of the host's own; others under /admin are a function's
// where the route prefix
// is empty (recording E-prefix-empty).
func adminPath(path string) bool {
	lower := strings.ToLower(path)
	return lower == "/admin/functions" || strings.HasPrefix(lower, "/admin/functions/") ||
		strings.HasPrefix(lower, "/admin/host/") ||
		strings.HasPrefix(lower, "/runtime/webhooks/")
}

// admin is the part of the admin API that a laptop needs (Azure/azure-functions-host
// src/WebJobs.Script.WebHost/Controllers/{Functions,Host}Controller.cs; recordings A-admin-*,
// C-admin-*).
func (h *Host) admin(in *instance, req *request) *reply {
	path := strings.TrimSuffix(strings.ToLower(req.path), "/")
	if strings.HasPrefix(path, "/runtime/webhooks") {
		return status(http.StatusUnauthorized, "WWW-Authenticate", "Bearer")
	}
	if path == "/admin/host/ping" && (req.Method == http.MethodGet ||
		req.Method == http.MethodPost) {
		return status(http.StatusOK, "Cache-Control", "no-store,no-cache", "Pragma", "no-cache")
	}
	if h.grantOf(req, false).level < adminLevel {
		return status(http.StatusUnauthorized, "WWW-Authenticate", "Bearer")
	}
	switch {
	case path == "/admin/host/status" && req.Method == http.MethodGet:
		return jsonReply(h.statusJSON(in))
	case path == "/admin/functions" && req.Method == http.MethodGet:
		items := []string{}
		for _, f := range h.listed(in) {
			items = append(items, f.adminJSON(in, req.Host))
		}
		return jsonReply("[" + strings.Join(items, ",") + "]")
	}
	name, ok := strings.CutPrefix(path, "/admin/functions/")
	if !ok {
		return status(http.StatusNotFound)
	}
	name, sub, _ := strings.Cut(name, "/")
	var fn *function
	for _, f := range h.listed(in) {
		if strings.EqualFold(f.name, name) {
			fn = f
		}
	}
	switch {
	case fn == nil:
		return status(http.StatusNotFound)
	case sub == "status" && req.Method == http.MethodGet:
		return jsonReply("{}")
	case sub != "":
		return status(http.StatusNotFound)
	case req.Method == http.MethodGet:
		return jsonReply(fn.adminJSON(in, req.Host))
	case req.Method == http.MethodPost:
		return h.adminFire(in, fn, req)
	}
	return status(http.StatusMethodNotAllowed)
}

// listed are the functions of the admin API: those with a readable function.json, the ones in error
// included.
func (h *Host) listed(in *instance) []*function {
	if len(in.faults) == 0 {
		return in.functions
	}
	all, _ := readMetadata(h.cfg.Root, in.cfg, in.lookup)
	return all
}

// adminFire answers at once; what becomes of the run is in the log.
func (h *Host) adminFire(in *instance, fn *function, req *request) *reply {
	media, _, _ := strings.Cut(req.hdr.Get("Content-Type"), ";")
	hasBody := req.hdr.Get("Content-Length") != "0"
	if hasBody && !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		return status(http.StatusUnsupportedMediaType)
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, 16<<20))
	if err != nil {
		return status(http.StatusBadRequest)
	}
	v, err := hostfile.ParseFirst(string(body), hostfile.Options{Depth: hostfile.FormatterDepth})
	if err != nil || v == nil || v.Kind != hostfile.Object {
		return status(http.StatusBadRequest)
	}
	var e Event
	if input := v.Fold("input"); input != nil && input.Kind != hostfile.Null {
		if !input.Scalar() {
			return status(http.StatusBadRequest)
		}
		text := input.Written()
		e.Input = &text
	}
	if in.fault != "" || in.find(fn.name) == nil {
		return status(http.StatusNotFound)
	}
	in.fireByHand(fn, e, false)
	return status(http.StatusAccepted)
}

func jsonReply(text string) *reply {
	return &reply{status: http.StatusOK,
		hdr: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body: []byte(text)}
}

func (h *Host) statusJSON(in *instance) string {
	state, errors := "Running", ""
	if in.fault != "" {
		state, errors = "Error", `"errors":[`+quoteJSON(in.fault)+`],`
	}
	name, _ := os.Hostname()
	return fmt.Sprintf(
		`{"id":%s,"state":%q,"version":%q,"versionDetails":"4.1037.0+89dc438d476542786f2fc4070f553423213a6223","platformVersion":"","instanceId":"","computerName":"",`+
			`"processUptime":%d,%s"functionAppContentEditingState":"Unknown"}`,
		quoteJSON(strings.ToLower(name)+"-"+hostID(h.cfg.Root)), state, hostVersion,
		h.clock.right().Sub(h.began).Milliseconds(), errors)
}

// hostID is a number for the script root, as the host's id ends in one.
func hostID(root string) string {
	sum := fnv.New32a()
	_, _ = io.WriteString(sum, root)
	return strconv.Itoa(int(int32(sum.Sum32()))) // the host's is signed, too
}

// adminJSON is a function as /admin/functions shows it.
func (f *function) adminJSON(in *instance, host string) string {
	if name, ok := in.lookup("WEBSITE_HOSTNAME"); ok {
		host = name
	}
	base := "https://" + host
	temp, ok := in.lookup("TMPDIR")
	if !ok {
		temp = "/tmp"
	}
	folder := base + "/admin/vfs" + f.folder + "/"
	invoke := "null"
	if f.http() {
		route := textOf(f.trigger.prop("route"))
		if route == "" {
			route = f.name
		}
		if in.cfg.routePrefix != "" {
			route = in.cfg.routePrefix + "/" + route
		}
		invoke = quoteJSON(base + "/" + strings.ToLower(route))
	}
	return members{
		{"name", quoteJSON(f.name)},
		{"script_root_path_href", quoteJSON(folder)},
		{"script_href", "null"},
		{"config_href", quoteJSON(folder + "function.json")},
		{"test_data_href", quoteJSON(base + "/admin/vfs" + strings.TrimSuffix(temp, "/") +
			"/FunctionsData/" + f.name + ".dat")},
		{"href", quoteJSON(base + "/admin/functions/" + f.name)},
		{"invoke_url_template", invoke},
		{"language", "null"},
		{"config", compact(f.raw)},
		{"files", "null"},
		{"test_data", `""`},
		{"isDisabled", fmt.Sprint(f.disabled)},
		{"isDirect", "false"},
		{"isProxy", "false"},
	}.String()
}

// homepage is the start page; the real one is larger and by Microsoft (recording A-root).
func (h *Host) homepage(in *instance) *reply {
	if v, ok := in.lookup("AzureWebJobsDisableHomepage"); ok && strings.EqualFold(v, "true") {
		return status(http.StatusNoContent)
	}
	return &reply{status: http.StatusOK, hdr: http.Header{"Content-Type": {"text/html"}},
		body: []byte("<!DOCTYPE html>\n<title>Functions host stand-in</title>\n" +
			"<p>Your Functions app is up and running, on a stand-in for the Functions host.</p>\n")}
}
