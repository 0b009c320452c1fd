package host

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"apimrelay/internal/hostfile"
)

// hostConfig is host.json with the app settings AzureFunctionsJobHost__* laid over it.
type hostConfig struct {
	root   *hostfile.Value
	custom bool // there is a customHandler (or httpWorker) section with a description
	// the section is httpWorker: every HTTP function is forwarded, to /<Function>
	legacyWorker    bool
	description     *hostfile.Value
	executable      string
	forwarding      bool
	proxying        bool
	initTimeout     time.Duration
	port            int
	functionTimeout time.Duration // 0 unbounded
	routePrefix     string
	maxConcurrent   int
	maxOutstanding  int
	customHeaders   http.Header
	maxDequeue      int
	queueLimit      int // bytes of a message that the service takes
	visibility      time.Duration
	retry           *retryPolicy
	allow           []string // "functions": only these, where the key is there
	hasAllow        bool
	telemetryMode   string
}

const overridePrefix = "AzureFunctionsJobHost"

// readHostJSON reads host.json. A fault means that the host never runs: it starts over and over and
// answers 503.
func readHostJSON(root string, environ []string) (*hostConfig, error) {
	v, err := hostfile.ReadObject(filepath.Join(root, "host.json"))
	switch {
	case os.IsNotExist(err):
		// The host writes one with only the version in it.
		v = &hostfile.Value{Kind: hostfile.Object}
		v.Set("version", hostfile.Text("2.0"))
	case err != nil:
		return nil, fmt.Errorf("reading host.json: %w", err)
	}
	if version := v.Fold("version"); version == nil || textOf(version) != "2.0" {
		return nil,
			fmt.Errorf(
				"reading host.json: the file is missing the required 'version' property, or it is not \"2.0\"")
	}
	override(v, environ)
	c, err := interpretHostJSON(v)
	if err == nil && v.Fold("functionTimeout") == nil {
		// ScriptJobHostOptionsSetup.cs: five minutes on the Consumption plan, thirty elsewhere.
		if sku, _ := settingLookup(environ)("WEBSITE_SKU"); strings.EqualFold(sku, "Dynamic") {
			c.functionTimeout = 5 * time.Minute
		}
	}
	return c, err
}

// override lays the settings of the form AzureFunctionsJobHost__section__key over the file, in any
// case, with __ or :.
func override(v *hostfile.Value, environ []string) {
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		path := strings.Split(strings.ReplaceAll(name, "__", ":"), ":")
		if len(path) < 2 || !strings.EqualFold(path[0], overridePrefix) {
			continue
		}
		at := v
		for i, key := range path[1:] {
			if at.Kind == hostfile.Array {
				n, err := strconv.Atoi(key)
				if err != nil || n < 0 || n > len(at.Items) {
					break
				}
				if n == len(at.Items) {
					at.Items = append(at.Items, &hostfile.Value{Kind: hostfile.Object})
				}
				if i == len(path)-2 {
					at.Items[n] = hostfile.Text(value)
				}
				at = at.Items[n]
				continue
			}
			if at.Kind != hostfile.Object {
				break
			}
			for _, m := range at.Members {
				if strings.EqualFold(m.Name, key) {
					key = m.Name
				}
			}
			if i == len(path)-2 {
				at.Set(key, hostfile.Text(value))
				break
			}
			child := at.Get(key)
			if child == nil || child.Kind != hostfile.Object && child.Kind != hostfile.Array {
				child = &hostfile.Value{Kind: hostfile.Object}
				at.Set(key, child)
			}
			at = child
		}
	}
}

func interpretHostJSON(v *hostfile.Value) (*hostConfig, error) {
	c := &hostConfig{root: v, initTimeout: 30 * time.Second, functionTimeout: 30 * time.Minute,
		routePrefix: "api", maxDequeue: 5,
		telemetryMode: textOf(v.Fold("telemetryMode"))}
	section := v.Fold("customHandler")
	if section == nil {
		section = v.Fold("httpWorker")
		c.legacyWorker = section != nil
	}
	if d := section.Fold("description"); d != nil && d.Kind == hostfile.Object {
		c.custom, c.description = true, d
		c.executable = textOf(d.Fold("defaultExecutablePath"))
	}
	c.forwarding = boolOf(section.Fold("enableForwardingHttpRequest"), false)
	c.proxying = boolOf(section.Fold("enableProxyingHttpRequest"), false)
	c.port, _ = strconv.Atoi(textOf(section.Fold("port")))
	var err error
	if s := textOf(section.Fold("initializationTimeout")); s != "" {
		if c.initTimeout, err = hostfile.ParseTimeSpan(s); err != nil {
			return nil, fmt.Errorf("reading host.json: customHandler.initializationTimeout: %w",
				err)
		}
	}
	if t := v.Fold("functionTimeout"); t != nil && t.Kind != hostfile.Null {
		switch s := textOf(t); {
		case s == "-1" || s == "-00:00:00.0010000" || s == "-00:00:01":
			c.functionTimeout = 0
		default:
			if c.functionTimeout, err = hostfile.ParseTimeSpan(s); err != nil ||
				c.functionTimeout < time.Second {
				return nil,
					fmt.Errorf(
						"reading host.json: functionTimeout: %q: want hh:mm:ss, one second at least, or \"-1\"", s)
			}
		}
	}
	section = v.Fold("extensions").Fold("http")
	if p := section.Fold("routePrefix"); p != nil && p.Kind == hostfile.String {
		// as it is: what a slash at one of its ends does is the template's matter
		c.routePrefix = p.Str
	}
	c.maxConcurrent, c.maxOutstanding = intOf(section.Fold("maxConcurrentRequests"), -1),
		intOf(section.Fold("maxOutstandingRequests"), -1)
	c.customHeaders = http.Header{}
	if h := section.Fold("customHeaders"); h != nil && h.Kind == hostfile.Object {
		for _, m := range h.Members {
			c.customHeaders.Set(m.Name, textOf(m.Value))
		}
	}
	queues := v.Fold("extensions").Fold("queues")
	c.maxDequeue = intOf(queues.Fold("maxDequeueCount"), 5)
	// 64 KiB as the service counts them, base64 unless messageEncoding says otherwise
	// (learn.microsoft.com/azure/azure-functions/functions-bindings-storage-queue, host.json).
	c.queueLimit = 48 << 10
	if strings.EqualFold(textOf(queues.Fold("messageEncoding")), "none") {
		c.queueLimit = 64 << 10
	}
	if s := textOf(queues.Fold("visibilityTimeout")); s != "" {
		if c.visibility, err = hostfile.ParseTimeSpan(s); err != nil {
			return nil, fmt.Errorf("reading host.json: extensions.queues.visibilityTimeout: %w",
				err)
		}
	}
	if r := v.Fold("retry"); r != nil {
		if c.retry, err = readRetry(r); err != nil {
			return nil, fmt.Errorf("reading host.json: retry: %w", err)
		}
	}
	if f := v.Fold("functions"); f != nil && f.Kind == hostfile.Array {
		c.hasAllow = true
		for _, item := range f.Items {
			c.allow = append(c.allow, item.Text())
		}
	}
	return c, nil
}

func textOf(v *hostfile.Value) string {
	if v == nil || !v.Scalar() {
		return ""
	}
	return v.Text()
}

func boolOf(v *hostfile.Value, def bool) bool {
	switch s := strings.ToLower(textOf(v)); s {
	case "true", "false":
		return s == "true"
	}
	return def
}

func intOf(v *hostfile.Value, def int) int {
	if n, err := strconv.Atoi(textOf(v)); err == nil {
		return n
	}
	return def
}

// retryPolicy is a function's "retry", or host.json's for all.
type retryPolicy struct {
	exponential bool
	max         int // -1 unlimited
	delay       time.Duration
	least, most time.Duration
}

func readRetry(v *hostfile.Value) (*retryPolicy, error) {
	p := &retryPolicy{max: intOf(v.Fold("maxRetryCount"), 0)}
	span := func(name string, into *time.Duration) error {
		s := textOf(v.Fold(name))
		if s == "" {
			return fmt.Errorf("%s is missing", name)
		}
		d, err := hostfile.ParseTimeSpan(s)
		*into = d
		return err
	}
	if v.Fold("maxRetryCount") == nil {
		return nil, fmt.Errorf("maxRetryCount is missing")
	}
	switch s := textOf(v.Fold("strategy")); strings.ToLower(s) {
	case "fixeddelay":
		return p, span("delayInterval", &p.delay)
	case "exponentialbackoff":
		p.exponential = true
		if err := span("minimumInterval", &p.least); err != nil {
			return nil, err
		}
		return p, span("maximumInterval", &p.most)
	default:
		return nil, fmt.Errorf("strategy: %q: want fixedDelay or exponentialBackoff", s)
	}
}

// wait is the pause in front of retry n (1 is the first). The host randomizes an exponential one by
// a fifth (recording C-timer-retry: 1 s, then 1.997 s).
func (p *retryPolicy) wait(n int, random float64) time.Duration {
	if !p.exponential {
		return p.delay
	}
	d := float64(p.least)
	if n > 1 {
		step := float64(time.Second) * (0.8 + 0.4*random)
		d += step * float64((int64(1)<<min(n-1, 30))-1)
	}
	return min(time.Duration(d), p.most)
}
